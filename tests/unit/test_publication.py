"""What Galaxy, AWX and ansible-builder read of the collection fits the code."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from helpers.ansible_site import ansible_environment
from helpers.paths import BIN, COLLECTIONS, ROOT

from plugins.module_utils.extensions.catalog import CATALOG
from plugins.module_utils.models.catalog import MODEL_CATALOG
from plugins.plugin_utils.role_options import role_options

GALAXY = yaml.safe_load((ROOT / "galaxy.yml").read_text())
GROUPS = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["action_groups"]
MODULES = {path.stem: path.read_text() for path in (ROOT / "plugins" / "modules").glob("*.py")}
PAGES = [ROOT / "docs" / "automation.md", ROOT / "docs" / "automation.zh-CN.md"]


def yaml_blocks(page: Path) -> list:
    return [yaml.safe_load(block) for block in re.findall(r"(?ms)^```yaml\n(.*?)^```$", page.read_text())]


def test_action_groups_have_every_module():
    assert GROUPS["sdops"] == sorted(MODULES)
    sharing = [
        name for name, source in sorted(MODULES.items()) if re.search(r"(?m)^  - sdops\.webui\.transfer$", source)
    ]
    assert GROUPS["transfer"] == sharing


def test_everything_is_as_new_as_the_first_release():
    """Nothing has been released, so nothing can be newer."""
    assert GALAXY["version"] == "0.1.0"
    sources = [*(ROOT / "plugins").rglob("*.py"), *(ROOT / "roles").glob("*/meta/argument_specs.yml")]
    versions = {version for path in sources for version in re.findall(r"version_added: (\S+)", path.read_text())}
    assert versions == {"0.1.0"}


@pytest.mark.parametrize("readme", sorted(ROOT.glob("README*.md")), ids=lambda path: path.name)
def test_links_of_the_readme_are_absolute(readme):
    """Galaxy shows README.md alone. Where they lead is checked with those of the other pages."""
    links = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"(?ms)^```.*?^```$", "", readme.read_text()))
    assert [link for link in links if not re.match(r"https://|#", link)] == []
    assert any(link.startswith(GALAXY["repository"] + "/blob/main/") for link in links)


def test_galaxy_has_what_an_import_requires():
    assert GALAXY["repository"] and GALAXY["issues"].startswith(GALAXY["repository"])
    page = GALAXY["documentation"].partition("/blob/main/")[2]
    assert (ROOT / page).is_file()


def test_survey_asks_for_options_of_the_roles():
    options = role_options()
    catalogs = {"model_fetch_models": set(MODEL_CATALOG), "extensions_list": set(CATALOG)}
    questions = json.loads((ROOT / "docs" / "awx-survey.json").read_text())["spec"]
    for question in questions:
        name = question["variable"]
        if name == "sdops_hosts":  # of the playbook, before any role
            continue
        option = options[name]
        if question["type"] == "multiplechoice":
            assert question["choices"] == option["choices"], name
        if question["type"] == "multiselect":
            assert option["type"] == "list" and set(question["choices"]) == catalogs[name], name
        assert (question["type"] == "integer") == (option["type"] == "int"), name
        # AWX hands a default to the playbook like an answer, and both win over the inventory and its vault
        assert "default" not in question and not question["required"] and not option.get("no_log"), name


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_module_defaults_of_the_page_are_options(page):
    [play] = [block[0] for block in yaml_blocks(page) if isinstance(block, list) and "module_defaults" in block[0]]
    [(group, defaults)] = play["module_defaults"].items()
    members = GROUPS[group.removeprefix("group/sdops.webui.")]
    for name in members:
        page = json.loads(
            subprocess.run(
                [BIN / "ansible-doc", "--json", f"sdops.webui.{name}"],
                capture_output=True,
                check=True,
                env=ansible_environment(),
            ).stdout
        )
        assert set(defaults) <= set(page[f"sdops.webui.{name}"]["doc"]["options"]), name


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_execution_environment_of_the_page_is_accepted(page, tmp_path):
    [definition] = [block for block in yaml_blocks(page) if isinstance(block, dict) and "images" in block]
    (tmp_path / "execution-environment.yml").write_text(yaml.safe_dump(definition))
    for entry in definition["additional_build_files"]:
        (tmp_path / entry["src"]).touch()
    created = subprocess.run([BIN / "ansible-builder", "create"], cwd=tmp_path, capture_output=True, text=True)
    assert created.returncode == 0, created.stdout + created.stderr
    assert (tmp_path / "context" / "_build" / "sdops-webui-0.1.0.tar.gz").exists()


def test_ansible_builder_finds_the_dependencies():
    found = subprocess.run(
        [BIN / "ansible-builder", "introspect", COLLECTIONS], capture_output=True, text=True, check=True
    ).stdout
    assert "openssh-client" in found and "sdops.webui" in found

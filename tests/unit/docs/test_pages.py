"""The pages are true as far as a program can see: generated parts are fresh, and links and paths lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.paths import ROOT

from plugins.plugin_utils.role_options import role_options

PAGES = sorted(
    page for pattern in ("*.md", "docs/**/*.md", "roles/*/*.md", ".github/**/*.md") for page in ROOT.glob(pattern)
)
OWN_SITES = ("https://github.com/sdops/webui/blob/main/", "https://raw.githubusercontent.com/sdops/webui/main/")
TOPS = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}


def without_code(text: str) -> str:
    return re.sub(r"(?ms)^```.*?^```$", "", text)


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings of a page."""
    headings = re.findall(r"(?m)^#+ (.+)$", without_code(page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("tool", ["role-docs", "model-docs"])
def test_generated_pages_are_fresh(tool):
    result = subprocess.run([sys.executable, str(ROOT / "tools" / tool), "--check"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_pages_and_headings(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        for base in OWN_SITES:  # README.md is read on Galaxy too, where relative links lead nowhere
            if link.startswith(base):
                target = ROOT / path[len(base) :]
                break
        else:
            if re.match(r"[a-z]+:", link):
                continue
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_and_names_in_code_exist(page):
    """`directory/file` is there, and `directory/file.py::name` is defined in it."""
    for span in re.findall(r"`([^`\n]+)`", without_code(page.read_text())):
        path, _, name = span.partition("::")
        if (
            not re.fullmatch(r"[\w.-]+(/[\w.-]+)+/?", path)
            or path.split("/")[0] not in TOPS
            or re.search("[A-Z]{3}", path)
        ):
            continue  # no path of ours, or one with a placeholder such as ROLE
        assert (ROOT / path).exists(), span
        if name:
            last = re.escape(name.rpartition(".")[2])
            defined = rf"(?m)^\s*((def|class) {last}\b|{last}\b[^=\n]*=|- name: {last}$|{last}:)"
            assert re.search(defined, (ROOT / path).read_text()), span


def test_every_page_is_in_the_index():
    index = ROOT / "docs" / "index.md"
    listed = {
        (index.parent / link.partition("#")[0]).resolve() for link in re.findall(r"\]\(([^)\s]+)\)", index.read_text())
    }
    pages = {page for page in PAGES if page.parent.name != "decisions" or page.name == "index.md"}
    pages -= {page for page in pages if page.name.endswith(".zh-CN.md")}  # the index in Chinese has them
    missing = {str(page.relative_to(ROOT)) for page in pages - listed - {index} if ".github" not in page.parts}
    assert not missing


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/quickstart/*.md")), ids=lambda page: page.name)
def test_inventories_and_playbooks_of_quick_starts_exist(page):
    """Variables of an inventory and those behind ``-e`` are options of roles; playbooks and inventories are there."""
    text = page.read_text()
    names = set(re.findall(r"-e (\w+)=", text))
    for block in re.findall(r"(?ms)^```yaml\n(.*?)^```$", text):
        group = yaml.safe_load(block)["webui"]
        names |= set(group["vars"]).union(*group["hosts"].values())
    known = role_options()
    unknown = {name for name in names if name not in known and not name.startswith("ansible_")}
    assert unknown <= {"sdops_serial"}  # of the playbooks, before any role
    playbooks = set(re.findall(r"sdops\.webui\.(\w+)", re.sub("sdops.webui.summary", "", text)))
    assert playbooks and all((ROOT / "playbooks" / f"{name}.yml").exists() for name in playbooks), playbooks
    assert all((ROOT / path).is_dir() for path in re.findall(r"-i webui/(\S+)", text))

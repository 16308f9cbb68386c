"""The table of WebUI versions: every row is complete, and nothing beside it knows a version."""

from __future__ import annotations

import ast
import re
from typing import Iterator

import pytest
import yaml
from ansible_collections.sdops.webui.plugins.filter.webui_version import FilterModule
from ansible_collections.sdops.webui.plugins.module_utils.extensions.catalog import CATALOG
from ansible_collections.sdops.webui.plugins.module_utils.variables.validation import variable_errors
from ansible_collections.sdops.webui.plugins.module_utils.webui_versions import (
    WEBUI_VERSIONS,
    WebuiVersion,
    find_webui_version,
)
from helpers.paths import ROOT
from packaging.requirements import Requirement

TABLE = ROOT / "plugins" / "module_utils" / "webui_versions.py"
GITHUB = "https://mirror.example/github.com"
DEFAULTS, SPECS = (
    {
        name: value
        for role in ("conda_env", "sd_webui")
        for name, value in read(yaml.safe_load((ROOT / "roles" / role / path).read_text())).items()
    }
    for path, read in (
        ("defaults/main.yml", dict),
        ("meta/argument_specs.yml", lambda specs: specs["argument_specs"]["main"]["options"]),
    )
)
# the variables whose defaults are a row's
DEFAULTS_OF_ROW = {
    name: found[1]
    for name, value in DEFAULTS.items()
    if (found := re.fullmatch(r"\{\{ __sdops_webui_version\.(\w+) \}\}", str(value)))
}
webui_version = FilterModule().filters()["webui_version"]


@pytest.fixture(params=WEBUI_VERSIONS, ids=str)
def row(request: pytest.FixtureRequest) -> WebuiVersion:
    return WEBUI_VERSIONS[request.param]


def test_every_row_has_every_field(row: WebuiVersion) -> None:
    """A row may have empty ``constraints``, ``repositories`` and ``rejected_extensions``."""
    optional = {"constraints", "repositories", "rejected_extensions"}
    assert [name for name, value in row._asdict().items() if not value and name not in optional] == []
    for name in ("repositories", "build_packages", "constraints", "torch_builds"):
        assert isinstance(getattr(row, name), tuple), name


def test_every_commit_is_full(row: WebuiVersion) -> None:
    for repository, commit in [
        (row.repository, row.commit),
        *((sub.repository, sub.commit) for sub in row.repositories),
    ]:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", repository) and re.fullmatch(r"[0-9a-f]{40}", commit), repository
    directories = [sub.directory for sub in row.repositories]
    assert len(set(directories)) == len(directories)
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*", sub.variable) for sub in row.repositories)


def test_every_package_is_pinned(row: WebuiVersion) -> None:
    assert all("==" in str(Requirement(package).specifier) for package in row.build_packages)
    for package in (row.clip_package, row.openclip_package):
        assert re.fullmatch(r"\{github\}/\S+\.zip#sha256=[0-9a-f]{64}|[\w-]+==[\w.+]+", package)
    assert all(Requirement(line).specifier for line in row.constraints)
    assert re.fullmatch(r"[\w.-]+\.txt", row.requirements_file)


def test_every_build_of_torch_is_complete(row: WebuiVersion) -> None:
    for build in row.torch_builds:
        known = {"oldest", "newest"} if build["build"] != "cpu" else set()
        assert set(build) == {"build", "torch", "torchvision"} | known
        assert re.fullmatch(r"cu\d{3}|cpu", build["build"])
        assert all(re.fullmatch(r"\d+\.\d+\.\d+", build[name]) for name in ("torch", "torchvision"))
        assert all(re.fullmatch(r"\d+\.\d", build[name]) for name in known)
    assert [build["build"] for build in row.torch_builds].count("cpu") == 1


def test_rejected_extensions_are_those_of_the_catalog(row: WebuiVersion) -> None:
    assert set(row.rejected_extensions) <= set(CATALOG)
    assert all(reason and not reason.endswith(".") for reason in row.rejected_extensions.values())


@pytest.mark.parametrize("version", WEBUI_VERSIONS)
def test_the_roles_take_every_row(version: str) -> None:
    """What the defaults read of a row is there and passes the check of the variables."""
    values = webui_version(version, GITHUB)
    assert variable_errors({name: values[field] for name, field in DEFAULTS_OF_ROW.items()}, SPECS) == []
    assert values["repo"].startswith(f"{GITHUB}/") and "{" not in str(
        values["clip_package"] + values["openclip_package"]
    )
    assert all(sub["repo"].startswith(f"{GITHUB}/") for sub in values["repositories"])


def test_every_field_is_read() -> None:
    """By a default, or by the two that ask the table in other ways."""
    fields = {*WebuiVersion._fields, "repo"} - {"repository"}
    assert fields - set(DEFAULTS_OF_ROW.values()) == {"torch_builds", "rejected_extensions"}
    assert "__sdops_webui_version.torch_builds" in (ROOT / "roles/sd_webui/vars/main.yml").read_text()


def test_the_default_is_the_first_row() -> None:
    first = next(iter(WEBUI_VERSIONS))
    assert DEFAULTS["sd_webui_version"] == SPECS["sd_webui_version"]["default"] == first
    for unknown in ("", None, "1.11.0", 1.1):
        assert find_webui_version(unknown) is WEBUI_VERSIONS[first]


@pytest.mark.parametrize("version", WEBUI_VERSIONS)
def test_every_row_is_documented(version: str) -> None:
    assert f"V({version})" in " ".join(SPECS["sd_webui_version"]["description"])
    assert re.search(rf"(?m)^\| `{re.escape(version)}`", (ROOT / "roles/sd_webui/README.md").read_text())


def scalars(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        for entry in value:
            yield from scalars(entry)
    else:
        yield str(value)


def strings(tree: ast.Module) -> Iterator[str]:
    """All strings of a file but its docstrings and the documentation of a plugin."""
    documentation = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        or (isinstance(node, ast.Assign) and {"DOCUMENTATION", "EXAMPLES", "RETURN"} & {ast.unparse(node.targets[0])})
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in documentation:
            yield node.value


def test_no_version_stands_elsewhere() -> None:
    known = "|".join(map(re.escape, WEBUI_VERSIONS))
    forbidden = re.compile(
        rf"(?<![\w./-])({known})(?![\w/-]|\.\w)|sd_webui_version\s*([=!<>]=|[<>]|(not )?in |is (not )?(version|search|match))"
    )
    texts = {
        **{path: scalars(yaml.safe_load(path.read_text())) for path in ROOT.glob("roles/*/tasks/**/*.yml")},
        **{path: scalars(yaml.safe_load(path.read_text())) for path in ROOT.glob("roles/*/vars/**/*.yml")},
        **{path: scalars(yaml.safe_load(path.read_text())) for path in ROOT.glob("playbooks/*.yml")},
        **{path: strings(ast.parse(path.read_text())) for path in ROOT.glob("plugins/**/*.py") if path != TABLE},
    }
    assert len(texts) > 150
    found = [
        f"{path.relative_to(ROOT)}: {text}"
        for path, all_of in texts.items()
        for text in all_of
        if forbidden.search(text)
    ]
    assert found == []

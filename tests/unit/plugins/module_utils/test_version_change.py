"""Which changes of the WebUI's version need somebody who asks for them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.sdops.webui.plugins.module_utils import version_change
from ansible_collections.sdops.webui.plugins.module_utils.version_change import compare_version, is_newer
from ansible_collections.sdops.webui.plugins.module_utils.webui_versions import WEBUI_VERSIONS

COMMIT = {version: row.commit for version, row in WEBUI_VERSIONS.items()}
DEFAULT = next(iter(WEBUI_VERSIONS))
OTHER = "ab" * 20


def compare(installed: Any, requested: Any, desired: Any, **given: str) -> version_change.VersionChange:
    """``installed``, ``desired``: (version, commit)."""
    names = ("version", "commit")
    return compare_version(
        json.dumps(dict(zip(names, installed))) if installed else None,
        json.dumps({"repo": "x"} if requested is None else {"repo": "x", "requested": requested}),
        dict(zip(names, desired)),
        given,
    )


def row(version: str) -> tuple[str, str]:
    return version, COMMIT[version]


@pytest.mark.parametrize("requested", [None, {"sd_webui_version": "dev"}])
def test_default_does_not_replace_another_version(requested):
    change = compare(row("dev"), requested, row(DEFAULT))
    assert (change.installed, change.desired, change.changed) == ("dev", DEFAULT, True)
    assert "has version dev" in change.objection and f"the default, {DEFAULT}, would replace it" in change.objection
    assert "write into the inventory: sd_webui_version: dev." in change.objection
    assert f"-e sd_webui_version={DEFAULT}" in change.objection


@pytest.mark.parametrize("name", ["sd_webui_version", "sd_webui_commit", "sd_webui_repo"])
def test_variable_that_is_set_asks_for_it(name):
    change = compare(row("dev"), {"sd_webui_version": "dev"}, row(DEFAULT), **{name: "x"})
    assert change.changed and not change.objection and not change.notice and change.requested == {name: "x"}


@pytest.mark.parametrize(
    ("requested", "kept"),
    [
        ({"sd_webui_commit": OTHER}, f"sd_webui_commit: {OTHER}."),
        (None, f"sd_webui_version: {DEFAULT}, sd_webui_commit: {OTHER}."),
        (
            {"sd_webui_repo": "https://example.com/x.git", "sd_webui_commit": OTHER},
            f"sd_webui_commit: {OTHER}, sd_webui_repo: https://example.com/x.git.",
        ),
    ],
)
def test_commit_of_ones_own_is_not_replaced_either(requested, kept):
    change = compare((DEFAULT, OTHER), requested, row(DEFAULT))
    assert change.installed == f"{DEFAULT} at commit {OTHER[:10]}" and kept in change.objection


def test_version_counts_beside_its_commit():
    """Another one has other packages, also where the inventory names the commit."""
    assert compare(("1.5.2", OTHER), {}, ("dev", OTHER), sd_webui_version="dev")[:3] == (
        f"1.5.2 at commit {OTHER[:10]}",
        f"dev at commit {OTHER[:10]}",
        True,
    )
    assert compare(("1.5.2", OTHER), {}, ("dev", OTHER)).objection


def test_a_pinned_commit_keeps_the_code():
    given = {"sd_webui_version": "dev", "sd_webui_commit": OTHER}
    change = compare(("1.5.2", OTHER), given, ("dev", OTHER), **given)
    assert not change.objection and "keeps the code of the WebUI at ababababab" in change.notice
    assert not compare(("1.5.2", OTHER), given, row("dev"), sd_webui_version="dev").notice
    assert not compare(("dev", OTHER), given, ("dev", OTHER), **given).notice


def test_version_that_the_collection_does_not_know_any_more():
    change = compare(("0.9", OTHER), None, row(DEFAULT))
    assert f"write into the inventory: sd_webui_commit: {OTHER}." in change.objection


def test_nothing_changes_and_what_was_asked_for_stays_recorded():
    requested = {"sd_webui_version": "dev"}
    assert compare(row("dev"), requested, row("dev")) == ("dev", "dev", False, "", "", requested)
    assert compare(row("dev"), {}, row("dev"), **requested).requested == requested
    assert compare(row(DEFAULT), None, row(DEFAULT)).requested == {}


def test_first_installation():
    assert compare(None, None, row(DEFAULT)) == ("", DEFAULT, False, "", "", {})
    assert compare_version("{", "[]", {"version": "dev", "commit": OTHER}, {}).installed == ""
    assert compare_version("[1]", None, {"version": "dev", "commit": OTHER}, {}).objection == ""


@pytest.mark.parametrize(
    ("installed", "desired", "allowed"),
    [
        (("1.9.4", OTHER), row(DEFAULT), True),  # a release of the collection with a newer default
        ((DEFAULT, OTHER), row(DEFAULT), True),  # with another commit for it
        (("1.11.0", OTHER), row(DEFAULT), False),  # an older release of the collection
        (row("dev"), row(DEFAULT), False),
    ],
)
def test_default_that_was_installed_follows_the_default_upwards(installed, desired, allowed):
    change = compare(installed, {}, desired)
    assert change.changed and bool(change.notice) == allowed and bool(change.objection) == (not allowed)
    assert "write into the inventory: sd_webui_" in change.notice + change.objection


def test_releases_are_compared_by_number():
    assert is_newer("1.10.1", "1.9.4") and is_newer("1.10.1", "1.10")
    assert not is_newer("1.5.2", "1.10.1") and not is_newer("1.10.1", "1.10.1")
    assert not is_newer("dev", "1.10.1") and not is_newer("1.10.1", "dev")

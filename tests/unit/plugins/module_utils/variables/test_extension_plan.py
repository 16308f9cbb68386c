"""What is written for an extension, and what it comes to."""

from __future__ import annotations

import re

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.errors import ExtensionError
from ansible_collections.sdops.webui.plugins.module_utils.extensions.catalog import CATALOG
from ansible_collections.sdops.webui.plugins.module_utils.models.spec import parse_model_entry
from ansible_collections.sdops.webui.plugins.module_utils.variables.extension_plan import plan

HUB = "https://github.com"
COMMIT = "ab" * 20


@pytest.mark.parametrize("name", sorted(CATALOG))
def test_every_name_of_the_catalog(name):
    entry = CATALOG[name]
    assert re.fullmatch(r"[0-9a-f]{40}", entry.commit)
    assert entry.note and entry.licence
    for model in entry.models:
        assert parse_model_entry(model).sha256, "a model of the catalog is pinned by its hash"
    (found,) = plan([name], HUB, "1.10.1")
    assert found["repo"] == f"{HUB}/{entry.repository}.git"
    assert found["commit"] == entry.commit
    # its own installer would run pip without pins
    assert not found["install_script"] and not found["requirements"]
    assert all("==" in package for package in found["packages"])


def test_a_mapping_wins_over_the_catalog():
    (found,) = plan([{"name": "roop", "commit": COMMIT, "models": [], "state": "disabled"}], HUB, "1.10.1")
    assert (found["name"], found["commit"], found["models"], found["state"]) == (
        "sd-webui-roop",
        COMMIT,
        [],
        "disabled",
    )


def test_the_directory_is_a_name_too():
    assert plan(["sd-webui-controlnet"], HUB, "1.10.1") == plan(["controlnet"], HUB, "1.10.1")


def test_any_other_one_is_planned_alone():
    (found,) = plan([{"name": "tagcomplete", "repo": "https://git.test/x.git", "commit": COMMIT}], HUB, "1.10.1")
    assert found["requirements"] and found["install_script"]
    (found,) = plan([{"name": "x", "repo": "u", "commit": COMMIT, "packages": ["lark==1.1.2"]}], HUB, "1.10.1")
    assert found["packages"] == ["lark==1.1.2"] and not found["install_script"]


def test_absent_needs_only_the_name():
    assert plan([{"name": "whatever", "state": "absent"}], HUB, "1.10.1")[0]["state"] == "absent"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("control-net", ["control-net", "Did you mean controlnet"]),
        ({"name": "x", "repo": "u"}, ["x", "repo and commit"]),
        ({"name": "x", "repo": "u", "commit": "main"}, ["x", "main", "40 hex digits"]),
        ({"name": "../x", "repo": "u", "commit": COMMIT}, ["../x", "plain"]),
        ({"name": "roop", "states": "present"}, ["roop", "states"]),
        ({"name": "roop", "state": "on"}, ["roop", "on", "disabled"]),
        ({"repo": "u"}, ["no extension", "catalog"]),
        (7, ["7", "no extension"]),
        (None, ["null is no extension"]),
        ({"adetailer": None, "state": "disabled"}, ["Write name: adetailer"]),
        ({"adetailer": {"state": "disabled"}}, ["Write name: adetailer"]),
        ({"name": "roop", 5: 1}, ["unknown field 5"]),
        ({"name": "roop", "keep": 5}, ["keep is 5; it must be a list"]),
        ({"name": "roop", "keep": "numpy"}, ['write it as ["numpy"]']),
        ({"name": "roop", "packages": [1]}, ["packages is [1]", "must be a text"]),
        ({"name": "roop", "files": 5, "debian": "libgl1"}, ["files is 5; it must be a list", 'as ["libgl1"]']),
        ({"name": "roop", "requirements": "no"}, ["requirements", "must be true or false"]),
        ({"name": "roop", "models": "sd-1.5"}, ["models must be a list"]),
        ({"name": "roop", "state": ["on"]}, ['state is ["on"]; it must be one of']),
        ({"name": "roop", "commit": 7}, ["commit is 7", "40 hex digits"]),
    ],
)
def test_what_cannot_be_understood_is_named(entry, words):
    with pytest.raises(ExtensionError) as caught:
        plan([entry], HUB, "1.10.1")
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("arguments", [["--api-auth=a:hunter2"], "--gradio-auth=a:hunter2", [{"hunter2": 1}]])
def test_arguments_are_those_of_the_service_and_never_shown(arguments):
    with pytest.raises(ExtensionError, match="The extension roop: arguments must") as caught:
        plan([{"name": "roop", "arguments": arguments}], HUB, "1.10.1")
    assert "hunter2" not in str(caught.value)


def test_spaces_around_texts_and_fields_without_a_value_do_not_count():
    found = plan([" roop\n", {"name": " adetailer", "keep": None, "files": None}], HUB, "1.10.1")
    assert found == plan(["roop", "adetailer"], HUB, "1.10.1")


def test_duplicates_are_rejected():
    with pytest.raises(ExtensionError, match="sd-webui-roop"):
        plan(["roop", {"name": "sd-webui-roop"}], HUB, "1.10.1")


def test_too_old_a_webui_is_reported():
    with pytest.raises(ExtensionError, match=r"adetailer works with WebUI 1.6 and newer, not with 1.5.2"):
        plan(["adetailer"], HUB, "1.5.2")
    assert plan(["adetailer"], HUB, "dev")
    assert plan([{"name": "adetailer", "state": "disabled"}], HUB, "1.5.2")


def test_files_have_a_revision():
    (found,) = plan(["roop"], HUB, "1.10.1")
    assert [f["path"] for f in found["files"]] == ["~/.ifnude/detector.onnx", "~/.ifnude/classes"]
    assert [f["revision"] for f in found["files"]] == ["main", "main"]
    own = {"path": "models/x.bin", "repo": "a/b", "file": "x.bin"}
    (found,) = plan([{"name": "roop", "files": [own, {**own, "sha256": "0" * 64, "revision": "v1"}]}], HUB, "1.10.1")
    assert found["files"][0] == {**own, "revision": "main", "sha256": ""}
    assert (found["files"][1]["revision"], found["files"][1]["sha256"]) == ("v1", "0" * 64)


@pytest.mark.parametrize(
    ("placed", "word"),
    [
        ({"path": "x", "repo": "a/b"}, "needs path"),
        ({"path": "x", "repo": "a", "file": "f", "hash": "1"}, "needs path"),
        ({"path": "../x", "repo": "a/b", "file": "f"}, "below"),
        ({"path": "/etc/x", "repo": "a/b", "file": "f"}, "below"),
        ({"path": 5, "repo": "a/b", "file": "f"}, "path of one of its files is 5; it must be a text"),
    ],
)
def test_files_that_cannot_be_understood(placed, word):
    with pytest.raises(ExtensionError, match=word):
        plan([{"name": "roop", "files": [placed]}], HUB, "1.10.1")

"""Paths that a target reports, before they are used on the controller. Oracle: os.path.realpath of where a file would land."""

from __future__ import annotations

import os
import random

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.errors import UntrustedPathError
from ansible_collections.sdops.webui.plugins.plugin_utils.controller_paths import (
    check_local_path,
    check_relative_path,
    find_variables_among_facts,
    quote_path,
)

PARTS = [
    "..",
    ".",
    "",
    "a",
    "b c",
    "é",
    "x\n",
    "\x1b[2J",
    "\x9b",
    "\0",
    "\u202e",
    "\u2028",
    "\udcff",
    "~",
    "$HOME",
    "-rf",
    "n" * 256,
]


def test_whatever_is_reported_lands_below_the_directory(tmp_path):
    root = tmp_path / "outputs"
    root.mkdir()
    (root / "b c").symlink_to("/etc")
    (root / "a").mkdir()
    (root / "a" / "é").symlink_to("../..")
    random.seed(7)
    accepted = rejected = 0
    for _ in range(20_000):
        path = "/".join(random.choice(PARTS) for _ in range(random.randint(1, 6)))
        path = random.choice(["/data/", "/data", "", "/", "//data/"]) + path
        try:
            where = check_local_path(str(root), check_relative_path("/data", path))
        except UntrustedPathError as exc:
            rejected += 1
            assert str(exc).isprintable()
            continue
        accepted += 1
        assert os.path.realpath(where).startswith(f"{root}/") and where.isprintable()
    assert accepted > 300 and rejected > 10_000


@pytest.mark.parametrize("path", [None, 5, True, ["/data/a"], {"a": 1}, b"/data/a"])
def test_what_is_no_text_is_no_path(path):
    with pytest.raises(UntrustedPathError):
        check_relative_path("/data", path)


@pytest.mark.parametrize("path", ["/data/a b/ü.png", "/data/it's.png", "/data/[x]*?.png", "/data/...", "/data/..a/b"])
def test_what_people_call_their_files_is_taken(path):
    assert check_relative_path("/data", path) == check_relative_path("/data/", path) == path[6:]


def test_facts_with_names_of_variables():
    assert find_variables_among_facts(["sdops_gpu", "python", "sdops_artifacts_dir", "webui_service_x"]) == [
        "sdops_artifacts_dir",
        "webui_service_x",
    ]


def test_a_long_path_is_shortened():
    assert len(quote_path("x" * 5000)) == 200

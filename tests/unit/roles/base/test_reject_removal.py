"""What uninstalling with data must not remove."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import ROOT

SCRIPT = ROOT / "roles/base/files/reject_removal.py"


@pytest.fixture
def target(tmp_path: Path):
    """(directories, what is rejected)"""
    for name in ("root", "data/webui/.git", "data/env", "data/models", "miniconda3", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "data/webui/.git/config").write_text("[core]\n[sdops]\n\tpin = 1\n")
    (tmp_path / "data/env/.sdops-made").write_text("")

    def rejected(**changes: str) -> list[str]:
        defaults = {
            "checkouts": f"{tmp_path}/data/webui",
            "environments": f"{tmp_path}/data/env",
            "others": f"{tmp_path}/data/models",
        }
        paths = {kind: [path] for kind, path in {**defaults, **changes}.items()}
        request = {"home": f"{tmp_path}/root", "shared": [f"{tmp_path}/data", f"{tmp_path}/opt"], **paths}
        done = subprocess.run(
            [sys.executable, str(SCRIPT), json.dumps(request)], capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()

    return tmp_path, rejected


def test_what_we_have_made_may_go(target):
    _, rejected = target
    assert rejected() == []
    assert rejected(environments="/nowhere", checkouts="/nowhere", others="/nowhere") == []


def test_what_others_have_made_stays(target):
    top, rejected = target
    assert rejected(environments=f"{top}/miniconda3") == [
        f"{top}/miniconda3 is no environment that the role conda_env has made."
    ]
    assert "no checkout" in rejected(checkouts=f"{top}/elsewhere")[0]
    assert "lies outside" in rejected(others=f"{top}/elsewhere")[0]


@pytest.mark.parametrize("kind", ["checkouts", "environments", "others"])
def test_directories_that_hold_more_stay(target, kind):
    top, rejected = target
    for path, word in (
        ("/", "home"),
        (f"{top}/root", "home"),
        (str(top), "home"),
        (f"{top}/data", "others may have"),
        ("/proc", "mount"),
    ):
        messages = rejected(**{kind: path})
        assert len(messages) == 1 and word in messages[0], (path, messages)
    (top / "link").symlink_to(top / "data")
    assert "others may have" in rejected(**{kind: f"{top}/link"})[0]

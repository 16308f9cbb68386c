"""What uninstalling with data must not remove."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import ROOT

SCRIPT = ROOT / "roles/base/files/refuse_removal.py"


@pytest.fixture
def box(tmp_path: Path):
    """(directories, what is refused)"""
    for name in ("root", "data/webui/.git", "data/env", "data/models", "miniconda3", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "data/webui/.git/config").write_text("[core]\n[sdops]\n\tpin = 1\n")
    (tmp_path / "data/env/.sdops-made").write_text("")

    def refused(**changes: str) -> list[str]:
        wish = {
            "checkouts": f"{tmp_path}/data/webui",
            "environments": f"{tmp_path}/data/env",
            "others": f"{tmp_path}/data/models",
        }
        paths = {kind: [path] for kind, path in {**wish, **changes}.items()}
        given = {"home": f"{tmp_path}/root", "keep": [f"{tmp_path}/data", f"{tmp_path}/opt"], **paths}
        done = subprocess.run(
            [sys.executable, str(SCRIPT), json.dumps(given)], capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()

    return tmp_path, refused


def test_what_we_have_made_may_go(box):
    _, refused = box
    assert refused() == []
    assert refused(environments="/nowhere", checkouts="/nowhere", others="/nowhere") == []


def test_what_others_have_made_stays(box):
    top, refused = box
    assert refused(environments=f"{top}/miniconda3") == [
        f"{top}/miniconda3 is no environment that the role conda_env has made."
    ]
    assert "no checkout" in refused(checkouts=f"{top}/elsewhere")[0]
    assert "lies outside" in refused(others=f"{top}/elsewhere")[0]


@pytest.mark.parametrize("kind", ["checkouts", "environments", "others"])
def test_directories_that_hold_more_stay(box, kind):
    top, refused = box
    for path, word in (
        ("/", "home"),
        (f"{top}/root", "home"),
        (str(top), "home"),
        (f"{top}/data", "others may have"),
        ("/proc", "mount"),
    ):
        told = refused(**{kind: path})
        assert len(told) == 1 and word in told[0], (path, told)
    (top / "link").symlink_to(top / "data")
    assert "others may have" in refused(**{kind: f"{top}/link"})[0]

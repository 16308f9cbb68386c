"""A target whose user is not root: what cannot be written is told before the first change, with what to set."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

NOBODY = 65534
PYTHON = "/usr/bin/python3"  # the tests' own one may lie where nobody else may look
BECOME = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv") or subprocess.run([PYTHON, "-c", ""], check=False).returncode != 0,
    reason="being somebody else needs root, setpriv and the system's Python",
)


@pytest.fixture
def unprivileged(site):
    """The site, seen by modules as a login of nobody's; its directories are root's."""
    site.base.chmod(0o755)
    python = site.base / "python"
    python.write_text(f'#!/bin/sh\nexec {" ".join(BECOME)} {PYTHON} "$@"\n')
    python.chmod(0o755)
    site.variables["ansible_python_interpreter"] = str(python)
    return site


def own(path: Path) -> Path:
    path.mkdir()
    os.chown(path, NOBODY, NOBODY)
    return path


def test_all_that_cannot_be_written_is_reported_before_the_first_change(unprivileged):
    site, before = unprivileged, unprivileged.files()
    result = site.play()
    output = " ".join(result.stdout.split())
    assert result.returncode != 0
    assert "changed=0" in output, result.stdout
    paths = [site.variables[name] for name in ("sdops_home", "sdops_data_dir", "sdops_boot_hook", "sdops_profile_dir")]
    named = output.split("cannot write to ", 1)[1].split(" on box.", 1)[0].split(", ")
    assert set(paths) <= {*named} and all(path.startswith(str(site.base)) for path in named), result.stdout
    for advice in (
        "nobody cannot write to",
        "Log in as root or set ansible_become: true",
        'sdops_boot_hook to a file of this user or to ""',
    ):
        assert advice in output, result.stdout
    assert site.files() == before


def test_the_defaults_are_no_places_of_such_a_user(unprivileged):
    site, before = unprivileged, unprivileged.files()
    for name in ("sdops_home", "sdops_data_dir", "sdops_boot_hook", "sdops_profile_dir"):
        del site.variables[name]
    result = site.play()
    output = " ".join(result.stdout.split())
    assert result.returncode != 0 and "changed=0" in output
    assert "nobody cannot write to /opt/sdops, " in output and "/etc/autodl.sh, /etc/profile.d on box." in output, (
        result.stdout
    )
    assert site.files() == before


@pytest.mark.parametrize("theirs", ["sdops_profile_dir", "sdops_boot_hook"])
def test_only_what_is_left_is_reported(unprivileged, theirs):
    """With directories of the user's own, one thing that is root's."""
    site = unprivileged
    home = own(site.base / "own")
    roots = site.variables[theirs]
    for name in ("sdops_home", "sdops_data_dir", "sdops_boot_hook", "sdops_profile_dir"):
        if name != theirs:
            site.variables[name] = str(home / name)
    before = site.files()
    result = site.play()
    assert result.returncode != 0
    assert f"nobody cannot write to {roots} on box." in " ".join(result.stdout.split()), result.stdout
    assert site.files() == before


def test_advice_of_the_message_yields_the_plan(unprivileged):
    site = unprivileged
    home = own(site.base / "own")
    for name in ("sdops_home", "sdops_data_dir", "sdops_profile_dir"):
        site.variables[name] = str(home / name)
    site.variables["sdops_boot_hook"] = ""
    before = site.files()
    result = site.play("--check")
    assert result.returncode == 0, result.stdout
    assert site.files() == before

"""pip's configuration files. Oracle: pip itself."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.python_env.pip_config import (
    effective_setting,
    read_pip_config,
)

# directory below the test's own, or "NAMED" for $PIP_CONFIG_FILE: text of the pip.conf in it
CASES = {
    "nothing": {},
    "user": {"home/.config/pip": "[global]\nindex-url = https://user.invalid/simple\n"},
    "legacy": {"home/.pip": "[global]\nindex_url=https://legacy.invalid/simple\n"},
    "new over legacy": {"home/.pip": "[global]\nindex-url=https://a.invalid\n", "home/.config/pip": "[global]\nindex-url=https://b.invalid\n"},
    "system": {"xdg-1/pip": "[global]\nIndex-URL: https://one.invalid\n", "xdg-2/pip": "[global]\nindex-url: https://two.invalid\n"},
    "user over system": {"xdg-1/pip": "[global]\nindex-url=https://a.invalid\n", "home/.config/pip": "[global]\nindex-url=\n"},
    "environment": {"home/.config/pip": "[global]\nindex-url=https://a.invalid\n", "venv": "[global]\nindex-url=https://b.invalid\n"},
    "named": {"NAMED": "[global]\nindex-url=https://n.invalid\n", "home/.config/pip": "[global]\nindex-url=https://a.invalid\n"},
    "named without it": {"NAMED": "[global]\ntimeout=1\n", "home/.config/pip": "[global]\nindex-url=https://a.invalid\n"},
    "another section": {"home/.config/pip": "[install]\nindex-url=https://a.invalid\n"},
    "as an option": {"home/.config/pip": "[global]\n--index-url = https://a.invalid\n"},
    "comments and percent": {"home/.config/pip": "# x\n[global]\nindex-url = https://a:%40b@c.invalid/%(x)s ; no comment\n"},
    "continued": {"home/.config/pip": "[global]\nindex-url =\n  https://a.invalid\n"},
    "twice": {"home/.config/pip": "[global]\nindex-url = https://a.invalid\nindex-url = https://b.invalid\n"},
    "no section": {"home/.config/pip": "index-url = https://a.invalid\n"},
}  # fmt: skip


@pytest.fixture(scope="module")
def venv(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pip") / "venv"
    subprocess.run([sys.executable, "-m", "venv", path], check=True)
    return path


@pytest.mark.parametrize("case", [*CASES, "devnull", "variables"])
def test_settings_are_those_that_pip_lists(venv, tmp_path, monkeypatch, case):
    environment = {
        "HOME": f"{tmp_path}/home",
        "XDG_CONFIG_DIRS": f"{tmp_path}/xdg-1:{tmp_path}/xdg-2",
        "PATH": os.environ["PATH"],
    }
    (venv / "pip.conf").unlink(missing_ok=True)
    for name, text in CASES.get(case, CASES["user"]).items():
        directory = {"venv": venv}.get(name, tmp_path / name)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "pip.conf").write_text(text)
        if name == "NAMED":
            environment["PIP_CONFIG_FILE"] = f"{directory}/pip.conf"
    if case == "devnull":
        environment["PIP_CONFIG_FILE"] = os.devnull
    if case == "variables":
        environment.update(
            PIP_INDEX_URL="https://v.invalid", PIP_EXTRA_INDEX_URL="https://a.invalid https://b.invalid", pip_proxy="x"
        )
    python = str(venv / "bin/python")
    done = subprocess.run([python, "-m", "pip", "config", "list"], env=environment, capture_output=True, text=True)
    printed = dict(line.split("=", 1) for line in done.stdout.splitlines())
    monkeypatch.setenv("HOME", environment["HOME"])
    assert read_pip_config(python, environment) == {name: ast.literal_eval(value) for name, value in printed.items()}


def test_order_of_pip_install():
    """Which of them an installation uses, which ``pip config list`` does not say."""
    settings = {
        "global.index-url": "https://a",
        "install.index-url": "https://b",
        ":env:.index-url": "",
        "install.timeout": "1",
    }
    assert effective_setting(settings, "index-url") == "https://b"
    assert effective_setting({**settings, ":env:.index-url": "https://c"}, "index-url") == "https://c"
    assert (effective_setting(settings, "timeout"), effective_setting(settings, "proxy")) == ("1", "")

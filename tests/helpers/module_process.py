"""Run a module of ours as Ansible does: a process of its own that reads JSON arguments and prints a JSON result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import ansible
from packaging.version import Version

from helpers.paths import COLLECTIONS

LAUNCH = """
import importlib, sys
from ansible.module_utils import basic
basic._ANSIBLE_PROFILE = "legacy"
importlib.import_module("ansible_collections.sdops.webui.plugins.modules." + sys.argv.pop(1)).main()
"""
# what this machine's own shell has set must not decide a test
DROP = (
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_FIND_LINKS",
    "CI",
)

# newer ones repeat the arguments in a result only when asked to; older ones always do, and know no such argument
INVOCATION = {"_ansible_inject_invocation": True} if Version(ansible.__version__) >= Version("2.21") else {}


def clean_environment(**more: str) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if k not in DROP and "proxy" not in k.lower()}
    return {**env, "PYTHONPATH": str(COLLECTIONS), **{k: str(v) for k, v in more.items()}}


def start_module(
    name: str,
    /,
    env: dict | None = None,
    check: bool = False,
    interpreter: str = sys.executable,
    cwd: Path | None = None,
    **arguments,
):
    arguments = {
        **arguments,
        **INVOCATION,
        "_ansible_check_mode": check,
        "_ansible_diff": True,
        "_ansible_tmpdir": None,
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as handle:
        json.dump({"ANSIBLE_MODULE_ARGS": arguments}, handle, default=str)
    process = subprocess.Popen(
        [interpreter, "-c", LAUNCH, name, handle.name],
        env=clean_environment(**(env or {})),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.arguments_file = handle.name
    return process


def run_module(name: str, /, **arguments) -> dict:
    """Result of the module, with ``rc`` of its process, and ``failed`` in any case; arguments as for start_module."""
    process = start_module(name, **arguments)
    out, err = process.communicate(timeout=300)
    os.unlink(process.arguments_file)
    assert out.strip(), err
    assert "Traceback" not in err, err
    return {"failed": False, **json.loads(out.strip().splitlines()[-1]), "rc": process.returncode}


def four_times(name: str, /, **kwargs) -> list[dict]:
    """check -> apply -> check -> apply; asserts what every module of ours promises about them."""
    first, applied, repeated, last = (run_module(name, check=check, **kwargs) for check in (True, False, True, False))
    for result in (first, applied, repeated, last):
        assert not result.get("failed"), result["msg"]
    assert first["changed"] and applied["changed"], (first, applied)
    assert first["actions"] and applied["actions"]
    assert applied["diff"]["before"] != applied["diff"]["after"]
    assert first["diff"]["before"] == applied["diff"]["before"]
    assert not repeated["changed"] and not last["changed"], (repeated, last)
    assert not repeated["actions"] and not last["actions"]
    assert repeated["diff"]["before"] == repeated["diff"]["after"]
    return [first, applied, repeated, last]

"""Run a module of ours as Ansible does: a process of its own that reads JSON arguments and prints a JSON result.

run_module forks it from a process that has imported everything (helpers.module_server), start_module starts a new one.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
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

RUN_LIMIT = 300  # seconds

# newer ones repeat the arguments in a result only when asked to; older ones always do, and know no such argument
INVOCATION = {"_ansible_inject_invocation": True} if Version(ansible.__version__) >= Version("2.21") else {}


def clean_environment(**more: str) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if k not in DROP and "proxy" not in k.lower()}
    return {**env, "PYTHONPATH": str(COLLECTIONS), **{k: str(v) for k, v in more.items()}}


def module_arguments(arguments: dict, check: bool) -> str:
    """What Ansible hands to a module, as JSON."""
    more = {"_ansible_check_mode": check, "_ansible_diff": True, "_ansible_tmpdir": None}
    return json.dumps({"ANSIBLE_MODULE_ARGS": {**arguments, **INVOCATION, **more}}, default=str)


def start_module(
    name: str,
    /,
    env: dict | None = None,
    check: bool = False,
    interpreter: str = sys.executable,
    cwd: Path | None = None,
    **arguments,
):
    with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as handle:
        handle.write(module_arguments(arguments, check))
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
    if arguments.get("interpreter", sys.executable) == sys.executable and "COVERAGE_PROCESS_CONFIG" not in os.environ:
        out, err, returncode = _run_forked(name, **arguments)
    else:
        process = start_module(name, **arguments)
        out, err = process.communicate(timeout=RUN_LIMIT)
        os.unlink(process.arguments_file)
        returncode = process.returncode
    assert out.strip(), err
    assert "Traceback" not in err, err
    return {"failed": False, **_as_displayed(json.loads(out.strip().splitlines()[-1])), "rc": returncode}


def _as_displayed(result: dict) -> dict:
    """Up to ansible-core 2.21 a module masks its secrets itself; from 2.22 on it names them, and the controller masks all that it prints."""
    secrets = result.pop("_ansible_new_secrets", None)
    if not secrets:
        return result
    from ansible.module_utils._internal._secrets import SecretMasker

    masker = SecretMasker()  # one of its own: a short secret of one test is a word of another
    masker.register_secret_texts(secrets)
    return json.loads(masker.mask_string(json.dumps(result), mask_placeholder="********"))


@functools.cache
def _module_server(owner: int) -> str:
    """Path of the socket of the server that process ``owner`` (this one) has; see helpers.module_server."""
    path = os.path.join(tempfile.mkdtemp(prefix="modules-"), "socket")
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("module_server.py")), path],
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    atexit.register(_end_module_server, owner, path, process)
    deadline = time.monotonic() + RUN_LIMIT
    while not os.path.exists(path):
        assert process.poll() is None and time.monotonic() < deadline, "the module server did not start"
        time.sleep(0.05)
    return path


def _end_module_server(owner: int, path: str, process: subprocess.Popen) -> None:
    if os.getpid() == owner:
        process.terminate()
        process.wait()
        shutil.rmtree(os.path.dirname(path), ignore_errors=True)


def _run_forked(
    name: str,
    /,
    env: dict | None = None,
    check: bool = False,
    interpreter: str = "",
    cwd: Path | None = None,
    **arguments,
) -> tuple[str, str, int]:
    """Output, error output and exit status of a module that a fork of the module server runs."""
    umask = os.umask(0)
    os.umask(umask)
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as connection:
        files = {part: os.path.join(directory, part) for part in ("arguments", "stdout", "stderr")}
        for path in files.values():
            Path(path).touch(0o600)
        Path(files["arguments"]).write_text(module_arguments(arguments, check))
        environment = clean_environment(**(env or {}))
        request = {**files, "module": name, "env": environment, "cwd": str(cwd or os.getcwd()), "umask": umask}
        connection.connect(_module_server(os.getpid()))
        connection.settimeout(RUN_LIMIT)
        connection.sendall(json.dumps(request).encode() + b"\n")
        answer = connection.makefile()
        pid = int(answer.readline())
        try:
            returncode = int(answer.readline())
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise
        return Path(files["stdout"]).read_text(), Path(files["stderr"]).read_text(), returncode


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

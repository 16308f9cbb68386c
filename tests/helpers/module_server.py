"""A process that has everything imported and forks for each run of a module: what takes longest of a run is done once.

A fork has the arguments, the environment, the directory, the umask and the output of its own, as a process that was started anew.
Started by helpers.module_process with the path of a Unix socket; ends with the process that started it.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

MODULES = "ansible_collections.sdops.webui.plugins.modules"


def import_everything() -> None:
    modules = pkgutil.iter_modules(importlib.import_module(MODULES).__path__, MODULES + ".")
    for name in ("ansible.module_utils.urls", "requests", *(found.name for found in modules)):
        importlib.import_module(name)


def run(request: dict[str, Any]) -> None:
    """Take the place of a new process: ``main()`` of the module, which ends with SystemExit."""
    os.chdir(request["cwd"])
    os.umask(request["umask"])
    os.environ.clear()
    os.environ.update(request["env"])
    for number, name in ((1, "stdout"), (2, "stderr")):
        opened = os.open(request[name], os.O_WRONLY | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv = ["-c", request["arguments"]]
    # the environment decides these when a process starts
    sys.path[:0] = [part for part in request["env"].get("PYTHONPATH", "").split(os.pathsep) if part not in sys.path]
    basic = importlib.import_module("ansible.module_utils.basic")
    basic._ANSIBLE_PROFILE = "legacy"
    importlib.import_module(f"{MODULES}.{request['module']}").main()


def run_to_end(request: dict[str, Any]) -> int:
    """The exit status, after what Python does at the end of a process; taking everything apart that was imported takes longest of it."""
    try:
        run(request)
        status = 0
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else exc.code is not None
        if isinstance(exc.code, str):
            print(exc.code, file=sys.stderr)
    except Exception:
        traceback.print_exc()
        status = 1
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return int(status)


def supervise(connection: socket.socket) -> None:
    """In a fork of the server: one run, whose exit status is the answer."""
    request = json.loads(connection.makefile().readline())
    pid = os.fork()
    if pid == 0:
        connection.close()
        os._exit(run_to_end(request))
    connection.sendall(f"{pid}\n".encode())
    status = os.waitpid(pid, 0)[1]
    connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def serve(path: str) -> None:
    import_everything()
    gc.freeze()  # no fork copies it only to look at it
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path + ".new")
    listener.listen(16)
    os.rename(path + ".new", path)
    owner = os.getppid()
    listener.settimeout(5)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while os.getppid() == owner:
        try:
            connection, _address = listener.accept()
        except TimeoutError:
            continue
        if os.fork() == 0:
            listener.close()
            connection.settimeout(None)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            supervise(connection)
        connection.close()
    Path(path).unlink(missing_ok=True)


if __name__ == "__main__":
    serve(sys.argv[1])

"""A taken port names its owner, unless it is a program of our own supervisord. Oracle: the kernel, with real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time

LISTEN = "import socket, time; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); print(s.getsockname()[1], flush=True); time.sleep(60)"


def read_owners(run_module, port, directory):
    return run_module("host_state_info", ports=[port], supervisor_dir=str(directory))["state"]["ports"][str(port)]


def test_only_programs_of_others_are_named(tmp_path, run_module):
    directory = tmp_path / "home/supervisor"
    script = tmp_path / "server.py"
    script.write_text(LISTEN)
    parent = tmp_path / "supervisord.py"
    parent.write_text(f"import subprocess, sys\nsubprocess.run([sys.executable, {str(script)!r}])\n")
    for words, own in ([script], False), ([parent, "-c", f"{directory}/supervisord.conf"], True):
        process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True, start_new_session=True)
        try:
            port = int(process.stdout.readline())
            found = read_owners(run_module, port, directory)
            assert found == [] if own else [str(script) in each["command"] for each in found] == [True]
            assert len(read_owners(run_module, port, tmp_path / "another/supervisor")) == 1
        finally:
            os.killpg(process.pid, 9)
            process.wait()
            time.sleep(0.1)

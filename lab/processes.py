"""The lab as processes on 127.0.0.1, without root and below one directory: the target is this machine."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from . import common
from .common import ROOT, SHARED, Lab, LabError, say

CONTENT = SHARED / "processes"
TARGET = "target1"


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def start_time(pid: int) -> str | None:
    """When the process started, in clock ticks: with the pid it names a process, even after the pid was given again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def end(pid: int, started: str | None, seconds: float = 10) -> None:
    """End the process if it still is the one that we mean."""
    if start_time(pid) != started or started is None:
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while start_time(pid) == started:
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG)[0]:
                return
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


class Processes:
    """One lab's processes; their pids are in the state."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.target = lab.dir / TARGET

    def _spawn(self, what: str, argv: list[str]) -> dict[str, Any]:
        log = (self.lab.dir / "log" / f"{what}.out").open("ab")
        process = subprocess.Popen(
            argv, cwd=ROOT, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )
        return {"pid": process.pid, "started": start_time(process.pid), "argv": argv}

    def _alive(self, entry: dict[str, Any] | None) -> bool:
        return bool(entry) and start_time(entry["pid"]) == entry["started"]

    def up(self, targets: int) -> None:
        if targets != 1:
            raise LabError("as processes the lab has one target, this machine; use containers for more")
        say("building the lab's internet")
        python = ".".join(map(str, sys.version_info[:2]))
        summary = common.build_world(CONTENT, python, f"#!{sys.executable}", None)
        lab = self.lab.dir
        (lab / "log").mkdir(parents=True, exist_ok=True)
        common.ca_bundle(CONTENT, lab / "ca-bundle.pem")
        state = self.lab.state or {"mode": "processes", "ports": free_ports(8), "processes": {}, "hosts": {}}
        blocked, releases, conda, wheels, door, http, socks, webui = state["ports"]
        config = {
            "root": str(CONTENT / "world"),
            "cert": str(CONTENT / "ca" / "server.pem"),
            "key": str(CONTENT / "ca" / "server.key"),
            "log": str(lab / "log" / "world.log"),
            "listeners": [
                {"address": "127.0.0.1", "port": blocked},
                {"address": "127.0.0.1", "port": releases, "default_host": "releases.lab.test"},
                {"address": "127.0.0.1", "port": conda, "default_host": "conda.lab.test"},
                {"address": "127.0.0.1", "port": wheels, "default_host": "wheels.lab.test"},
            ],
        }
        (lab / "world.json").write_text(json.dumps(config))
        # every blocked name ends at the one server behind the gateway; without it the names resolve nowhere
        to = f"127.0.0.1:{blocked}"
        client = common.gateway(lab, f"127.0.0.1:{door}", to, f"127.0.0.1:{door}", str(lab / "log" / "gateway.log"), to)
        say("starting the services and the gateway")
        running = state["processes"]
        if not self._alive(running.get("world")):
            running["world"] = self._spawn(
                "world", [sys.executable, "-m", "lab.world", "serve", "--config", str(lab / "world.json")]
            )
            self.lab.save(state)  # an interrupted `up` is taken away by `down` too
        if not self._alive(running.get("gateway")):
            running["gateway"] = self._gateway()
            self.lab.save(state)
        self._target_files()
        state["hosts"] = {
            TARGET: {
                "ansible_connection": "local",
                "ansible_remote_tmp": str(self.target / "tmp"),
                "ansible_python_interpreter": os.path.realpath(sys.executable),
            }
        }
        domestic = {
            n: f"https://127.0.0.1:{p}" for n, p in (("releases", releases), ("conda", conda), ("wheels", wheels))
        }
        self.lab.save_vars(
            {
                **common.variables(summary, client, domestic),
                "sdops_ca_bundle": str(lab / "ca-bundle.pem"),
                "sdops_home": str(self.target / "sdops"),
                "sdops_data_dir": str(self.target / "autodl-tmp"),
                "sdops_cache_dir": str(lab / "autodl-fs"),
                "sdops_user_home": str(self.target / "home"),
                "sdops_gitconfig": str(self.target / "home" / ".gitconfig"),
                "sdops_profile_dir": str(self.target / "profile.d"),
                "sdops_boot_hook": str(self.target / "autodl.sh"),
                "sdops_nvidia_smi": str(self.target / "bin" / "nvidia-smi"),
                "sdops_manage_packages": False,
                "sdops_proxy_http_port": http,
                "sdops_proxy_socks_port": socks,
                "webui_service_port": webui,
                "webui_service_environment": {"SDOPS_NVIDIA_SMI": str(self.target / "bin" / "nvidia-smi")},
            }
        )
        self.lab.save(state)
        self._wait(conda)

    def _gateway(self) -> dict[str, Any]:
        return self._spawn(
            "gateway", [str(CONTENT / "xray" / "xray"), "run", "-c", str(self.lab.dir / "gateway-config.json")]
        )

    def _target_files(self) -> None:
        for name in ("bin", "home", "profile.d", "autodl-tmp"):
            (self.target / name).mkdir(parents=True, exist_ok=True)
        card = self.target / "gpu"
        if not card.exists():
            card.write_text("a5000\n")
        smi = self.target / "bin" / "nvidia-smi"
        source = ROOT / "lab" / "target" / "nvidia-smi"
        smi.write_text(f'#!/bin/bash\n# sdops lab stand-in\nSDOPS_LAB_GPU_FILE="{card}" exec bash "{source}" "$@"\n')
        smi.chmod(0o755)

    def _wait(self, port: int) -> None:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            if time.monotonic() > deadline:
                raise LabError(f"the lab's services do not come up; see {self.lab.dir}/log")
            time.sleep(0.2)

    def _supervisord(self) -> tuple[int, str | None] | None:
        try:
            pid = int((self.target / "sdops" / "supervisor" / "supervisord.pid").read_text())
            if b"supervisord" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid, start_time(pid)
        except (OSError, ValueError):
            pass
        return None

    def _power_off(self) -> None:
        found = self._supervisord()
        if found:
            end(*found, seconds=40)

    def restart(self, what: str) -> None:
        if what != TARGET:
            raise LabError(f"there is no {what}, only {TARGET}")
        self._power_off()
        hook = self.target / "autodl.sh"
        if hook.exists():
            common.run("bash", str(hook), start_new_session=True)

    def gateway(self, action: str) -> None:
        state = self.lab.need_state()
        entry = state["processes"].get("gateway")
        if action == "stop" and entry:
            end(entry["pid"], entry["started"])
        elif action == "start" and not self._alive(entry):
            state["processes"]["gateway"] = self._gateway()
            self.lab.save(state)

    def gpu(self, what: str, card: str) -> None:
        (self.target / "gpu").write_text(card + "\n")

    def execute(self, what: str, command: list[str]) -> int:
        return subprocess.call(command, cwd=self.target)

    def status(self) -> str:
        processes = self.lab.need_state()["processes"]
        return "\n".join(f"{n}\tpid {e['pid']} {'runs' if self._alive(e) else 'is gone'}" for n, e in processes.items())

    def down(self) -> None:
        self._power_off()
        for entry in self.lab.state.get("processes", {}).values():
            end(entry["pid"], entry["started"])

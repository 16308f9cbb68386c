"""The lab as processes on 127.0.0.1, without root and below one directory: the target is this machine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import lab_state
from .lab_state import ROOT, SHARED, Lab, LabError, report
from .ports import free_ports
from .servers import gateway, hosts
from .target_python import SYSTEM_DIRECTORIES, become_exe, can_hide_interpreters, find_interpreter, inside

CONTENT = SHARED / "processes"
TARGET = "target1"
# what listens: the blocked services and their restricted listeners (see containers.py), each domestic one, the gateway, and what the target's
# own services get
DOMESTIC = tuple(name.split(".")[0] for name in hosts.DOMESTIC)
PORTS = ("blocked", "www", "turbo_upstream", "plain", *DOMESTIC, "gateway", "api", "turbo", "http", "socks", "webui")


def start_time(pid: int) -> str | None:
    """When the process started, in clock ticks: with the pid it names a process, even after the pid was reused.

    None when it has ended, also as a zombie, until its parent has waited.
    """
    try:
        state, *facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else facts[18]


def terminate(pid: int, started: str | None, seconds: float = 10) -> None:
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

    def _is_running(self, entry: dict[str, Any] | None) -> bool:
        return bool(entry) and start_time(entry["pid"]) == entry["started"]

    def up(self, targets: int, target_python: str) -> None:
        if targets != 1:
            raise LabError("as processes the lab has one target, this machine; use containers for more")
        interpreter = self._interpreter(target_python)
        report("building the lab's internet")
        python = ".".join(map(str, sys.version_info[:2]))
        with lab_state.exclusive_lock(SHARED):
            summary = lab_state.build_content(CONTENT, python, f"#!{sys.executable}", None, bool(interpreter))
        lab = self.lab.dir
        (lab / "log").mkdir(parents=True, exist_ok=True)
        lab_state.write_ca_bundle(CONTENT, lab / "ca-bundle.pem")
        fresh = {"mode": "processes", "ports": dict(zip(PORTS, free_ports(len(PORTS)), strict=True)), "processes": {}}
        state = self.lab.state or {**fresh, "hosts": {}}
        ports = state["ports"]
        if set(ports) != set(PORTS):
            raise LabError(f"the lab {self.lab.name!r} was made by another version of this; take it down first")
        config = {
            "root": str(CONTENT / "content"),
            "cert": str(CONTENT / "ca" / "server.pem"),
            "key": str(CONTENT / "ca" / "server.key"),
            "log": str(lab / "log" / "servers.log"),
            "listeners": [
                {"address": "127.0.0.1", "port": ports["blocked"]},
                {"address": "127.0.0.1", "port": ports["www"], "hosts": [hosts.WWW]},
                {"address": "127.0.0.1", "port": ports["turbo_upstream"], "hosts": list(hosts.TURBO_HOSTS)},
                {"address": "127.0.0.1", "port": ports["plain"], "tls": False, "to_https": True},
                *(
                    {"address": "127.0.0.1", "port": ports[name.split(".")[0]], "default_host": name, "hosts": [name]}
                    for name in hosts.DOMESTIC
                ),
            ],
        }
        (lab / "servers.json").write_text(json.dumps(config))
        turbo_upstream = {443: f"127.0.0.1:{ports['turbo_upstream']}", 80: f"127.0.0.1:{ports['plain']}"}
        proxy = {"address": "127.0.0.1", "port": ports["turbo"], "routes": turbo_upstream}
        (lab / "turbo.json").write_text(json.dumps({**proxy, "log": str(lab / "log" / "turbo.log")}))
        client = self._gateway_config(ports)
        report("starting the services and the gateway")
        running = state["processes"]
        if not self._is_running(running.get("servers")):
            running["servers"] = self._spawn(
                "servers", [sys.executable, "-m", "lab.servers", "serve", "--config", str(lab / "servers.json")]
            )
            self.lab.save(state)  # an interrupted `up` is taken away by `down` too
        if not self._is_running(running.get("gateway")):
            running["gateway"] = self._gateway()
            self.lab.save(state)
        if not self._is_running(running.get("turbo")):
            running["turbo"] = self._turbo()
            self.lab.save(state)
        self._target_files(ports)
        facts = {"ansible_connection": "local", "ansible_remote_tmp": str(self.target / "tmp")}
        if interpreter:
            # Ansible does not become who it is: toor is root by its other name
            facts.update(ansible_become=True, ansible_become_user="toor")
            facts["ansible_become_exe"] = become_exe(self._namespace, interpreter)
        else:
            facts["ansible_python_interpreter"] = os.path.realpath(sys.executable)
        state["hosts"] = {TARGET: facts}
        domestic = {name: f"https://127.0.0.1:{ports[name]}" for name in DOMESTIC}
        self.lab.save_vars(
            {
                **lab_state.inventory_variables(summary, client, domestic),
                "sdops_ca_bundle": str(lab / "ca-bundle.pem"),
                "sdops_turbo_file": str(self._turbo_file),
                "sdops_lab_turbo": self._turbo_url(ports),
                "sdops_home": str(self.target / "sdops"),
                "sdops_data_dir": str(self.target / "autodl-tmp"),
                "sdops_cache_dir": str(lab / "autodl-fs"),
                "sdops_user_home": str(self.target / "home"),
                "sdops_gitconfig": str(self.target / "home" / ".gitconfig"),
                "sdops_profile_dir": str(self.target / "profile.d"),
                "sdops_boot_hook": str(self.target / "autodl.sh"),
                "sdops_nvidia_smi": str(self.target / "bin" / "nvidia-smi"),
                "sdops_manage_packages": False,
                "sdops_proxy_http_port": ports["http"],
                "sdops_proxy_socks_port": ports["socks"],
                "webui_service_port": ports["webui"],
                "webui_service_environment": {"SDOPS_NVIDIA_SMI": str(self.target / "bin" / "nvidia-smi")},
            }
        )
        self.lab.save(state)
        self._wait(ports["conda"])

    @staticmethod
    def _interpreter(version: str) -> str:
        """The path of the Python that the target shall have in the place of this machine's; "" where it has this machine's."""
        if not version:
            return ""
        interpreter = find_interpreter(version)
        if not interpreter:
            raise LabError(f"there is no python{version} here, neither on PATH nor of pyenv")
        if not can_hide_interpreters():
            raise LabError("as processes, a target with another Python needs root and mount namespaces; use containers")
        if Path(sys.executable).resolve().parent in SYSTEM_DIRECTORIES:
            raise LabError(f"the lab's Xray needs {sys.executable}, which the target would not have; use containers")
        return interpreter

    @property
    def _namespace(self) -> Path:
        """What the target has of its own where its Python is another one than this machine's."""
        return self.lab.dir / "namespace"

    def _inside(self, command: list[str]) -> list[str]:
        return inside(self._namespace, command) if self._namespace.exists() else command

    def _gateway_config(
        self, ports: dict[str, int], condition: str | None = None, rate: int | None = None
    ) -> dict[str, Any]:
        listen, dest, api = (f"127.0.0.1:{ports[name]}" for name in ("gateway", "www", "api"))
        # every blocked name ends at the one server behind the gateway; without it the names resolve nowhere
        log, to = str(self.lab.dir / "log" / "gateway.log"), f"127.0.0.1:{ports['blocked']}"
        return lab_state.write_gateway_config(self.lab.dir, listen, dest, listen, log, to, api, condition, rate)

    def _gateway(self) -> dict[str, Any]:
        command = [sys.executable, "-m", "lab.servers", "gateway", "--work", str(self.lab.dir)]
        return self._spawn("gateway", [*command, "--program", str(CONTENT / "xray" / "xray")])

    def _turbo(self) -> dict[str, Any]:
        return self._spawn(
            "turbo", [sys.executable, "-m", "lab.servers", "turbo", "--config", str(self.lab.dir / "turbo.json")]
        )

    @property
    def _turbo_file(self) -> Path:
        return self.target / "network_turbo"

    @staticmethod
    def _turbo_url(ports: dict[str, int]) -> str:
        return f"http://127.0.0.1:{ports['turbo']}"

    def _write_turbo_file(self, ports: dict[str, int]) -> None:
        self._turbo_file.write_text(lab_state.turbo_script(self._turbo_url(ports), str(self.lab.dir / "ca-bundle.pem")))

    def _target_files(self, ports: dict[str, int]) -> None:
        for name in ("bin", "home", "profile.d", "autodl-tmp"):
            (self.target / name).mkdir(parents=True, exist_ok=True)
        card = self.target / "gpu"
        if not card.exists():
            card.write_text("a5000\n")
            self._write_turbo_file(ports)  # once: it may be switched off later
        smi = self.target / "bin" / "nvidia-smi"
        source = ROOT / "lab" / "target" / "nvidia-smi"
        smi.write_text(f'#!/bin/bash\n# sdops lab fake\nSDOPS_LAB_GPU_FILE="{card}" exec bash "{source}" "$@"\n')
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
            terminate(*found, seconds=40)

    def restart(self, what: str, off: float = 0) -> None:
        if what != TARGET:
            raise LabError(f"there is no {what}, only {TARGET}")
        self._power_off()
        time.sleep(off)
        hook = self.target / "autodl.sh"
        if hook.exists():
            lab_state.run(*self._inside(["bash", str(hook)]), start_new_session=True)

    def recreate(self, what: str) -> None:
        """An empty directory in the place of the target's."""
        if what != TARGET:
            raise LabError(f"there is no {what}, only {TARGET}")
        self._power_off()
        shutil.rmtree(self.target)
        self._target_files(self.lab.require_state()["ports"])

    def _switch(self, what: str, action: str, spawn: Callable[[], dict[str, Any]]) -> None:
        """Stop, start or restart one of the processes."""
        state = self.lab.require_state()
        entry = state["processes"].get(what)
        if action != "start" and entry:
            terminate(entry["pid"], entry["started"])
        if action != "stop" and not self._is_running(entry):
            state["processes"][what] = spawn()
            self.lab.save(state)

    def gateway(self, action: str, rate: int | None = None) -> None:
        """Stop or start it, or give it another condition."""
        if action in gateway.CONDITIONS:
            self._gateway_config(self.lab.require_state()["ports"], action, rate)
            action = "restart"
        self._switch("gateway", action, self._gateway)
        if action != "stop":
            lab_state.retry_until_answer(self.gateway_stats, "the gateway")

    def gateway_stats(self, reset: bool = False) -> dict[str, int]:
        server = f"--server=127.0.0.1:{self.lab.require_state()['ports']['api']}"
        command = [str(CONTENT / "xray" / "xray"), "api", "statsquery", server, *(["-reset"] if reset else [])]
        return lab_state.parse_user_traffic(lab_state.run(*command).stdout)

    def turbo(self, action: str, targets: list[str]) -> None:
        """Stop or start the proxy, or give the target its file (on) or take it away (off)."""
        ports = self.lab.require_state()["ports"]
        if action == "on":
            self._write_turbo_file(ports)
        elif action == "off":
            self._turbo_file.unlink(missing_ok=True)
        else:
            self._switch("turbo", action, self._turbo)
        if action == "start":
            self._wait(ports["turbo"])

    @property
    def services(self) -> dict[str, tuple[str, ...]]:
        """The lab server and the hosts that it answers for."""
        return {"servers": hosts.ALL}

    def control(self, service: str, method: str, value: Any = None) -> Any:
        """Read or change the faults of a lab server; see LabServer.control."""
        url = f"https://127.0.0.1:{self.lab.require_state()['ports']['blocked']}/.lab/faults"
        trusted = ssl.create_default_context(cafile=str(self.lab.dir / "ca-bundle.pem"))
        direct = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusted)
        )
        request = urllib.request.Request(url, json.dumps(value).encode() if value is not None else None, method=method)
        try:
            with direct.open(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as exc:
            return json.load(exc)
        except OSError as exc:
            raise LabError(f"the lab's services do not answer: {exc}") from exc

    def gpu(self, what: str, card: str) -> None:
        (self.target / "gpu").write_text(card + "\n")

    def execute(self, what: str, command: list[str]) -> int:
        return subprocess.call(self._inside(command), cwd=self.target)

    def status(self) -> str:
        processes = self.lab.require_state()["processes"]
        return "\n".join(
            f"{n}\tpid {e['pid']} {'runs' if self._is_running(e) else 'is gone'}" for n, e in processes.items()
        )

    def down(self) -> None:
        self._power_off()
        for entry in self.lab.state.get("processes", {}).values():
            terminate(entry["pid"], entry["started"])

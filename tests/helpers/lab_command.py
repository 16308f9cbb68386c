"""The lab as its user drives it, and what it could leave on this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.paths import ROOT

NAME = os.environ.get("SDOPS_TEST_LAB", "it")  # the lab in containers that all tests share


class LabCommand:
    """``python -m lab`` for one lab by name, as a user calls it."""

    def __init__(self, name: str, mode: str) -> None:
        self.name, self.mode = name, mode
        self.dir = ROOT / ".work" / f"lab-{name}"

    def __call__(self, command: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "lab", command, "--name", self.name, *arguments]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=600)
        assert not check or done.returncode == 0, f"{argv[2:]}: {done.stdout}{done.stderr}"
        return done

    def on(self, target: str, script: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self("exec", target, "--", "bash", "-c", script, check=check)

    @property
    def state(self) -> dict[str, Any]:
        return json.loads((self.dir / "state.json").read_text())

    @property
    def variables(self) -> dict[str, Any]:
        return json.loads((self.dir / "vars.json").read_text())

    def inventory(self) -> dict[str, Any]:
        """What Ansible gets to see of this lab."""
        argv = [sys.executable, str(ROOT / "inventories" / "container" / "lab.py"), "--list"]
        done = subprocess.run(argv, env={**os.environ, "SDOPS_LAB": self.name}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def docker(self, *arguments: str) -> str:
        environment = {**os.environ, **({"DOCKER_HOST": self.state["host"]} if self.state["host"] else {})}
        done = subprocess.run(["docker", *arguments], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True).stdout if shutil.which(argv[0]) else ""


def traces() -> dict[str, Any]:
    """All that a lab could leave on this machine outside .work's files: compared before `up` and after `down`."""
    own = str(ROOT / ".work")
    processes = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and own.encode() in (entry / "cmdline").read_bytes():
                processes.add(f"{entry.name} {(entry / 'cmdline').read_bytes().replace(bytes(1), b' ').decode()}")
        except OSError:
            continue
    packets = []
    for program in ("iptables-save", "ip6tables-save"):
        # an empty table and its counters are what looking at it makes, not what a lab leaves
        for line in output(program).splitlines():
            if re.match(r"-|:DOCKER|:FORWARD DROP", line):
                packets.append(f"{program}: {re.sub(r' .[0-9]+:[0-9]+.$', '', line)}")
    return {
        "links": sorted(re.findall(r"(?m)^\d+: ([^:@]+)", output("ip", "link"))),
        "routes": output("ip", "-4", "route").splitlines(),
        "packets": packets,
        "forwarding": Path("/proc/sys/net/ipv4/ip_forward").read_text(),
        "mounts": sorted({line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()}),
        "containers": output("docker", "ps", "-a", "--format", "{{.Names}}").split(),
        "networks": output("docker", "network", "ls", "--format", "{{.Name}}").split(),
        "volumes": output("docker", "volume", "ls", "--format", "{{.Name}}").split(),
        "processes": sorted(processes),
        "short run directories": sorted(str(path) for path in Path("/tmp").glob("sdops-docker-*")),
    }


def eventually(what: Callable[[], bool], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.3)
    return True


def engine_can_be_had() -> bool:
    return os.geteuid() == 0 or (
        bool(shutil.which("docker")) and not subprocess.run(["docker", "info"], capture_output=True).returncode
    )

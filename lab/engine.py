"""A container engine: the one that is there, or a private one that leaves no trace."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from .lab_state import SHARED, WORK, LabError, alone, run, say

PACKAGES = {
    "dockerd": "docker.io",
    "docker": "docker.io",
    "mmdebstrap": "mmdebstrap",
    "iptables": "iptables",
    "ssh": "openssh-client",
}
INCLUDE = "openssh-server,python3,python3-venv,git,curl,ca-certificates,procps,iproute2"
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
OURS = re.compile(r"DOCKER|docker0|br-[0-9a-f]{12}\b")  # the engine names its bridges so; br-lan is somebody else's


class Engine:
    """Docker by its command line. ``private`` means that we started it and end it."""

    def __init__(self, host: str | None, private: bool) -> None:
        self.host = host
        self.private = private

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **({"DOCKER_HOST": self.host} if self.host else {})}

    def docker(self, *arguments: str, check: bool = True, **options: object) -> str:
        return run("docker", *arguments, check=check, env=self.environment, **options).stdout.strip()

    def works(self) -> bool:
        try:
            return run("docker", "info", check=False, env=self.environment, timeout=30).returncode == 0
        except (FileNotFoundError, subprocess.TimeoutExpired):
            return False


class PrivateDaemon:
    """dockerd with everything of its own below .work/docker (its socket in a short path where that is too long)."""

    def __init__(self) -> None:
        self.dir = WORK / "docker"
        self.record = self.dir / "daemon.json"

    @property
    def known(self) -> dict:
        return json.loads(self.record.read_text()) if self.record.exists() else {}

    def alive(self) -> bool:
        pid = self.known.get("pid")
        try:
            return bool(pid) and b"dockerd" in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False

    def start(self) -> Engine:
        with alone(self.dir):
            return Engine(self.known["host"], private=True) if self.alive() else self._start()

    def _start(self) -> Engine:
        died = (
            self.known
        )  # it was killed: what the machine was like before is what that record says, not what it is now
        run_dir = Path(died.get("run") or self.dir / "run")  # what its containers left is found and ended from there
        (run_dir / "pid").unlink(missing_ok=True)  # else the next one does not start
        if not died and len(str(run_dir)) > 60:  # Unix socket paths end at 107 characters, and the engine adds its own
            run_dir = Path(tempfile.mkdtemp(prefix="sdops-docker-"))
        run_dir.mkdir(exist_ok=True)
        host = f"unix://{run_dir}/docker.sock"
        before = died.get("before") or {
            "ip_forward": FORWARD.read_text().strip(),
            "policy": forward_policy(),
            "chains": "DOCKER" in rules("filter") + rules("nat"),
        }
        log = (self.dir / "dockerd.log").open("ab")
        process = subprocess.Popen(
            [
                "dockerd", "--data-root", str(self.dir / "data"), "--exec-root", str(run_dir / "exec"),
                "--pidfile", str(run_dir / "pid"), "--host", host, "--bridge", "none", "--group", "root",
            ],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self.record.write_text(json.dumps({"pid": process.pid, "host": host, "run": str(run_dir), "before": before}))
        engine = Engine(host, private=True)
        deadline = time.monotonic() + 60
        while not engine.works():
            if process.poll() is not None or time.monotonic() > deadline:
                tail = (self.dir / "dockerd.log").read_text(errors="replace")[-600:]
                self.stop()
                raise LabError(f"no container engine could be started here: {tail}")
            time.sleep(0.3)
        return engine

    def stop_if_last(self, leaving: Path) -> bool:
        """Stop it unless another lab than the one in ``leaving`` is up or coming up; whether it was stopped."""
        with alone(self.dir):
            if not self.known or any(lab != leaving for lab in WORK.glob("lab*")):
                return False
            say("stopping the private container engine")
            self.stop()
            return True

    def stop(self) -> None:
        """End it by its pid and take back what it did to the machine."""
        known = self.known
        if not known:
            return
        if self.alive():
            os.kill(known["pid"], signal.SIGTERM)
            deadline = time.monotonic() + 60
            while self.alive():
                if time.monotonic() > deadline:
                    os.kill(known["pid"], signal.SIGKILL)
                    break
                # we may be its parent: do not wait for our own zombie
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(known["pid"], os.WNOHANG)
                time.sleep(0.2)
        for line in Path("/proc/mounts").read_text().splitlines():
            place = line.split()[1]
            if place.startswith((known["run"], str(self.dir))):
                run("umount", "--lazy", place, check=False)
        if not known["before"]["chains"]:
            remove_chains()
            run("iptables", "-P", "FORWARD", known["before"]["policy"], check=False)
        if known["before"]["ip_forward"] == "0":
            FORWARD.write_text("0\n")
        shutil.rmtree(known["run"], ignore_errors=True)
        self.record.unlink()


def rules(table: str, program: str = "iptables") -> str:
    return run(f"{program}-save", "-t", table, check=False).stdout if shutil.which(f"{program}-save") else ""


def forward_policy() -> str:
    found = re.search(r"(?m)^:FORWARD (\w+)", rules("filter"))
    return found.group(1) if found else "ACCEPT"


def remove_chains() -> None:
    """Take the engine's chains out of the packet filter: first what leads to them, then themselves."""
    for program in ("iptables", "ip6tables"):
        for table in ("filter", "nat", "raw"):
            lines = rules(table, program).splitlines()
            ours = [line for line in lines if line.startswith("-A") and OURS.search(line)]
            for line in [entry for entry in ours if not entry.startswith("-A DOCKER")]:
                run(program, "-t", table, "-D", *line.split()[1:], check=False)
            chains = [line[1:].split()[0] for line in lines if line.startswith(":DOCKER")]
            for action in ("-F", "-X"):
                for chain in chains:
                    run(program, "-t", table, action, chain, check=False)


def find() -> Engine | None:
    """The machine's own engine, a private one, or None where none can be had."""
    own = Engine(os.environ.get("DOCKER_HOST"), private=False)
    if own.works():
        return own
    if os.geteuid() != 0:
        return None
    missing = sorted({package for program, package in PACKAGES.items() if not shutil.which(program)})
    if missing:
        if not shutil.which("apt-get"):
            return None
        say(f"installing {', '.join(missing)}")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run("apt-get", "update", "-q", env=environment)
        run("apt-get", "install", "-y", "-q", "--no-install-recommends", *missing, env=environment)
    return PrivateDaemon().start()


def image(engine: Engine) -> str:
    """The targets' base image, made from Debian's packages (once); also unpacks its Python for the conda channel."""
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    suite = (
        release.get("VERSION_CODENAME", "").strip('"') if release.get("ID", "").strip('"') == "debian" else "bookworm"
    )
    recipe = hashlib.sha256(f"{suite} {INCLUDE} 1".encode()).hexdigest()[:12]
    tag, root = f"sdops-lab:{recipe}", SHARED / f"pyroot-{recipe}"
    if engine.docker("images", "-q", tag) and root.is_dir():
        return tag
    if not shutil.which("mmdebstrap"):
        raise LabError("mmdebstrap is needed for the lab's image; install it, or use --mode processes")
    say(f"making the image of the targets (Debian {suite})")
    SHARED.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SHARED) as scratch:
        archive = f"{scratch}/rootfs.tar"
        run("mmdebstrap", "--variant=minbase", f"--include={INCLUDE}", suite, archive)
        engine.docker("import", archive, tag)
        unpacked = Path(scratch) / "root"
        unpacked.mkdir()
        run(
            "tar",
            "-xf",
            archive,
            "-C",
            str(unpacked),
            "--wildcards",
            "./usr/bin/python3*",
            "./usr/lib/python3*",
            check=False,
        )
        shutil.rmtree(root, ignore_errors=True)
        unpacked.rename(root)
    return tag

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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .lab_state import SHARED, WORK, LabError, exclusive_lock, report, run

PACKAGES = {
    "dockerd": "docker.io",
    "docker": "docker.io",
    "mmdebstrap": "mmdebstrap",
    "iptables": "iptables",
    "ssh": "openssh-client",
}
INCLUDE = "openssh-server,python3,python3-venv,git,curl,ca-certificates,procps,iproute2"
# where files are in memory, and how much must be free there: twice what the image takes with the packages it is made of
MEMORY, IMAGE_BYTES = "/dev/shm", 1 << 30
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
# the engine names its chains and bridges so; br-lan is somebody else's
ENGINE_NAMES = re.compile(r"DOCKER|docker0|br-[0-9a-f]{12}\b")


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

    def is_usable(self) -> bool:
        try:
            return run("docker", "info", check=False, env=self.environment, timeout=30).returncode == 0
        except (FileNotFoundError, subprocess.TimeoutExpired):
            return False


class PrivateDaemon:
    """dockerd with everything of its own below .work/docker (its socket in a short path where that is too long)."""

    def __init__(self) -> None:
        self.dir = WORK / "docker"
        self.state_file = self.dir / "daemon.json"

    @property
    def known(self) -> dict:
        return json.loads(self.state_file.read_text()) if self.state_file.exists() else {}

    def is_running(self) -> bool:
        pid = self.known.get("pid")
        try:
            return bool(pid) and b"dockerd" in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False

    def start(self) -> Engine:
        with exclusive_lock(self.dir):
            return Engine(self.known["host"], private=True) if self.is_running() else self._start()

    def _start(self) -> Engine:
        # it was killed: what the machine was like before is in its state file, not what it is now
        previous = self.known
        # what its containers left is found and ended from there
        run_dir = Path(previous.get("run") or self.dir / "run")
        (run_dir / "pid").unlink(missing_ok=True)  # else the next one does not start
        # Unix socket paths end at 107 characters, and the engine adds its own
        if not previous and len(str(run_dir)) > 60:
            run_dir = Path(tempfile.mkdtemp(prefix="sdops-docker-"))
        run_dir.mkdir(exist_ok=True)
        host = f"unix://{run_dir}/docker.sock"
        before = previous.get("before") or {
            "ip_forward": FORWARD.read_text().strip(),
            "policy": forward_policy(),
            "chains": "DOCKER" in dump_rules("filter") + dump_rules("nat"),
        }
        log = (self.dir / "dockerd.log").open("ab")
        process = subprocess.Popen(
            [
                "dockerd", "--data-root", str(self.dir / "data"), "--exec-root", str(run_dir / "exec"),
                "--pidfile", str(run_dir / "pid"), "--host", host, "--bridge", "none", "--group", "root",
            ],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self.state_file.write_text(
            json.dumps({"pid": process.pid, "host": host, "run": str(run_dir), "before": before})
        )
        engine = Engine(host, private=True)
        deadline = time.monotonic() + 60
        while not engine.is_usable():
            if process.poll() is not None or time.monotonic() > deadline:
                tail = (self.dir / "dockerd.log").read_text(errors="replace")[-600:]
                self.stop()
                raise LabError(f"no container engine could be started here: {tail}")
            time.sleep(0.3)
        return engine

    def stop_if_last(self, leaving: Path) -> bool:
        """Stop it unless another lab than the one in ``leaving`` is up or coming up; whether it was stopped."""
        with exclusive_lock(self.dir):
            if not self.known or any(lab != leaving for lab in WORK.glob("lab*")):
                return False
            report("stopping the private container engine")
            self.stop()
            return True

    def stop(self) -> None:
        """End it by its pid and take back what it did to the machine."""
        known = self.known
        if not known:
            return
        if self.is_running():
            os.kill(known["pid"], signal.SIGTERM)
            deadline = time.monotonic() + 60
            while self.is_running():
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
        self.state_file.unlink()


def dump_rules(table: str, program: str = "iptables") -> str:
    return run(f"{program}-save", "-t", table, check=False).stdout if shutil.which(f"{program}-save") else ""


def forward_policy() -> str:
    found = re.search(r"(?m)^:FORWARD (\w+)", dump_rules("filter"))
    return found.group(1) if found else "ACCEPT"


def remove_chains() -> None:
    """Take the engine's chains out of the packet filter: first what leads to them, then themselves."""
    for program in ("iptables", "ip6tables"):
        for table in ("filter", "nat", "raw"):
            lines = dump_rules(table, program).splitlines()
            rules = [line for line in lines if line.startswith("-A") and ENGINE_NAMES.search(line)]
            for line in [entry for entry in rules if not entry.startswith("-A DOCKER")]:
                run(program, "-t", table, "-D", *line.split()[1:], check=False)
            chains = [line[1:].split()[0] for line in lines if line.startswith(":DOCKER")]
            for action in ("-F", "-X"):
                for chain in chains:
                    run(program, "-t", table, action, chain, check=False)


def find_engine() -> Engine | None:
    """The machine's own engine, a private one, or None where none can be had."""
    engine = Engine(os.environ.get("DOCKER_HOST"), private=False)
    if engine.is_usable():
        return engine
    if os.geteuid() != 0:
        return None
    missing = sorted({package for program, package in PACKAGES.items() if not shutil.which(program)})
    if missing:
        if not shutil.which("apt-get"):
            return None
        report(f"installing {', '.join(missing)}")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run("apt-get", "update", "-q", env=environment)
        run("apt-get", "install", "-y", "-q", "--no-install-recommends", *missing, env=environment)
    return PrivateDaemon().start()


def ensure_image(engine: Engine) -> str:
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
    report(f"making the image of the targets (Debian {suite})")
    SHARED.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SHARED) as scratch:
        archive = f"{scratch}/rootfs.tar"
        # dpkg flushes each file to the disk, which takes a third of the time
        in_memory = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > IMAGE_BYTES
        environment = {**os.environ, **({"TMPDIR": MEMORY} if in_memory else {})}
        run("mmdebstrap", "--variant=minbase", f"--include={INCLUDE}", suite, archive, env=environment)
        unpacked = Path(scratch) / "root"
        unpacked.mkdir()
        python_files = ["./usr/bin/python3*", "./usr/lib/python3*"]
        with ThreadPoolExecutor() as pool:
            imported = pool.submit(engine.docker, "import", archive, tag)
            run("tar", "-xf", archive, "-C", str(unpacked), "--wildcards", *python_files, check=False)
            imported.result()
        shutil.rmtree(root, ignore_errors=True)
        unpacked.rename(root)
    return tag

"""The lab in containers: two networks, the services, the gateway between them, and the targets."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

from . import common, engine
from .common import ROOT, SHARED, Lab, LabError, run, say

CONTENT = SHARED / "containers"
BLOCKED = [
    "git.lab.test",
    "huggingface.lab.test",
    "cdn.huggingface.lab.test",
    "hf.lab.test",
    "hf-mirror.lab.test",
    "hf-proxy.lab.test",
    "civitai.lab.test",
    "storage.civitai.lab.test",
    "b2.civitai.lab.test",
    "big.lab.test",
    "www.lab.test",
]
DOMESTIC = ["releases.lab.test", "conda.lab.test", "wheels.lab.test"]


class Containers:
    """One lab's containers, all named sdops-LAB-... and labelled so that `down` finds them."""

    def __init__(self, lab: Lab, docker: engine.Engine) -> None:
        self.lab = lab
        self.engine = docker
        self.docker = docker.docker
        self.label = f"sdops.lab={lab.name}"

    def name(self, what: str) -> str:
        return f"sdops-{self.lab.name}-{what}"

    # --- up -----------------------------------------------------------------------------------------------------------

    def up(self, targets: int) -> None:
        kept = {"mode": "containers", "host": self.engine.host, "private": self.engine.private}
        self.lab.save({"hosts": {}, **self.lab.state, **kept})  # from here on `down` has something to take away
        tag = engine.image(self.engine)
        root = next(SHARED.glob("pyroot-*"))
        python = next(
            p.name[6:] for p in sorted((root / "usr/bin").glob("python3.*")) if p.name[6:].replace(".", "").isdigit()
        )
        say("building the lab's internet")
        summary = common.build_world(CONTENT, python, "#!/usr/bin/env python3", root)
        lab = self.lab.dir
        (lab / "log").mkdir(parents=True, exist_ok=True)
        common.ca_bundle(CONTENT, lab / "ca-bundle.pem")
        subnet = self._networks()
        say("starting the services and the gateway")
        self._service("upstream", tag, "world", BLOCKED)
        self._service("domestic", tag, "cn", DOMESTIC)
        client = common.gateway(lab, "0.0.0.0:443", "www.lab.test:443", "gateway.lab.test:443", "/lab/log/gateway.log")
        self._gateway(tag)
        key = lab / "id_ed25519"
        if not key.exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "sdops-lab", "-f", str(key))
        hosts = {}
        for number in range(1, targets + 1):
            address = f"{subnet}.{10 + number}"
            self._target(f"target{number}", tag, address, number)
            hosts[f"target{number}"] = {
                "ansible_host": address,
                "ansible_user": "root",
                "ansible_ssh_private_key_file": str(key),
                "ansible_python_interpreter": "/usr/bin/python3",
                "ansible_ssh_common_args": f"-o UserKnownHostsFile={lab}/known_hosts -o StrictHostKeyChecking=yes",
            }
        self._known_hosts(hosts)
        common_vars = common.variables(summary, client, {n.split(".")[0]: f"https://{n}" for n in DOMESTIC})
        self.lab.save_vars(
            {
                **common_vars,
                "sdops_ca_bundle": "/etc/ssl/certs/ca-certificates.crt",
                "sdops_data_dir": "/root/autodl-tmp",
                "sdops_cache_dir": "/root/autodl-fs/sdops",
            }
        )
        self.lab.save({**kept, "hosts": hosts, "image": tag})
        self._wait(hosts)

    def _networks(self) -> str:
        """Make the two networks; returns the first three numbers of the domestic one's subnet."""
        existing = self.docker("network", "ls", "--format", "{{.Name}}").split()
        if self.name("cn") not in existing:
            taken = run("ip", "-4", "route", check=False).stdout if shutil.which("ip") else ""
            for third in range(40, 90):
                subnet = f"10.213.{third}"
                if f"{subnet}." not in taken and self._create_network("cn", f"{subnet}.0/24"):
                    break
            else:
                raise LabError("no free 10.213.x.0/24 subnet was found for the lab")
        if self.name("world") not in existing:
            self.docker("network", "create", "--internal", "--label", self.label, self.name("world"))
        found = self.docker("network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", self.name("cn"))
        return found.rsplit(".", 1)[0]

    def _create_network(self, what: str, subnet: str) -> bool:
        try:
            self.docker("network", "create", "--subnet", subnet, "--label", self.label, self.name(what))
        except LabError as exc:
            if "overlap" in str(exc) or "in use" in str(exc):
                return False
            raise
        return True

    def _running(self, what: str) -> bool:
        state = self.docker("inspect", "-f", "{{.State.Running}}", self.name(what), check=False)
        if state == "false":
            self.docker("start", self.name(what))
        return state in ("true", "false")

    def _service(self, what: str, tag: str, network: str, aliases: list[str]) -> None:
        config = {
            "root": "/world",
            "cert": "/ca/server.pem",
            "key": "/ca/server.key",
            "log": f"/lab/log/{what}.log",
            "listeners": [{"address": "0.0.0.0", "port": 443}],
        }
        (self.lab.dir / f"{what}.json").write_text(json.dumps(config))
        if self._running(what):
            return
        alias = [part for a in aliases for part in ("--network-alias", a)]
        mounts = self._mounts(
            {CONTENT / "world": "/world", CONTENT / "ca": "/ca:ro", ROOT / "lab": "/src/lab:ro", self.lab.dir: "/lab"}
        )
        self.docker(
            "run", "-d", "--name", self.name(what), "--label", self.label, "--network", self.name(network), *alias, *mounts,
            "--init", "-e", "PYTHONPATH=/src", "-e", "PYTHONDONTWRITEBYTECODE=1", tag,
            "python3", "-m", "lab.world", "serve", "--config", f"/lab/{what}.json",
        )  # fmt: skip

    @staticmethod
    def _mounts(pairs: dict[Path, str]) -> list[str]:
        return [part for source, place in pairs.items() for part in ("-v", f"{source}:{place}")]

    def _gateway(self, tag: str) -> None:
        if self._running("gateway"):
            return
        mounts = self._mounts({CONTENT / "xray": "/xray:ro", self.lab.dir: "/lab"})
        self.docker(
            "create", "--name", self.name("gateway"), "--label", self.label, "--network", self.name("cn"), "--network-alias",
            "gateway.lab.test", *mounts, "--init", "-e", "PYTHONDONTWRITEBYTECODE=1", tag, "/xray/xray", "run", "-c", "/lab/gateway-config.json",
        )  # fmt: skip
        self.docker("network", "connect", self.name("world"), self.name("gateway"))
        self.docker("start", self.name("gateway"))

    def _target(self, what: str, tag: str, address: str, number: int) -> None:
        if self._running(what):
            return
        say(f"starting {what}")
        self.docker(
            "create", "--name", self.name(what), "--label", self.label, "--hostname", f"autodl-container-lab{number}",
            "--network", self.name("cn"), "--ip", address, "-v", f"{self.name('fs')}:/root/autodl-fs", "--memory-swap", "-1",
            tag, "bash", "/init/boot/boot.sh",
        )  # fmt: skip
        self._copy_in(what, number)
        self.docker("start", self.name(what))

    def _copy_in(self, what: str, number: int) -> None:
        """What the rental company put into the box: boot scripts, nvidia-smi, certificates, the customer's SSH key."""
        source = ROOT / "lab" / "target"
        env = (
            f"export AutoDLContainerUUID=lab{number}\nexport AutoDLRegion=lab\nexport AutodlAutoPanelToken=lab-secret\n"
        )
        public = (self.lab.dir / "id_ed25519.pub").read_bytes()
        files = {
            "init/boot/boot.sh": (0o755, (source / "init/boot/boot.sh").read_bytes()),
            "init/bin/customer.cmd.sh": (0o755, (source / "init/bin/customer.cmd.sh").read_bytes()),
            "usr/bin/nvidia-smi": (0o755, (source / "nvidia-smi").read_bytes()),
            "etc/sdops-lab-gpu": (0o644, b"a5000\n"),
            "etc/profile.d/autodl.env.sh": (0o644, env.encode()),
            "etc/ssl/certs/ca-certificates.crt": (0o644, (self.lab.dir / "ca-bundle.pem").read_bytes()),
            "root/.ssh/authorized_keys": (0o600, public),
            "root/autodl-tmp/.keep": (0o644, b""),
        }
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for directory, mode in (("root/.ssh", 0o700), ("root/autodl-tmp", 0o755)):
                entry = tarfile.TarInfo(directory)
                entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, mode, int(time.time())
                archive.addfile(entry)
            for name, (mode, data) in files.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode, entry.mtime = len(data), mode, int(time.time())
                archive.addfile(entry, io.BytesIO(data))
        path = self.lab.dir / f".{what}.tar"
        path.write_bytes(stream.getvalue())
        with path.open("rb") as handle:
            self.docker("cp", "-", f"{self.name(what)}:/", stdin=handle)
        path.unlink()

    def _known_hosts(self, hosts: dict[str, dict[str, Any]]) -> None:
        lines = []
        for what, facts in hosts.items():
            key = self.docker("exec", self.name(what), "cat", "/etc/ssh/ssh_host_ed25519_key.pub")
            lines.append(f"{facts['ansible_host']} {' '.join(key.split()[:2])}\n")
        (self.lab.dir / "known_hosts").write_text("".join(lines))

    def _wait(self, hosts: dict[str, dict[str, Any]]) -> None:
        """Until the services answer from a target, and SSH does."""
        deadline = time.monotonic() + 60
        probe = "curl -sf -o /dev/null https://conda.lab.test/conda-forge/noarch/repodata.json"
        for what in hosts:
            while True:
                ssh = self.ssh(what, probe)
                if ssh.returncode == 0:
                    break
                if time.monotonic() > deadline:
                    raise LabError(f"{what} does not come up: {ssh.stderr[-300:]}")
                time.sleep(0.5)

    # --- while it is up -----------------------------------------------------------------------------------------------

    def ssh(self, what: str, command: str) -> Any:
        facts = self.lab.need_state()["hosts"][what]
        options = facts["ansible_ssh_common_args"].split()
        return run(
            "ssh",
            "-i",
            facts["ansible_ssh_private_key_file"],
            *options,
            "-o",
            "BatchMode=yes",
            f"root@{facts['ansible_host']}",
            command,
            check=False,
        )

    def restart(self, what: str) -> None:
        self.docker("restart", "--time", "10", self.name(what))
        self._wait({what: self.lab.need_state()["hosts"][what]})

    def gateway(self, action: str) -> None:
        self.docker(action, *(["--time", "2"] if action == "stop" else []), self.name("gateway"))

    def gpu(self, what: str, card: str) -> None:
        self.docker("exec", self.name(what), "sh", "-c", f"echo {card} > /etc/sdops-lab-gpu")

    def execute(self, what: str, command: list[str]) -> int:
        return subprocess.call(["docker", "exec", self.name(what), *command], env=self.engine.environment)

    def status(self) -> str:
        return self.docker("ps", "-a", "--filter", f"label={self.label}", "--format", "{{.Names}}\t{{.Status}}")

    # --- down ---------------------------------------------------------------------------------------------------------

    def down(self) -> None:
        found = self.docker("ps", "-aq", "--filter", f"label={self.label}").split()
        if found:
            self.docker("rm", "--force", "--volumes", *found)
        self.docker("volume", "rm", "--force", self.name("fs"), check=False)
        for network in ("cn", "world"):
            self.docker("network", "rm", self.name(network), check=False)
        if self.engine.private:
            engine.PrivateDaemon().stop_if_last(self.lab.dir)
        elif not self.docker("ps", "-aq", "--filter", "label=sdops.lab"):
            self.docker("rmi", self.lab.state.get("image", "none"), check=False)

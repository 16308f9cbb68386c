"""The lab in containers: two networks, the services, the gateway between them, and the targets."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import engine, lab_state
from .lab_state import ROOT, SHARED, Lab, LabError, report, run
from .servers import gateway, hosts, turbo
from .target_python import SYSTEM_DIRECTORIES, find_interpreter

CONTENT = SHARED / "containers"
GATEWAY = "gateway.lab.test"
TURBO_URL = f"http://{hosts.TURBO}:{turbo.PORT}"
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
TURBO_FILE = "/etc/network_turbo"
# listeners of the blocked services that show only some of them, so that neither of the two servers between the networks leads
# further than it should, whatever name a client puts into its request: what unknown clients of the gateway see, and what is
# accelerated
WWW_PORT, TURBO_LISTENER_PORT = 8443, 8444
# where a target has Debian's Python when another one takes its place: for Xray, whose real core is built for that one
HIDDEN_BIN = "/usr/libexec/sdops-lab"
SHEBANG = f"#!/usr/bin/env -S PATH={HIDDEN_BIN}:/usr/bin python3"
HIDE_SCRIPT = (
    f'mkdir -p {HIDDEN_BIN}; mv "$(readlink -f /usr/bin/python3)" {HIDDEN_BIN}/python3; ln -sf {{}} /usr/bin/python3'
)
SERVICES = {"upstream": (*hosts.BLOCKED, hosts.WWW), "domestic": hosts.DOMESTIC}


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

    def up(self, targets: int, target_python: str) -> None:
        interpreter = self._interpreter(target_python) if target_python else self.lab.state.get("target_python", "")
        engine_state = {
            "mode": "containers",
            "host": self.engine.host,
            "private": self.engine.private,
            "target_python": interpreter,
        }
        self.lab.save({"hosts": {}, **self.lab.state, **engine_state})  # from here on `down` has something to take away
        with lab_state.exclusive_lock(SHARED):
            tag = engine.ensure_image(self.engine)
            root = next(SHARED.glob("pyroot-*"))
            python = next(
                p.name[6:]
                for p in sorted((root / "usr/bin").glob("python3.*"))
                if p.name[6:].replace(".", "").isdigit()
            )
            report("building the lab's internet")
            summary = lab_state.build_content(CONTENT, python, SHEBANG, root, bool(interpreter))
        lab = self.lab.dir
        (lab / "log").mkdir(parents=True, exist_ok=True)
        lab_state.write_ca_bundle(CONTENT, lab / "ca-bundle.pem")
        subnet = self._networks()
        report("starting the services and the gateway")
        www = {"address": "0.0.0.0", "port": WWW_PORT, "hosts": [hosts.WWW]}
        turbo_upstream = {"address": "0.0.0.0", "port": TURBO_LISTENER_PORT, "hosts": list(hosts.TURBO_HOSTS)}
        self._service("upstream", tag, "blocked", [www, turbo_upstream])
        self._service("domestic", tag, "domestic", [])
        client = self._gateway_config()
        self._gateway(tag)
        self._turbo(tag)
        key = lab / "id_ed25519"
        if not key.exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "sdops-lab", "-f", str(key))
        target_hosts = {}
        control_dir = lab_state.ssh_control_dir(self.lab)
        for number in range(1, targets + 1):
            address = f"{subnet}.{10 + number}"
            self._target(f"target{number}", tag, address, number)
            target_hosts[f"target{number}"] = {
                "ansible_host": address,
                "ansible_user": "root",
                "ansible_ssh_private_key_file": str(key),
                # what fits is found or made where it is another one
                **({} if interpreter else {"ansible_python_interpreter": "/usr/bin/python3"}),
                "ansible_ssh_common_args": f"-o UserKnownHostsFile={lab}/known_hosts -o StrictHostKeyChecking=yes",
                **({"ansible_control_path_dir": str(control_dir)} if control_dir else {}),
            }
        self._known_hosts(target_hosts)
        domestic = {name.split(".")[0]: f"https://{name}" for name in hosts.DOMESTIC}
        self.lab.save_vars(
            {
                **lab_state.inventory_variables(summary, client, domestic),
                "sdops_ca_bundle": CA_BUNDLE,
                "sdops_turbo_file": TURBO_FILE,
                "sdops_lab_turbo": TURBO_URL,
                "sdops_data_dir": "/root/autodl-tmp",
                "sdops_cache_dir": "/root/autodl-fs/sdops",
            }
        )
        self.lab.save({**engine_state, "hosts": target_hosts, "image": tag})
        self._wait(target_hosts)

    def _networks(self) -> str:
        """Make the two networks; returns the first three numbers of the domestic one's subnet."""
        existing = self.docker("network", "ls", "--format", "{{.Name}}").split()
        if self.name("domestic") not in existing:
            taken = run("ip", "-4", "route", check=False).stdout if shutil.which("ip") else ""
            for third in range(40, 90):
                subnet = f"10.213.{third}"
                if f"{subnet}." not in taken and self._create_network("domestic", f"{subnet}.0/24"):
                    break
            else:
                raise LabError("no free 10.213.x.0/24 subnet was found for the lab")
        if self.name("blocked") not in existing:
            self.docker("network", "create", "--internal", "--label", self.label, self.name("blocked"))
        found = self.docker("network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", self.name("domestic"))
        return found.rsplit(".", 1)[0]

    def _create_network(self, what: str, subnet: str) -> bool:
        try:
            self.docker("network", "create", "--subnet", subnet, "--label", self.label, self.name(what))
        except LabError as exc:
            if "overlap" in str(exc) or "in use" in str(exc):
                return False
            raise
        return True

    def _ensure_started(self, what: str) -> bool:
        state = self.docker("inspect", "-f", "{{.State.Running}}", self.name(what), check=False)
        if state == "false":
            self.docker("start", self.name(what))
        return state in ("true", "false")

    def _service(self, what: str, tag: str, network: str, more_listeners: list[dict[str, Any]]) -> None:
        """A lab server with its own hosts at the usual ports, and ``more_listeners`` besides."""
        names = list(SERVICES[what])
        config = {
            "root": "/content",
            "cert": "/ca/server.pem",
            "key": "/ca/server.key",
            "log": f"/lab/log/{what}.log",
            "listeners": [
                {"address": "0.0.0.0", "port": 443, "hosts": names},
                {"address": "0.0.0.0", "port": 80, "tls": False, "to_https": True},
                *more_listeners,
            ],
        }
        (self.lab.dir / f"{what}.json").write_text(json.dumps(config))
        if self._ensure_started(what):
            return
        mounts = {CONTENT / "content": "/content", CONTENT / "ca": "/ca:ro"}
        self._create(what, tag, network, mounts, ["--config", f"/lab/{what}.json"], names, command="serve")
        self.docker("start", self.name(what))

    def _create(
        self,
        what: str,
        tag: str,
        network: str,
        mounts: dict[Path, str],
        arguments: list[str],
        names: Iterable[str],
        command: str,
    ) -> None:
        """A container with one of lab.servers's commands, ``names`` on the network and the lab's directory at /lab."""
        alias = [part for name in names for part in ("--network-alias", name)]
        volumes = self._mounts({**mounts, ROOT / "lab": "/src/lab:ro", self.lab.dir: "/lab"})
        # what stands on both networks is no router between them
        self.docker(
            "create", "--name", self.name(what), "--label", self.label, "--network", self.name(network), *alias, *volumes,
            "--init", "--sysctl", "net.ipv4.ip_forward=0", "-e", "PYTHONPATH=/src", "-e", "PYTHONDONTWRITEBYTECODE=1", tag,
            "python3", "-m", "lab.servers", command, *arguments,
        )  # fmt: skip

    @staticmethod
    def _mounts(pairs: dict[Path, str]) -> list[str]:
        return [part for source, place in pairs.items() for part in ("-v", f"{source}:{place}")]

    def _gateway_config(self, condition: str | None = None, rate: int | None = None) -> dict[str, Any]:
        dest, log = f"{hosts.WWW}:{WWW_PORT}", "/lab/log/gateway.log"
        return lab_state.write_gateway_config(
            self.lab.dir, "0.0.0.0:443", dest, f"{GATEWAY}:443", log, condition=condition, rate=rate
        )

    def _gateway(self, tag: str) -> None:
        if self._ensure_started("gateway"):
            return
        arguments = ["--work", "/lab", "--program", "/xray/xray"]
        self._create(
            "gateway", tag, "domestic", {CONTENT / "xray": "/xray:ro"}, arguments, [GATEWAY], command="gateway"
        )
        self.docker("network", "connect", self.name("blocked"), self.name("gateway"))
        self.docker("start", self.name("gateway"))

    def _turbo(self, tag: str) -> None:
        config = {
            "address": "0.0.0.0",
            "port": turbo.PORT,
            "routes": {443: f"{hosts.WWW}:{TURBO_LISTENER_PORT}", 80: f"{hosts.WWW}:80"},
            "log": "/lab/log/turbo.log",
        }
        (self.lab.dir / "turbo.json").write_text(json.dumps(config))
        if self._ensure_started("turbo"):
            return
        self._create("turbo", tag, "domestic", {}, ["--config", "/lab/turbo.json"], [hosts.TURBO], command="turbo")
        self.docker("network", "connect", self.name("blocked"), self.name("turbo"))
        self.docker("start", self.name("turbo"))

    def _target(self, what: str, tag: str, address: str, number: int) -> None:
        if self._ensure_started(what):
            return
        report(f"starting {what}")
        interpreter = self.lab.state.get("target_python", "")
        prefix = Path(interpreter).parents[1] if interpreter else None
        python = self._mounts({prefix: f"{prefix}:ro"}) if prefix else []
        self.docker(
            "create", "--name", self.name(what), "--label", self.label, "--hostname", f"autodl-container-lab{number}",
            "--network", self.name("domestic"), "--ip", address, "-v", f"{self.name('fs')}:/root/autodl-fs", *python,
            "--memory-swap", "-1", tag, "bash", "/init/boot/boot.sh",
        )  # fmt: skip
        self._copy_in(what, number)
        self.docker("start", self.name(what))
        if interpreter:
            self.docker("exec", self.name(what), "sh", "-ec", HIDE_SCRIPT.format(interpreter))

    @staticmethod
    def _interpreter(version: str) -> str:
        """The path of a Python that can be mounted into a target, where it has the same path."""
        interpreter = os.path.realpath(find_interpreter(version) or "/")
        if Path(interpreter).parent in SYSTEM_DIRECTORIES or interpreter == "/":
            raise LabError(f"there is no python{version} here in a directory of its own, as pyenv has it")
        return interpreter

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
            TURBO_FILE[1:]: (0o644, lab_state.turbo_script(TURBO_URL, CA_BUNDLE).encode()),
            "etc/profile.d/autodl.env.sh": (0o644, env.encode()),
            CA_BUNDLE[1:]: (0o644, (self.lab.dir / "ca-bundle.pem").read_bytes()),
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
        facts = self.lab.require_state()["hosts"][what]
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

    def restart(self, what: str, off: float = 0) -> None:
        self.docker("kill", self.name(what))
        time.sleep(off)
        self.docker("start", self.name(what))
        self._wait({what: self.lab.require_state()["hosts"][what]})

    def recreate(self, what: str) -> None:
        """Another box in the place of this one, as from the rental company. /root/autodl-fs, which all share, stays."""
        state = self.lab.require_state()
        if what not in state["hosts"]:
            raise LabError(f"there is no {what}, only {', '.join(state['hosts'])}")
        lab_state.close_ssh_connections(self.lab)
        self.docker("rm", "--force", "--volumes", self.name(what))
        self._target(what, state["image"], state["hosts"][what]["ansible_host"], int(what.removeprefix("target")))
        self._known_hosts(state["hosts"])
        self._wait({what: state["hosts"][what]})

    def gateway(self, action: str, rate: int | None = None) -> None:
        """Stop or start it, or give it another condition."""
        if action in gateway.CONDITIONS:
            self._gateway_config(action, rate)
            self.docker("restart", "--time", "5", self.name("gateway"))
        else:
            self.docker(action, *(["--time", "2"] if action == "stop" else []), self.name("gateway"))
        if action != "stop":
            lab_state.retry_until_answer(self.gateway_stats, "the gateway")

    def gateway_stats(self, reset: bool = False) -> dict[str, int]:
        command = ["/xray/xray", "api", "statsquery", f"--server={gateway.API}", *(["-reset"] if reset else [])]
        return lab_state.parse_user_traffic(self.docker("exec", self.name("gateway"), *command))

    def turbo(self, action: str, targets: list[str]) -> None:
        """Stop or start the proxy, or give the targets its file (on) or take it from them (off)."""
        if action in ("stop", "start"):
            self.docker(action, *(["--time", "2"] if action == "stop" else []), self.name("turbo"))
        for target in targets if action in ("on", "off") else ():
            text = lab_state.turbo_script(TURBO_URL, CA_BUNDLE)
            script = f"cat > {TURBO_FILE}" if action == "on" else f"rm -f {TURBO_FILE}"
            self.docker("exec", "-i", self.name(target), "sh", "-c", script, input=text)

    @property
    def services(self) -> dict[str, tuple[str, ...]]:
        """The lab servers and the hosts that they answer for."""
        return SERVICES

    def control(self, service: str, method: str, value: Any = None) -> Any:
        """Read or change the faults of a lab server; see LabServer.control."""
        command = ["curl", "-sSk", "-X", method, "--data-binary", "@-", "https://127.0.0.1/.lab/faults"]
        answer = self.docker("exec", "-i", self.name(service), *command, input=json.dumps(value))
        return json.loads(answer)

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
        for network in ("domestic", "blocked"):
            self.docker("network", "rm", self.name(network), check=False)
        if self.engine.private:
            engine.PrivateDaemon().stop_if_last(self.lab.dir)
        elif not self.docker("ps", "-aq", "--filter", "label=sdops.lab"):
            self.docker("rmi", self.lab.state.get("image", "none"), check=False)

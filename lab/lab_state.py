"""A lab's directory and state, the inventory variables that follow from it, and what both backends share."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .servers.gateway import USER
from .servers.hosts import CONDA_OFFICIAL, DOMESTIC, GIT, WHEELS_OFFICIAL

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / ".work"
SHARED = WORK / "internet"  # content, CA and core: the same for every lab of one mode
STARTED = time.monotonic()
GPUS = ("a5000", "rtx5090", "none")


class LabError(Exception):
    """Something the lab cannot do, in a sentence."""


class Reporter:
    """Lines with their time, on stdout; the last one again after every ten seconds without one."""

    SILENCE = 10.0  # seconds

    def __init__(self) -> None:
        self._text = ""
        self._printed = 0.0

    def __call__(self, text: str) -> None:
        if not self._text:
            threading.Thread(target=self._break_silence, daemon=True).start()
        self._print(text)
        self._text = text

    def _print(self, text: str) -> None:
        self._printed = time.monotonic()
        print(f"[lab {self._printed - STARTED:5.1f}s] {text}", flush=True)

    def _break_silence(self) -> None:
        while True:
            time.sleep(1)
            if time.monotonic() - self._printed >= self.SILENCE:
                self._print(f"... {self._text}")


report = Reporter()


def run(*argv: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """A program's output, or a LabError with it."""
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, **options)
    if check and done.returncode:
        raise LabError(
            f"{' '.join(map(str, argv[:4]))} ... failed ({done.returncode}): {(done.stderr or done.stdout).strip()[-800:]}"
        )
    return done


class Lab:
    """One lab by name: its directory, state (what runs) and the variables for its inventory."""

    def __init__(self, name: str) -> None:
        if not name.isalnum():
            raise LabError(f"the lab's name must be letters and digits, not {name!r}")
        self.name = name
        self.dir = WORK / ("lab" if name == "demo" else f"lab-{name}")
        self.state_file = self.dir / "state.json"

    @property
    def state(self) -> dict[str, Any]:
        return json.loads(self.state_file.read_text()) if self.state_file.exists() else {}

    def save(self, state: dict[str, Any]) -> None:
        self.dir.mkdir(parents=True, exist_ok=True)
        self.state_file.write_text(json.dumps(state, indent=1))

    def save_vars(self, variables: dict[str, Any]) -> None:
        # hosts of two labs have the same names, and what a lab leaves goes with it
        variables = {"sdops_artifacts_dir": str(self.dir / "artifacts"), **variables}
        path = self.dir / "vars.json"
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.write_text(json.dumps(variables, indent=1))

    def require_state(self) -> dict[str, Any]:
        state = self.state
        if not state:
            raise LabError(f"the lab {self.name!r} is not up; `python -m lab up --name {self.name}` creates it")
        return state

    def remove_files(self) -> None:
        shutil.rmtree(self.dir, ignore_errors=True)


@contextlib.contextmanager
def exclusive_lock(place: Path) -> Iterator[None]:
    """Two labs may come up at the same time: what they share below ``place`` is made by one of them, the other waits."""
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def build_content(work: Path, python: str, shebang: str, root: Path | None, tarball: bool) -> dict[str, Any]:
    """The lab's content below ``work`` (left as it is where nothing changed), with a tarball of Python or without; its summary."""
    command = [sys.executable, "-m", "lab.servers", "build", "--work", str(work), "--launcher-shebang", shebang]
    command += ["--launcher-python", python, *(["--python-root", str(root)] if root else [])]
    command += ["--tarball"] if tarball else []
    summary: dict[str, Any] = json.loads(run(*command, cwd=ROOT).stdout)
    return summary


def write_gateway_config(
    lab: Path,
    listen: str,
    dest: str,
    public: str,
    access_log: str,
    redirect: str | None = None,
    api: str = "127.0.0.1:10085",
    condition: str | None = None,
    rate: int | None = None,
) -> dict[str, Any]:
    """Write the gateway's config for one lab; returns the client's side as the role's variables.

    ``condition``: what is wrong with it (see lab.servers.gateway), None keeps it as it is.
    """
    command = [sys.executable, "-m", "lab.servers", "gateway-config", "--work", str(lab)]
    options = {
        "listen": listen,
        "dest": dest,
        "public": public,
        "access-log": access_log,
        "redirect": redirect,
        "api": api,
        "condition": condition,
        "rate": rate,
    }
    command += [part for name, value in options.items() if value is not None for part in (f"--{name}", str(value))]
    client = json.loads(run(*command, cwd=ROOT).stdout)["client"]
    names = {"server": "address", **{n: n for n in ("port", "uuid", "public_key", "short_id", "server_name")}}
    return {f"xray_proxy_{name}": client[key] for name, key in names.items()}


def retry_until_answer(query: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    """What ``query`` returns, once it does so without a LabError."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return query()
        except LabError as exc:
            if time.monotonic() > deadline:
                raise LabError(f"{what} does not answer: {exc}") from exc
            time.sleep(0.2)


def parse_user_traffic(statistics: str) -> dict[str, int]:
    """{"uplink", "downlink"} of the client's user in Xray's counters, as ``api statsquery`` prints them."""
    found = {item["name"]: int(item.get("value", 0)) for item in json.loads(statistics).get("stat", [])}
    return {direction: found.get(f"user>>>{USER}>>>traffic>>>{direction}", 0) for direction in ("uplink", "downlink")}


def turbo_script(proxy: str, ca: str) -> str:
    """AutoDL's /etc/network_turbo, with the lab's proxy."""
    return f"""# sdops lab fake of AutoDL's academic acceleration: GitHub and Hugging Face only
export no_proxy=localhost,127.0.0.1,modelscope.com,aliyuncs.com,tencentyun.com,wisemodel.cn
export http_proxy={proxy} && export https_proxy={proxy}
export REQUESTS_CA_BUNDLE={ca}
export SSL_CERT_FILE={ca}
echo 设置成功
"""


def pip_config_value(name: str) -> str:
    """What this machine's pip is configured with: a corporate network needs the same on the targets."""
    return run(sys.executable, "-m", "pip", "config", "get", f"global.{name}", check=False).stdout.strip()


def index_hosts() -> list[str]:
    """The hosts that this machine's pip takes packages from: they are domestic, the proxy must not see them."""
    code = "from pip._internal.models.index import PyPI; print(PyPI.netloc, PyPI.file_storage_domain)"
    hosts = run(sys.executable, "-c", code, check=False).stdout.split()
    for url in (
        os.environ.get("LAB_PIP_INDEX_URL", ""),
        os.environ.get("PIP_INDEX_URL", ""),
        pip_config_value("index-url"),
    ):
        if "://" in url:
            hosts.append(url.split("://", 1)[1].split("/", 1)[0].rpartition("@")[2].split(":")[0])
    return sorted(set(hosts))


def write_ca_bundle(content: Path, target: Path) -> None:
    """This machine's trusted certificates (LAB_CA_BUNDLE to name others) and the lab's, in one file."""
    bundle = os.environ.get("LAB_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt"
    text = Path(bundle).read_text() if Path(bundle).is_file() else ""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text + "\n" + (content / "ca" / "ca.pem").read_text())


def inventory_variables(summary: dict[str, Any], gateway: dict[str, Any], domestic: dict[str, str]) -> dict[str, Any]:
    """The inventory's variables in every mode. ``domestic``: base URLs of the domestic services, by the first part of their names."""
    return {
        "sdops_network": "xray",
        "sdops_github": "https://git.lab.test",
        "sdops_huggingface_endpoint": "https://huggingface.lab.test",
        "sdops_civitai_endpoint": "https://civitai.lab.test",
        "sdops_pip_index_url": os.environ.get("LAB_PIP_INDEX_URL")
        or os.environ.get("PIP_INDEX_URL")
        or pip_config_value("index-url"),
        "sdops_no_proxy": [*DOMESTIC, *index_hosts()],
        "sdops_extra_variables": ["sdops_lab_*"],
        "sdops_lab_mirrors": {"github": [domestic["git-mirror"]], "huggingface": [domestic["hf-mirror-cn"]]},
        "sdops_lab_github_prefix_mirror": f"{domestic['ghproxy']}/https://{GIT}",
        "sdops_lab_official": {
            "conda": f"https://{CONDA_OFFICIAL}/conda-forge",
            "wheels": f"https://{WHEELS_OFFICIAL}/simple/",
        },
        "sdops_lab_wheel_index": domestic["wheels"] + "/simple/",
        "sdops_lab_torch_mirror": domestic["wheels"] + "/whl",
        "sdops_lab_commits": summary["commits"],
        "xray_proxy_version": summary["xray"]["version"],
        # built here, so nobody but the lab knows its hash
        "xray_proxy_sha256": summary["xray"]["sha256"],
        "xray_proxy_release_base": domestic["releases"] + "/XTLS/Xray-core/releases/download",
        "conda_env_python": summary["conda"]["python"],
        "conda_env_channels": [domestic["conda"] + "/conda-forge"],
        **tarball_variables(summary["tarball"], domestic["releases"]),
        **gateway,
    }


def tarball_variables(tarball: dict[str, str] | None, releases: str) -> dict[str, Any]:
    """Where hosts get a Python whose own is too old; nothing where this lab has no such hosts."""
    if not tarball:
        return {}
    return {
        "sdops_python_url": f"{releases}/python/{tarball['name']}",
        "sdops_python_sha256": {tarball["machine"]: tarball["sha256"]},
    }


def ssh_control_dir(lab: Lab) -> Path | None:
    """Where the sockets of Ansible's open connections to this lab's hosts are; None where only Ansible's own place is short enough.

    A Unix socket's path ends at 107 characters, and ssh adds 17 to it while it makes one.
    """
    place = WORK / "ansible" / "cp" / lab.name
    return place if len(str(place)) < 79 else None


def close_ssh_connections(lab: Lab) -> None:
    """Ansible keeps its SSH connections open for a minute: end those to this lab's hosts."""
    place = ssh_control_dir(lab)
    for control in place.glob("*") if place else ():
        if control.is_socket():
            run("ssh", "-O", "exit", "-S", str(control), "lab", check=False)

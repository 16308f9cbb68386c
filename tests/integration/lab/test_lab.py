"""The lab by its commands: what a target is, what it can reach, what survives a power cut, and that `down` leaves nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.lab_command import NAME, LabCommand, eventually, traces
from helpers.paths import ROOT

BLOCKED = (
    "git.lab.test",
    "huggingface.lab.test",
    "cdn.huggingface.lab.test",
    "civitai.lab.test",
    "storage.civitai.lab.test",
)

pytestmark = pytest.mark.lab


# --- in containers ----------------------------------------------------------------------------------------------------


def test_a_target_is_a_rented_host(lab: LabCommand) -> None:
    seen = lab.on(
        "target1",
        "tr '\\0' ' ' < /proc/1/cmdline; hostname; ls -d /root/autodl-tmp /root/autodl-fs; command -v systemctl; true",
    ).stdout
    assert seen.splitlines()[0].startswith("bash /init/boot/boot.sh autodl-container-"), seen
    assert "/root/autodl-tmp" in seen and "/root/autodl-fs" in seen and "systemctl" not in seen
    assert lab.on("target1", ". /etc/profile.d/autodl.env.sh; echo $AutoDLContainerUUID").stdout.strip()


def test_the_inventory_leads_to_the_targets_over_ssh(lab: LabCommand) -> None:
    displayed = lab.inventory()
    assert displayed["webui"]["hosts"] == ["target1", "target2"]
    names = []
    for host in displayed["webui"]["hosts"]:
        facts = displayed["_meta"]["hostvars"][host]
        options = [
            *facts["ansible_ssh_common_args"].split(),
            "-o",
            "BatchMode=yes",
            "-i",
            facts["ansible_ssh_private_key_file"],
        ]
        done = subprocess.run(
            ["ssh", *options, f"root@{facts['ansible_host']}", "hostname"], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        names.append(done.stdout.strip())
    assert len(set(names)) == 2


def test_inventory_without_a_lab_is_empty_and_reports_the_reason() -> None:
    argv = [sys.executable, str(ROOT / "inventories" / "container" / "lab.py"), "--list"]
    done = subprocess.run(argv, env={**os.environ, "SDOPS_LAB": "nowhere"}, capture_output=True, text=True)
    assert "webui" not in json.loads(done.stdout)
    assert "not up" in done.stderr


def test_secrets_are_for_their_owner(lab: LabCommand) -> None:
    for name in ("vars.json", "id_ed25519", "gateway.json", "gateway-config.json"):
        assert stat.S_IMODE((lab.dir / name).stat().st_mode) == 0o600, name


def test_domestic_services_answer_directly(lab: LabCommand) -> None:
    values = lab.variables
    for url in (
        f"{values['conda_env_channels'][0]}/linux-64/repodata.json",
        f"{values['sdops_lab_wheel_index']}torch/",
        f"{values['xray_proxy_release_base']}/v{values['xray_proxy_version']}/Xray-linux-64.zip.dgst",
    ):
        assert lab.on("target1", f"curl -sS -o /dev/null -w '%{{http_code}}' {url}").stdout == "200", url


@pytest.mark.parametrize("name", BLOCKED)
def test_a_blocked_name_does_not_resolve(lab: LabCommand, name: str) -> None:
    assert lab.on("target2", f"getent hosts {name}", check=False).returncode == 2


def test_a_blocked_address_cannot_be_reached(lab: LabCommand) -> None:
    address = lab.docker(
        "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", f"sdops-{NAME}-upstream"
    )
    connect = f"import socket; socket.create_connection(({address!r}, 443), 4).close()"
    # the same attempt succeeds from the gateway: it is the network that stands between, not a server that is down
    lab.docker("exec", f"sdops-{NAME}-gateway", "python3", "-c", connect)
    rejected = lab.on("target2", f'python3 -c "{connect}"', check=False)
    assert rejected.returncode == 1 and re.search("TimeoutError|timed out|unreachable", rejected.stderr), (
        rejected.stderr
    )


def test_the_gateway_is_the_egress_route(lab: LabCommand, client: str) -> None:
    git = "https://git.lab.test/AUTOMATIC1111/stable-diffusion-webui.git"
    remote = lab.on("target1", f"git -c http.proxy={client} ls-remote {git} HEAD").stdout.split()
    assert remote[0] == lab.variables["sdops_lab_commits"]["AUTOMATIC1111/stable-diffusion-webui"]
    assert lab.on("target1", f"git ls-remote {git} HEAD", check=False).returncode == 128

    request = f"curl -sS -o /dev/null -w '%{{http_code}}' --max-time 10 -x {client} https://huggingface.lab.test/"
    assert re.fullmatch(r"[2-4]\d\d", lab.on("target1", request).stdout)
    lab("gateway", "stop")
    try:
        assert lab.on("target1", request, check=False).returncode != 0
    finally:
        lab("gateway", "start")
    assert eventually(lambda: lab.on("target1", request, check=False).returncode == 0)


def test_an_unknown_client_at_the_gateway_sees_a_web_server(lab: LabCommand) -> None:
    """REALITY hands whoever does not know the key to the real site, certificate and all."""
    unknown_client = "curl -sS -o /dev/null -w '%{http_code} %{ssl_verify_result}' --connect-to ::gateway.lab.test:443 https://www.lab.test/"
    assert re.fullmatch(r"[2-4]\d\d 0", lab.on("target2", unknown_client).stdout)


def test_the_card_can_be_chosen(lab: LabCommand) -> None:
    query = "nvidia-smi --query-gpu=index,name,memory.total,driver_version,compute_cap --format=csv,noheader,nounits"
    assert lab.on("target2", query).stdout.strip() == "0, NVIDIA RTX A5000, 24564, 550.90.07, 8.6"
    assert "NVIDIA RTX A5000" in lab.on("target2", "nvidia-smi -L").stdout
    assert "fake" in lab.on("target2", "head -2 $(command -v nvidia-smi)").stdout
    lab("gpu", "target2", "rtx5090")
    assert lab.on("target2", query).stdout.strip().endswith(", 12.0")
    lab("gpu", "target2", "none")
    absent = lab.on("target2", query, check=False)
    assert absent.returncode == 6 and "No devices were found" in absent.stdout
    assert "A5000" in lab.on("target1", query).stdout


def test_orphans_are_reaped(lab: LabCommand) -> None:
    lab.on("target2", "for n in 1 2 3 4 5; do (setsid sleep 0.2 &) ; done")
    time.sleep(1)
    assert lab.on("target2", "ps -eo stat=,args= | grep ^Z", check=False).stdout == ""


def test_a_power_cut_keeps_the_disks_and_runs_the_hook_once(lab: LabCommand) -> None:
    hook = "echo 'echo from the hook; date >> /root/starts' > /etc/autodl.sh; echo data > /root/autodl-tmp/kept; echo shared > /root/autodl-fs/kept"
    lab.on("target1", f"{hook}; sleep 1000 > /dev/null 2>&1 & echo $! > /root/pid")
    started = time.monotonic()
    lab("restart", "target1")
    assert time.monotonic() - started < 15
    assert lab.on("target1", "cat /root/autodl-tmp/kept /root/autodl-fs/kept").stdout.split() == ["data", "shared"]
    assert eventually(lambda: lab.on("target1", "test -s /root/starts", check=False).returncode == 0)
    assert len(lab.on("target1", "cat /root/starts").stdout.splitlines()) == 1
    assert "from the hook" in lab.on("target1", "cat /tmp/autodl.sh.log").stdout
    assert "sleep 1000" not in lab.on("target1", "ps -eo args").stdout
    assert lab.on("target2", "cat /root/autodl-fs/kept; ls -A /root/autodl-tmp").stdout.split()[0] == "shared"
    assert "kept" not in lab.on("target2", "ls -A /root/autodl-tmp").stdout


def test_the_command_for_a_target_keeps_its_dashes(lab: LabCommand) -> None:
    argv = [sys.executable, "-m", "lab", "exec", "target1", "--name", NAME, "--", "printf", "%s ", "a", "--", "-b"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "a -- -b ", done.stderr


def test_an_interrupted_up_is_taken_away_too(lab: LabCommand) -> None:
    other = LabCommand(f"{NAME}cut", "containers")
    argv = [sys.executable, "-m", "lab", "up", "--name", f"{NAME}cut", "--mode", "containers"]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            if "starting target1" in line:
                process.terminate()
    assert process.returncode, "it was up before it could be ended"
    assert lab.docker("ps", "-aq", "--filter", f"label=sdops.lab={NAME}cut")
    other("down")
    assert not lab.docker("ps", "-aq", "--filter", f"label=sdops.lab={NAME}cut")
    assert f"{NAME}cut" not in lab.docker("network", "ls") + lab.docker("volume", "ls")
    assert lab("status").returncode == 0, "the engine is the other lab's too"


def test_the_owners_packet_rules_stay(lab: LabCommand) -> None:
    """In a network namespace of its own: the engine's rules go, the machine owner's bridge keeps its own."""
    if os.geteuid() != 0 or not shutil.which("iptables"):  # which comes with the engine that the lab installs
        pytest.skip("needs root and iptables")
    rules = (
        "-N DOCKER",
        "-A FORWARD -o br-0123456789ab -j DOCKER",
        "-t nat -A POSTROUTING -s 172.31.9.0/24 ! -o br-0123456789ab -j MASQUERADE",
        "-A FORWARD -i br-lan -o eth9 -j ACCEPT",
        "-t nat -A POSTROUTING -s 192.168.7.0/24 ! -o br-lan -j MASQUERADE",
    )
    script = "; ".join(
        [
            *(f"iptables {rule}" for rule in rules),
            f"{sys.executable} -c 'from lab import engine; engine.remove_chains()'",
        ]
    )
    show = "iptables-save | grep -E '^(-A|:DOCKER)'"
    done = subprocess.run(
        ["unshare", "--net", "sh", "-ec", f"{script}; {show}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert sorted(line.split(" -", 1)[0] for line in done.stdout.splitlines()) == ["-A FORWARD", "-A POSTROUTING"], (
        done.stdout
    )
    assert done.stdout.count("br-lan") == 2


def test_up_again_keeps_what_runs(lab: LabCommand) -> None:
    ids = lab.docker("ps", "-q", "--no-trunc", "--filter", f"label=sdops.lab={NAME}").split()
    assert len(ids) == 6
    started = time.monotonic()
    lab("up", "--mode", "containers", "--targets", "2")
    assert time.monotonic() - started < 30
    assert lab.docker("ps", "-q", "--no-trunc", "--filter", f"label=sdops.lab={NAME}").split() == ids


def test_a_recreated_target_is_new_and_keeps_what_is_shared(lab: LabCommand) -> None:
    lab.on("target2", "touch /root/mine /root/autodl-tmp/mine /root/autodl-fs/shared")
    other = lab.docker("inspect", "-f", "{{.Id}}", f"sdops-{NAME}-target1")
    lab("recreate", "target2")
    assert lab.on("target2", "ls /root/mine /root/autodl-tmp/mine", check=False).stdout == ""
    assert lab.on("target2", "rm /root/autodl-fs/shared; hostname").stdout.strip() == "autodl-container-lab2"
    assert lab.docker("inspect", "-f", "{{.Id}}", f"sdops-{NAME}-target1") == other
    assert lab.inventory()["webui"]["hosts"] == ["target1", "target2"]
    done = lab("recreate", "target9", check=False)
    assert done.returncode and "there is no target9, only target1, target2" in done.stderr


def test_down_leaves_nothing(lab: LabCommand, before: dict[str, Any]) -> None:
    """The last test of this lab: it takes it away."""
    assert f"sdops-{NAME}-target1" in lab("status").stdout
    lab("down")
    assert not lab.dir.exists()
    after = traces()
    assert after.pop("forwarding") == before["forwarding"]
    # another lab may have ended meanwhile: only what is new counts
    new = {kind: sorted(set(found) - set(before[kind])) for kind, found in after.items()}
    assert not {kind: found for kind, found in new.items() if found}
    assert lab("down").returncode == 0, "a second down has nothing to do and says so by 0"


# --- as processes -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def local() -> Iterator[LabCommand]:
    command = LabCommand(f"{NAME}p", "processes")
    command("down")
    try:
        command("up", "--mode", "processes")
        yield command
    finally:
        command("down")


def test_as_processes_everything_is_below_one_directory(local: LabCommand) -> None:
    displayed = local.inventory()
    assert displayed["_meta"]["hostvars"]["target1"]["ansible_connection"] == "local"
    values = displayed["webui"]["vars"]
    for name in (
        "home",
        "data_dir",
        "cache_dir",
        "user_home",
        "gitconfig",
        "profile_dir",
        "boot_hook",
        "nvidia_smi",
        "ca_bundle",
    ):
        assert Path(values[f"sdops_{name}"]).is_relative_to(local.dir), name
    assert values["xray_proxy_server"] == "127.0.0.1"


def test_as_processes_the_services_answer_and_blocked_names_do_not(local: LabCommand) -> None:
    values = local.variables
    tls = [
        "curl",
        "-sS",
        "--noproxy",
        "*",
        "--cacert",
        values["sdops_ca_bundle"],
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
    ]
    for url in (f"{values['conda_env_channels'][0]}/noarch/repodata.json", f"{values['sdops_lab_wheel_index']}torch/"):
        assert subprocess.run([*tls, url], capture_output=True, text=True).stdout == "200", url
    for name in BLOCKED:
        done = subprocess.run([*tls, f"https://{name}/"], capture_output=True, text=True)
        assert done.returncode in (6, 7, 28), f"{name} answered: {done.stdout}"


def test_as_processes_the_card_and_the_hook(local: LabCommand) -> None:
    values = local.variables
    query = [values["sdops_nvidia_smi"], "--query-gpu=name", "--format=csv,noheader"]
    assert subprocess.run(query, capture_output=True, text=True).stdout.strip() == "NVIDIA RTX A5000"
    local("gpu", "target1", "none")
    assert subprocess.run(query, capture_output=True, text=True).returncode == 6
    marks = Path(values["sdops_data_dir"]) / "starts"
    Path(values["sdops_boot_hook"]).write_text(f"date >> {marks}\n")
    local("restart", "target1")
    assert len(marks.read_text().splitlines()) == 1


def test_as_processes_a_recreated_target_is_empty(local: LabCommand) -> None:
    (local.dir / "target1" / "home" / "mine").write_text("")
    local("recreate", "target1")
    assert not list((local.dir / "target1" / "home").iterdir())
    assert (local.dir / "target1" / "bin" / "nvidia-smi").exists() and (
        local.dir / "target1" / "network_turbo"
    ).exists()


def test_as_processes_down_ends_them(local: LabCommand) -> None:
    processes = [entry["pid"] for entry in local.state["processes"].values()]
    assert processes and all(Path(f"/proc/{pid}").exists() for pid in processes)
    local("down")
    assert not local.dir.exists()
    # what was ended may be a zombie until its parent has looked
    assert not [pid for pid in processes if (Path(f"/proc/{pid}") / "exe").exists()]
    assert not [line for line in traces()["processes"] if str(local.dir) in line]

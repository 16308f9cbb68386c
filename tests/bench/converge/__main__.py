"""The site converges: ours and a plain playbook with Ansible's own modules, first run and a run that changes nothing.

    python tests/bench/converge [--hosts 1 --hosts 8] [--tasks 15] [--lab bench] [-e NAME=VALUE]

Both sides set up the same site (site.yml: the lab's, with 10 models and 5 extensions) on the same targets of a lab in containers,
one after the other; before each first run every target is recreated and the directory that they share is emptied, and the controller has an
ANSIBLE_HOME in which nothing is kept. The plain side
(plain.yml) gets the better of each doubt: its Python environment is a venv of the system's Python, and its checksums are taken from what ours
installed. The lab is brought up for this, unless it is up, and is taken down then.

One JSON line for each run: ``{"case": "converge", "hosts": 8, "side": "ours"|"plain", "run": "first"|"no-op"``, and
``executed``, ``skipped``, ``changed``: tasks of the host that has most; ``wall_s``; ``controller_cpu_s``: user and system
time of ansible-playbook with its workers, without ssh's master connections; ``target_cpu_s``: of all targets' containers together;
``upstream_bytes``: bodies that the lab's servers sent; ``received_bytes``: what the targets' interfaces received from anybody (packages
from the real index and Ansible's own modules are in it). ``--tasks N`` adds the N tasks that took longest, with their seconds,
all hosts added up. It measures and judges nothing, but a run that fails ends it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from helpers.ansible_site import ansible_environment  # noqa: E402
from helpers.lab_command import LabCommand  # noqa: E402
from helpers.paths import BIN  # noqa: E402

from lab.servers.hosts.big import big_sha256  # noqa: E402

WEBUI = "/root/autodl-tmp/stable-diffusion-webui"
BIG_BYTES = 32 << 20
BIG_NAMES = ("one", "two", "three", "four", "five")
HUB = "https://huggingface.lab.test"
CIVITAI = "https://civitai.lab.test/api/download/models"
# what the plain side downloads: URL and place below the WebUI's directory
FILES = {
    "models/Stable-diffusion/v1-5-pruned-emaonly.safetensors": f"{HUB}/lab-fakes/tiny-sd15/resolve/main/v1-5-pruned-emaonly.safetensors",
    "models/Stable-diffusion/chilloutmix_NiPrunedFp32Fix.safetensors": f"{CIVITAI}/11745?type=Model&format=SafeTensor&size=full&fp=fp32",
    "models/Lora/FilmVelvia3.safetensors": f"{CIVITAI}/112969?type=Model&format=SafeTensor",
    "embeddings/bad_pictures.pt": f"{CIVITAI}/66043?type=Model&format=PickleTensor",
    "models/VAE/vae-ft-mse-840000-ema-pruned.safetensors": f"{HUB}/lab-fakes/tiny-vae/resolve/main/vae-ft-mse-840000-ema-pruned.safetensors",
    **{
        f"models/Lora/{name}-{BIG_BYTES}-{name}.safetensors": f"https://big.lab.test/{name}-{BIG_BYTES}-{name}.safetensors"
        for name in BIG_NAMES
    },
    "../../.ifnude/detector.onnx": f"{HUB}/s0md3v/nudity-checker/resolve/main/detector.onnx",
    "../../.ifnude/classes": f"{HUB}/s0md3v/nudity-checker/resolve/main/classes",
}
CPU_SECONDS = """
if [ -r /sys/fs/cgroup/cpuacct/cpuacct.usage ]; then awk '{print $1 / 1e9}' /sys/fs/cgroup/cpuacct/cpuacct.usage
else awk '$1 == "usage_usec" {print $2 / 1e6}' /sys/fs/cgroup/cpu.stat; fi
cat /sys/class/net/eth0/statistics/rx_bytes
"""


class Fleet:
    """The first ``count`` targets of a lab."""

    def __init__(self, lab: LabCommand, count: int) -> None:
        self.lab = lab
        self.names = [f"target{number}" for number in range(1, count + 1)]

    def renew(self) -> None:
        self.lab.on(self.names[0], "rm -rf /root/autodl-fs/* /root/autodl-fs/.[!.]*")
        for name in self.names:
            self.lab("recreate", name)

    def upstream_bytes(self) -> int:
        """Bytes that the lab's servers have sent so far, by their logs."""
        logs = [self.lab.dir / "log" / f"{service}.log" for service in ("upstream", "domestic")]
        entries = (json.loads(line) for log in logs if log.exists() for line in log.read_text().splitlines())
        return sum(entry.get("bytes", 0) for entry in entries)

    def usage(self) -> tuple[float, int]:
        """CPU seconds and received bytes of all targets so far."""
        found = [self.lab.on(name, CPU_SECONDS).stdout.split() for name in self.names]
        return sum(float(cpu) for cpu, _ in found), sum(int(received) for _, received in found)

    def checksums(self) -> dict[str, str]:
        """SHA-256 of each of FILES, as installed on the first target."""
        paths = " ".join(f"'{WEBUI}/{path}'" for path in FILES)
        lines = self.lab.on(self.names[0], f"sha256sum {paths}").stdout.split()
        return dict(zip(FILES, lines[::2], strict=True))

    def play(self, playbook: Path, variables: list[str], home: str) -> dict[str, Any]:
        """One run of ``playbook`` on the targets, measured; "log" holds the entries of callback_plugins/task_log.py."""
        with tempfile.NamedTemporaryFile(suffix=".jsonl") as log:
            environment = {
                **ansible_environment(),
                "ANSIBLE_HOME": home,
                "SDOPS_LAB": self.lab.name,
                "SDOPS_BENCH_LOG": log.name,
                "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callback_plugins"),
                "ANSIBLE_CALLBACKS_ENABLED": "task_log",
            }
            inventory = ROOT / "inventories" / "container"
            extra = [part for text in variables for part in ("-e", text)]
            command = [str(BIN / "ansible-playbook"), "-i", str(inventory), "--limit", ",".join(self.names), *extra]
            (cpu, received), sent = self.usage(), self.upstream_bytes()
            before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            done = subprocess.run([*command, str(playbook)], env=environment, cwd=ROOT, capture_output=True, text=True)
            wall = time.monotonic() - started
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            if done.returncode:
                sys.exit(f"{playbook.name} ended with {done.returncode}:\n{done.stdout[-6000:]}{done.stderr[-2000:]}")
            entries = [json.loads(line) for line in Path(log.name).read_text().splitlines()]
        cpu_after, received_after = self.usage()
        return {
            "wall_s": round(wall, 1),
            "controller_cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
            "target_cpu_s": round(cpu_after - cpu, 1),
            "upstream_bytes": self.upstream_bytes() - sent,
            "received_bytes": received_after - received,
            "log": entries,
        }


def count_tasks(entries: list[dict[str, Any]]) -> dict[str, int]:
    """Tasks of the host that executed most: "executed" (failed and rescued ones among them), "skipped" and "changed"."""
    executed = Counter(entry["host"] for entry in entries if entry["status"] != "skipped")
    [(host, count)] = executed.most_common(1)
    own = [entry for entry in entries if entry["host"] == host]
    skipped = sum(entry["status"] == "skipped" for entry in own)
    return {"executed": count, "skipped": skipped, "changed": sum(entry["changed"] for entry in own)}


def slowest_tasks(entries: list[dict[str, Any]], count: int) -> list[tuple[str, float]]:
    seconds: dict[str, float] = defaultdict(float)
    for entry in entries:
        seconds[entry["task"]] += entry["seconds"]
    ordered = sorted(seconds.items(), key=lambda item: -item[1])[:count]
    return [(task, round(each, 1)) for task, each in ordered]


def measure(fleet: Fleet, side: str, variables: list[str], tasks: int) -> None:
    """First run and no-op run of one side on new targets; prints their lines."""
    playbook = ROOT / "playbooks" / "site.yml" if side == "ours" else HERE / "plain.yml"
    fleet.renew()
    with tempfile.TemporaryDirectory() as home:
        for run in ("first", "no-op"):
            result = fleet.play(playbook, variables, home)
            entries = result.pop("log")
            line = {
                "case": "converge",
                "hosts": len(fleet.names),
                "side": side,
                "run": run,
                **count_tasks(entries),
                **result,
            }
            if tasks:
                line["slowest"] = slowest_tasks(entries, tasks)
            print(json.dumps(line), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, action="append", help="number of targets, may be repeated; default: 1")
    parser.add_argument("--tasks", type=int, default=0, metavar="N", help="list the N slowest tasks of each run")
    parser.add_argument("--lab", default="bench", help="name of the lab (%(default)s)")
    parser.add_argument("-e", "--extra-vars", action="append", default=[], help="more variables for our side")
    options = parser.parse_args()
    counts = options.hosts or [1]
    lab = LabCommand(options.lab, "containers")
    was_up = (lab.dir / "state.json").exists()
    os.environ["SDOPS_LAB"] = options.lab
    sums = {name: big_sha256(BIG_BYTES, name) for name in BIG_NAMES}
    site = [f"@{HERE / 'site.yml'}", json.dumps({"bench_sha256": sums, "bench_model_bytes": BIG_BYTES})]
    try:
        if not was_up or len(lab.state["hosts"]) < max(counts):
            lab("up", "--mode", "containers", "--targets", str(max(counts)))
        for count in counts:
            fleet = Fleet(lab, count)
            measure(fleet, "ours", [*site, *options.extra_vars], options.tasks)
            files = [{"path": path, "url": FILES[path], "sha256": digest} for path, digest in fleet.checksums().items()]
            measure(fleet, "plain", [*site, json.dumps({"bench_files": files})], options.tasks)
    finally:
        if not was_up:
            lab("down")


if __name__ == "__main__":
    main()

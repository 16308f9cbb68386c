"""kill -9 at any moment of a large download: re-runs always end in the right file, and hardly anything comes twice."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.transfer.segments import merge_spans

from lab.servers.faults import Fault
from lab.servers.hosts.big import big_sha256

SIZE = 200_000_000
CONNECTIONS = 8
SEGMENT = SIZE // (2 * CONNECTIONS)  # the largest that is handed out
KILLS = 20


def start(arguments: dict, by: list[str] | None = None) -> subprocess.Popen:
    process = subprocess.Popen(
        [*(by or []), sys.executable, "-m", "ansible_collections.sdops.webui.plugins.modules.model_files"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p.endswith("collections"))},
    )
    process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())
    process.stdin.close()
    process.stdin = None
    return process


def received(lab_server) -> int:
    """Bytes of bodies that the server has sent."""
    lab_server.log.wait_until_written()
    return sum(e["bytes"] for e in lab_server.log.entries if e["host"] == "big.lab.test" and e["range"] != "bytes=0-0")


def known(journal: Path) -> int:
    """Bytes that the next run will find."""
    lines = journal.read_text().splitlines()[1:] if journal.exists() else []
    spans = merge_spans(tuple(map(int, line.split())) for line in lines if not line.startswith("sync"))
    return sum(end - begin for begin, end in spans)


@pytest.mark.parametrize("seed", [1])
def test_twenty_kills(target, lab_server, seed):
    """Each kill comes at a random moment of a run that takes about two seconds when it is left alone."""
    rng = random.Random(seed)
    # 200 MB in about 2 s over 8 connections
    lab_server.faults.add(Fault("slow", host="big.lab.test", rate=12_000_000))
    sha256 = big_sha256(SIZE, "kill")
    spec = {
        "source": f"{lab_server.url('big.lab.test')}/m-{SIZE}-kill.safetensors",
        "kind": "checkpoint",
        "sha256": sha256,
    }
    arguments = {**target.arguments, "models": [spec], "connections": CONNECTIONS}
    place = target.path(f"models/Stable-diffusion/m-{SIZE}-kill.safetensors")
    journal = place.with_name(f".{place.name}.part.journal")
    kills = finished = 0
    lost = []
    while kills < KILLS:
        while True:
            lab_server.log.entries.clear()
            before = known(journal)
            process = start(arguments)
            delay = rng.uniform(0.3, 1.6) if kills < KILLS else 60
            try:
                out, _ = process.communicate(timeout=delay)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                kills += 1
                assert not place.exists() or place.stat().st_size == SIZE
                if not place.exists():
                    lost.append(received(lab_server) - (known(journal) - before))
                continue
            found = json.loads(out)
            assert not found.get("failed"), found
            break
        assert found["models"][0]["sha256"] == sha256
        assert big_file_is(place, sha256)
        assert [p.name for p in place.parent.iterdir()] == [place.name]
        finished += 1
        place.unlink()
    # what a kill may cost: the segments on the way, one for each connection
    assert lost and max(lost) <= CONNECTIONS * SEGMENT
    print(f"{kills} kills, {finished} files, {sum(lost) / 1e6:.0f} MB twice, {max(lost) / 1e6:.0f} MB by one at most")


def big_file_is(path: Path, sha256: str) -> bool:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest() == sha256


def test_a_kill_costs_one_segment_of_each_connection(target, lab_server):
    """Counted exactly: what the second run fetches is what the journal did not know."""
    lab_server.faults.add(Fault("slow", host="big.lab.test", rate=12_000_000))
    sha256 = big_sha256(SIZE, "once")
    spec = {
        "source": f"{lab_server.url('big.lab.test')}/m-{SIZE}-once.safetensors",
        "kind": "checkpoint",
        "sha256": sha256,
    }
    arguments = {**target.arguments, "models": [spec], "connections": 2}
    process = start(arguments)
    journal = target.path(f"models/Stable-diffusion/.m-{SIZE}-once.safetensors.part.journal")
    deadline = time.monotonic() + 30
    while not journal.exists() or journal.read_text().count("\n") < 4:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    found = known(journal)
    assert found > 0
    lab_server.log.wait_until_written()
    lab_server.log.entries.clear()
    lab_server.faults.clear()
    repeated = json.loads(start(arguments).communicate(timeout=120)[0])
    assert not repeated.get("failed"), repeated["msg"]
    assert repeated["bytes_fetched"] == SIZE - found


# a process counts the memory of the one it was forked from, too: a small one goes between
BETWEEN = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def peak_of(arguments: dict) -> float:
    """Peak memory of a whole run, in MB."""
    out, _ = start(arguments, [sys.executable, "-c", BETWEEN]).communicate(timeout=120)
    return int(out) / 1024


def test_memory_does_not_grow_with_the_file(target, lab_server):
    peaks, sizes = [], (20_000_000, 600_000_000)
    for size in sizes:
        spec = {"source": f"{lab_server.url('big.lab.test')}/m-{size}-peak.safetensors", "kind": "checkpoint"}
        peaks.append(peak_of({**target.arguments, "models": [spec], "connections": CONNECTIONS}))
    assert all(target.path(f"models/Stable-diffusion/m-{size}-peak.safetensors").exists() for size in sizes)
    assert 10 < peaks[1] < 100
    assert peaks[1] - peaks[0] < 20

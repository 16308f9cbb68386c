"""Models that come in the background, before the WebUI's directory is there."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from pathlib import Path

import pytest
from helpers.processes import kill_all, pids_with_open

from lab.servers.faults import Fault

NAME = "v1-5-pruned-emaonly.safetensors"
CHECKPOINT = {"source": f"hf://lab-fakes/tiny-sd15/{NAME}@main", "kind": "checkpoint"}
VAE = {"source": "hf://lab-fakes/tiny-vae/vae-ft-mse-840000-ema-pruned.safetensors@main", "kind": "vae"}
PLACE = f"models/Stable-diffusion/{NAME}"
STORAGE = "cdn.huggingface.lab.test"


class Job:
    """The download in the background of a target, seen from outside."""

    def __init__(self, webui: Path) -> None:
        self.directory = webui.parent / f".{webui.name}.sdops-prefetch"

    def pids(self) -> list[int]:
        """The processes that have the lock open."""
        return pids_with_open(self.directory / "lock")

    def files(self) -> dict[str, int]:
        return {
            path.name: path.stat().st_size
            for path in self.directory.rglob("*/*")
            if path.is_file() and path.suffix != ".lock"
        }

    def until(self, condition, limit: float = 30) -> None:
        deadline = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < deadline, (self.pids(), self.files())
            time.sleep(0.1)

    def has_segment(self) -> bool:
        """Whether a segment of a file is complete."""
        journals = [path.read_text() for path in self.directory.rglob("*.journal")]
        return any(line[0].isdigit() for text in journals for line in text.splitlines())

    def until_some_bytes(self) -> None:
        self.until(lambda: any(name.endswith(".journal") for name in self.files()))


@pytest.fixture
def job(target):
    target.webui.rmdir()  # the checkout is not there yet
    made = Job(target.webui)
    yield made
    kill_all(made.pids())


def received(lab_server) -> int:
    return sum(entry["bytes"] for entry in lab_server.log.entries if entry["host"] == STORAGE)


def prefetch(run_module, target, *models, **more) -> dict:
    return run_module("model_files", **{**target.arguments, "models": list(models), "state": "prefetched", **more})


def install(run_module, target, *models, **more) -> dict:
    target.webui.mkdir(exist_ok=True)
    return run_module("model_files", **{**target.arguments, "models": list(models), **more})


def test_a_finished_download_gets_its_place_without_the_network(target, lab_server, run_module, job):
    result = prefetch(run_module, target, CHECKPOINT, VAE)
    assert not result["failed"] and result["changed"] and len(result["actions"]) == 2, result
    job.until(lambda: not job.pids())
    assert not target.webui.exists()
    inode = (
        max((path for path in job.directory.rglob("*") if path.is_file()), key=lambda p: p.stat().st_size).stat().st_ino
    )
    fetched = received(lab_server)
    planned = install(run_module, target, CHECKPOINT, VAE, check=True)
    assert planned["bytes_planned"] == 0 and job.directory.exists()
    result = install(run_module, target, CHECKPOINT, VAE)
    assert [model["status"] for model in result["models"]] == ["fetched", "fetched"]
    assert received(lab_server) == fetched == result["bytes_fetched"]
    assert target.path(PLACE).stat().st_ino == inode and target.path(PLACE).stat().st_nlink == 1
    assert hashlib.sha256(target.path(PLACE).read_bytes()).hexdigest() == result["models"][0]["sha256"]
    assert not job.directory.exists()
    result = prefetch(run_module, target, CHECKPOINT, VAE)
    assert not result["changed"] and result["actions"] == [] and not job.directory.exists()


def test_the_module_returns_while_bytes_come_and_the_rest_is_fetched_later(target, lab_server, run_module, job):
    lab_server.faults.add(Fault("slow", host=STORAGE, rate=2_000_000))
    prefetch(run_module, target, CHECKPOINT, connections=1)
    (pid,) = job.pids()
    assert os.getsid(pid) != os.getsid(0)
    job.until_some_bytes()
    time.sleep(1)
    result = install(run_module, target, CHECKPOINT)
    assert result["models"][0]["status"] == "fetched", result
    assert job.pids() == [] and not job.directory.exists()
    assert result["bytes_fetched"] < target.path(PLACE).stat().st_size  # the unfinished segment was kept


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_download_is_resumed(target, lab_server, run_module, job, signum):
    lab_server.faults.add(Fault("slow", host=STORAGE, rate=1_000_000))
    prefetch(run_module, target, CHECKPOINT, connections=4)
    job.until(job.has_segment)
    kill_all(job.pids(), signum)
    job.until(lambda: not job.pids())
    lab_server.faults.clear()
    result = install(run_module, target, CHECKPOINT)
    assert result["models"][0]["status"] == "fetched", result
    assert result["bytes_fetched"] < target.path(PLACE).stat().st_size
    assert not job.directory.exists()


def test_one_download_at_a_time(target, lab_server, run_module, job):
    lab_server.faults.add(Fault("slow", host=STORAGE, rate=500_000))
    assert prefetch(run_module, target, CHECKPOINT, connections=1)["changed"]
    before = job.pids()
    result = prefetch(run_module, target, CHECKPOINT)
    assert not result["changed"] and not result["failed"] and job.pids() == before


def test_check_mode_starts_nothing(target, lab_server, run_module, job):
    result = prefetch(run_module, target, CHECKPOINT, check=True)
    assert result["changed"] and result["actions"]
    assert job.pids() == [] and not job.directory.exists()
    assert [entry for entry in lab_server.log.entries if entry["host"] == "huggingface.lab.test"] == []


def test_without_its_directory_the_download_ends(target, lab_server, run_module, job):
    lab_server.faults.add(Fault("slow", host=STORAGE, rate=500_000))
    prefetch(run_module, target, CHECKPOINT, connections=1)
    job.until_some_bytes()
    job.directory.rename(job.directory.with_name("removed"))
    started = time.monotonic()
    job.until(lambda: not pids_with_open(job.directory.with_name("removed") / "lock"))
    assert time.monotonic() - started < 10
    assert not job.directory.exists()


def test_a_failure_is_reported_when_the_models_are_installed(target, lab_server, run_module, job):
    missing = {"source": "hf://lab-fakes/nothing/x.safetensors@main", "kind": "vae"}
    result = prefetch(run_module, target, missing, CHECKPOINT, "no such model")
    assert not result["failed"], result
    job.until(lambda: not job.pids())
    result = install(run_module, target, missing, CHECKPOINT)
    assert result["failed"] and "does not exist" in result["msg"]
    assert [model["status"] for model in result["models"]] == ["failed", "fetched"]


def test_a_damaged_download_is_fetched_again(target, lab_server, run_module, job):
    prefetch(run_module, target, CHECKPOINT)
    job.until(lambda: not job.pids())
    (path,) = [path for path in job.directory.rglob("*") if len(path.name) == 64]
    with open(path, "r+b") as handle:
        handle.seek(5_000_000)
        handle.write(b"damaged")
    lab_server.log.entries.clear()
    result = install(run_module, target, CHECKPOINT)
    assert hashlib.sha256(target.path(PLACE).read_bytes()).hexdigest() == result["models"][0]["sha256"]
    assert received(lab_server) == target.path(PLACE).stat().st_size


def test_a_shared_cache_is_filled_and_keeps_its_files(target, lab_server, run_module, job, tmp_path):
    cache = {"cache_dir": str(tmp_path / "cache")}
    prefetch(run_module, target, CHECKPOINT, **cache)
    job.until(lambda: not job.pids())
    assert job.files() == {}
    result = install(run_module, target, CHECKPOINT, **cache)
    assert result["models"][0]["status"] == "from cache"
    assert any(len(path.name) == 64 for path in (tmp_path / "cache").rglob("*"))


def test_other_models_of_an_earlier_run_go(target, lab_server, run_module, job):
    prefetch(run_module, target, VAE)
    job.until(lambda: not job.pids())
    (vae,) = [name for name in job.files() if len(name) == 64]
    prefetch(run_module, target, CHECKPOINT)
    job.until(lambda: not job.pids())
    assert vae not in job.files() and len(job.files()) == 2


def test_a_directory_of_somebody_else_is_not_used(target, lab_server, run_module, job):
    job.directory.mkdir(mode=0o777)
    job.directory.chmod(0o777)
    result = prefetch(run_module, target, CHECKPOINT)
    assert not result["failed"] and not result["changed"] and "may write" in json.dumps(result["warnings"])
    assert install(run_module, target, CHECKPOINT)["models"][0]["status"] == "fetched"


def test_space_for_the_installation_is_left(target, lab_server, run_module, job):
    big = {
        "source": f"{lab_server.url('big.lab.test')}/m-{1 << 50}-a.safetensors",
        "kind": "checkpoint",
        "sha256": "a" * 64,
    }
    prefetch(run_module, target, big)
    job.until(lambda: not job.pids())
    assert job.files() == {}

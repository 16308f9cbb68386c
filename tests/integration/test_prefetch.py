"""site.yml with models that come while the environment is made: conda is a fake, the Hub is the lab's, all else is real."""

from __future__ import annotations

import subprocess
import threading
import time

import pytest
from helpers.ansible_site import Site
from helpers.fake_conda import VERSION, fake_conda
from helpers.processes import kill_all, pids_with_open

from lab.servers.faults import Fault

STORAGE = "cdn.huggingface.lab.test"
NAME = "v1-5-pruned-emaonly.safetensors"
CHECKPOINT = {"source": f"hf://lab-fakes/tiny-sd15/{NAME}@main", "kind": "checkpoint"}
MISSING = {"source": "hf://lab-fakes/nothing/x.safetensors@main", "kind": "vae"}
START = "Start to fetch the models in the background"
# a conda that makes the environment only when the file is there
GATED = """#!/bin/sh
case " $* " in *" create "* | *" install "*)
  i=0; while [ ! -e {gate} ] && [ $i -lt 1200 ]; do sleep 0.1; i=$((i+1)); done; [ -e {gate} ] || exit 9;;
esac
exec {conda} "$@"
"""


class Prefetching:
    """The roles conda_env and model_fetch of site.yml on one host."""

    def __init__(self, site: Site, lab_server) -> None:
        self.site, self.lab_server = site, lab_server
        self.webui = site.base / "data" / "stable-diffusion-webui"
        self.place = self.webui / "models" / "Stable-diffusion" / NAME
        self.directory = self.webui.with_name(f".{self.webui.name}.sdops-prefetch")
        self.gate = site.base / "gate"
        conda = fake_conda(site.base / "conda" / "bin")
        gated = site.base / "conda" / "gated" / "conda"
        gated.parent.mkdir()
        gated.write_text(GATED.format(gate=self.gate, conda=conda))
        gated.chmod(0o755)
        self.variables = {
            "sdops_device": "cpu",
            "sdops_huggingface_endpoint": lab_server.url("huggingface.lab.test"),
            "conda_env_engine": str(gated),
            "conda_env_python": VERSION,
            "conda_env_channels": ["conda-forge"],
            "model_fetch_models": [CHECKPOINT],
            "model_fetch_create": True,  # nobody checks the WebUI out here
            "model_fetch_connections": 1,
            "model_fetch_retries": 1,
        }

    def play(
        self, *arguments: str, tags: str = "conda_env,model_fetch", **more: object
    ) -> subprocess.CompletedProcess[str]:
        return self.site.play("--tags", tags, *arguments, **{**self.variables, **more})

    def received(self) -> list[dict]:
        return [entry for entry in self.lab_server.log.entries if entry["host"] == STORAGE]

    def journals(self) -> list[str]:
        """What is known to be there of files that are not complete."""
        return [path.read_text() for path in self.directory.rglob("*.journal")]

    def pids(self) -> list[int]:
        """Of the download in the background."""
        return pids_with_open(self.directory / "lock")

    def kill(self) -> None:
        kill_all(self.pids())


@pytest.fixture
def prefetching(site, lab_server):
    made = Prefetching(site, lab_server)
    yield made
    made.kill()


def task(output: str, name: str) -> str:
    """What a task's hosts reported."""
    return output.partition(f" : {name}]")[2].partition("\nTASK [")[0]


def test_models_come_while_the_environment_is_made(prefetching):
    """The environment is made only when bytes of a model are there, so without the overlap this would fail."""
    seen, over = [], threading.Event()

    def watch() -> None:
        while not seen and not over.is_set():
            seen.extend(prefetching.journals())
            time.sleep(0.1)
        if seen:
            prefetching.gate.touch()

    prefetching.lab_server.faults.add(Fault("slow", host=STORAGE, rate=3_000_000))
    watcher = threading.Thread(target=watch)
    watcher.start()
    result = prefetching.play()
    over.set()
    watcher.join()
    assert result.returncode == 0 and seen, result.stdout + result.stderr
    assert "changed: [box]" in task(result.stdout, START)
    assert NAME in task(result.stdout, "Report the models")
    assert prefetching.place.stat().st_nlink == 1
    assert prefetching.pids() == [] and not prefetching.directory.exists()
    # a run that changes nothing starts nothing
    (prefetching.site.base / "home" / "webui").mkdir(parents=True)
    (prefetching.site.base / "home" / "webui" / "installed.json").write_text("{}\n")
    prefetching.lab_server.log.entries.clear()
    result = prefetching.play()
    assert result.returncode == 0 and "changed=0" in result.stdout, result.stdout
    assert START not in result.stdout
    assert list(prefetching.lab_server.log.entries) == []
    assert not prefetching.directory.exists()


def test_check_mode_starts_nothing(prefetching):
    result = prefetching.play("--check")
    assert result.returncode == 0, result.stdout + result.stderr
    assert START not in result.stdout
    assert prefetching.pids() == [] and not prefetching.directory.exists() and prefetching.received() == []


def test_alone_the_role_fetches_as_ever(prefetching):
    result = prefetching.play(tags="model_fetch")
    assert result.returncode == 0, result.stdout + result.stderr
    assert START not in result.stdout
    assert prefetching.place.is_file() and not prefetching.directory.exists()


def test_a_failure_is_reported_by_the_role(prefetching):
    prefetching.gate.touch()
    result = prefetching.play(model_fetch_models=[MISSING, CHECKPOINT])
    output = result.stdout + result.stderr
    assert result.returncode == 2, output
    assert "changed: [box]" in task(result.stdout, START)
    assert "does not exist" in task(result.stdout, "Install the models") + task(output, "Install the models")
    assert prefetching.place.is_file() and prefetching.pids() == []


def test_after_a_failed_run_the_download_goes_on_and_after_a_kill_it_is_resumed(prefetching):
    """The first run fails before any role that needs the models."""
    prefetching.lab_server.faults.add(Fault("slow", host=STORAGE, rate=40_000))
    prefetching.gate.touch()
    result = prefetching.play(conda_env_packages=["nowhere"], model_fetch_connections=8)
    assert result.returncode == 2 and "nowhere" in result.stdout + result.stderr, result.stdout
    assert not prefetching.place.exists()
    assert prefetching.directory.is_dir()
    # until a segment is complete; on a slow machine all of them may be
    while prefetching.pids() and not any(
        line[0].isdigit() for text in prefetching.journals() for line in text.splitlines()
    ):
        time.sleep(0.1)
    prefetching.kill()
    prefetching.lab_server.faults.clear()
    prefetching.lab_server.log.wait_until_written()
    prefetching.lab_server.log.entries.clear()
    result = prefetching.play()
    assert result.returncode == 0, result.stdout + result.stderr
    prefetching.lab_server.log.wait_until_written()
    assert sum(entry["bytes"] for entry in prefetching.received()) < prefetching.place.stat().st_size
    assert prefetching.pids() == [] and not prefetching.directory.exists()

"""Tokens of the downloads are looked for everywhere they must not be: output at -vvvv, files, argv, environments."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path

import pytest
import yaml
from ansible_site import BIN, ansible_environment

from lab.world.build import Builder, models
from lab.world.faults import Fault
from lab.world.server import Listener, WorldServer

HUB, HUB_STORAGE = "huggingface.lab.test", "cdn.huggingface.lab.test"
CIVITAI, CIVITAI_STORAGE = "civitai.lab.test", "storage.civitai.lab.test"
TOKENS = ("hf_lab_granted", "lab_civitai_member")


class Watcher:
    """Reads argv and environment of every process below ours, again and again."""

    def __init__(self, root: int) -> None:
        self.root = root
        self.found: set[str] = set()
        self.seen = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            parents = {}
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit():
                    try:
                        parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                    except (OSError, IndexError):
                        continue
            for pid in parents:
                above = pid
                while above not in (0, 1, self.root):
                    above = parents.get(above, 0)
                if above == self.root:
                    self._look(pid)
            time.sleep(0.02)

    def _look(self, pid: int) -> None:
        for what in ("cmdline", "environ"):
            try:
                text = Path(f"/proc/{pid}/{what}").read_bytes().decode("utf-8", "replace")
            except OSError:
                continue
            self.seen += 1
            for token in TOKENS:
                if token in text:
                    self.found.add(f"{token} in {what} of {text[:100]!r}")

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    work = tmp_path_factory.mktemp("world")
    builder = Builder(work)
    models.build_hub(builder)
    models.build_civitai(builder)
    listeners = [Listener(default_host=host, tls=False) for host in (HUB, HUB_STORAGE, CIVITAI, CIVITAI_STORAGE)]
    with WorldServer(work / "world", listeners) as server:
        yield server


def test_no_token_anywhere(world, tmp_path):
    world.faults.add(Fault("slow", host=HUB_STORAGE, rate=500_000))
    webui = tmp_path / "webui"
    play = [
        {
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": True,
            "roles": ["sdops.webui.model_fetch"],
            "environment": {"no_proxy": "127.0.0.1"},
        }
    ]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play))
    variables = {
        "sdops_home": f"{tmp_path}/home",
        "sdops_webui_dir": str(webui),
        "sdops_cache_dir": str(tmp_path / "cache"),
        "sdops_huggingface_endpoint": world.url(HUB),
        "sdops_civitai_endpoint": world.url(CIVITAI),
        "model_fetch_huggingface_token": TOKENS[0],
        "model_fetch_civitai_token": TOKENS[1],
        "model_fetch_models": [
            {"source": "hf://lab-standins/gated/gated.safetensors@main", "kind": "checkpoint"},
            "civitai://70002",
            # and failures, which say the most: one refused, one missing
            "civitai://70001",
            {"source": "hf://lab-standins/nothing/x.safetensors@main", "kind": "checkpoint"},
        ],
        "ansible_python_interpreter": str(BIN / "python"),
    }
    secrets = tmp_path / "secrets.yml"
    secrets.write_text(yaml.safe_dump(variables))
    secrets.chmod(0o600)
    log = tmp_path / "ansible.log"
    process = subprocess.Popen(
        [str(BIN / "ansible-playbook"), "-vvvv", str(tmp_path / "play.yml"), "-e", f"@{secrets}"],
        env={**ansible_environment(), "ANSIBLE_LOG_PATH": str(log), "ANSIBLE_ASYNC_DIR": str(tmp_path / "async")},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    watcher = Watcher(process.pid)
    output, _ = process.communicate(timeout=300)
    watcher.stop()
    assert "2 of 4 files failed" in output, output[-3000:]
    assert (webui / "models/Stable-diffusion/gated.safetensors").is_file()  # the token did its work
    assert watcher.seen > 10
    assert watcher.found == set()
    for token in TOKENS:
        assert token not in output
        assert token not in log.read_text()
        for path in tmp_path.rglob("*"):
            if path.is_file() and path != secrets:
                assert token.encode() not in path.read_bytes(), path
    asked = {entry["host"] for entry in world.log.entries if entry["authorization"]}
    assert asked == {HUB, CIVITAI}


def test_the_watcher_sees_what_it_looks_for():
    """Else the test above could not fail."""
    process = subprocess.Popen(["sleep", "5"], env={**os.environ, "T": TOKENS[0]})
    watcher = Watcher(os.getpid())
    time.sleep(0.5)
    watcher.stop()
    process.kill()
    process.wait()
    assert any("environ" in found for found in watcher.found)

"""Tokens and keys of the downloads are looked for everywhere they must not be: output at -vvvv, files, argv, environments."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import yaml
from helpers.ansible_site import ansible_environment
from helpers.paths import BIN

from lab.servers import server
from lab.servers.faults import Fault

HUB, HUB_STORAGE = "huggingface.lab.test", "cdn.huggingface.lab.test"
CIVITAI = "civitai.lab.test"
BIG = "big.lab.test"
TOKENS = ("hf_lab_granted", "lab_civitai_member")
KEYS = ("very-secret-key", "very-secret-password")
SECRETS = (*TOKENS, *KEYS)


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
                    self._inspect(pid)
            time.sleep(0.02)

    def _inspect(self, pid: int) -> None:
        for what in ("cmdline", "environ"):
            try:
                text = Path(f"/proc/{pid}/{what}").read_bytes().decode("utf-8", "replace")
            except OSError:
                continue
            self.seen += 1
            for token in SECRETS:
                if token in text:
                    self.found.add(f"{token} in {what} of {text[:100]!r}")

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


class Run:
    """The role model_fetch at -vvvv, its output in a file, and a watcher on it."""

    def __init__(self, lab_server, base: Path, models: list) -> None:
        self.base, self.webui = base, base / "webui"
        self.webui.mkdir()
        play = [
            {
                "hosts": "localhost",
                "connection": "local",
                "gather_facts": True,
                "roles": ["sdops.webui.model_fetch"],
                "environment": {"no_proxy": "127.0.0.1"},
            }
        ]
        (base / "play.yml").write_text(yaml.safe_dump(play))
        variables = {
            "sdops_home": f"{base}/home",
            "sdops_webui_dir": str(self.webui),
            "sdops_cache_dir": str(base / "cache"),
            "sdops_huggingface_endpoint": lab_server.url(HUB),
            "sdops_civitai_endpoint": lab_server.url(CIVITAI),
            "model_fetch_huggingface_token": TOKENS[0],
            "model_fetch_civitai_token": TOKENS[1],
            "model_fetch_models": models,
            "ansible_python_interpreter": str(BIN / "python"),
        }
        self.given = base / "secrets.yml"
        self.given.write_text(yaml.safe_dump(variables))
        self.given.chmod(0o600)
        log = {"ANSIBLE_LOG_PATH": str(base / "ansible.log"), "ANSIBLE_ASYNC_DIR": str(base / "async")}
        self.output = base / "output.txt"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [str(BIN / "ansible-playbook"), "-vvvv", str(base / "play.yml"), "-e", f"@{self.given}"],
                env={**ansible_environment(), **log},
                cwd=base,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.watcher = Watcher(self.process.pid)

    def end(self, seconds: float = 300) -> str:
        self.process.wait(seconds)
        self.watcher.stop()
        assert self.watcher.seen > 10
        assert self.watcher.found == set()
        return self.output.read_text()

    def journals(self) -> list[Path]:
        return list(self.base.rglob("*.part.journal"))

    def files_with_secrets(self) -> list[str]:
        """Files with a secret in them; output and log are among those that are looked at."""
        found = []
        for path in self.base.rglob("*"):
            try:
                data = path.read_bytes() if path.is_file() and path != self.given else b""
            except OSError:  # gone since
                continue
            found += [f"{secret} in {path}" for secret in SECRETS if secret.encode() in data]
        return found


def test_no_secret_anywhere(lab_server, short_path, monkeypatch):
    monkeypatch.setattr(
        server, "PLAIN_QUERY", {*server.PLAIN_QUERY, "key"}
    )  # this log shows whether the right one came
    lab_server.faults.add(Fault("slow", host=HUB_STORAGE, rate=500_000))
    page = (
        f"https://huggingface.co/lab-fakes/tiny-vae/resolve/main/vae-ft-mse-840000-ema-pruned.safetensors?key={KEYS[1]}"
    )
    run = Run(
        lab_server,
        short_path,
        [
            {
                "source": "hf://lab-fakes/gated/gated.safetensors@main",
                "kind": "checkpoint",
                "vae": f"{lab_server.url(BIG)}/vae-1000000-a.safetensors?key={KEYS[0]}",
            },
            "civitai://70002",
            {"source": page, "kind": "vae"},
            # and failures, which say the most: one refused, one missing, one whose sidecar does not come
            "civitai://70001",
            {"source": "hf://lab-fakes/nothing/x.safetensors@main", "kind": "checkpoint"},
            {
                "source": "hf://lab-fakes/gated/gated.safetensors@main",
                "kind": "checkpoint",
                "name": "second.safetensors",
                "config": f"{lab_server.url(BIG)}/nothing.yaml?key={KEYS[1]}",
            },
        ],
    )
    output = run.end()
    assert "3 of 8 files failed" in output, output[-3000:]
    assert (run.webui / "models/Stable-diffusion/gated.safetensors").is_file()  # the token did its work
    assert (run.webui / "models/Stable-diffusion/gated.vae.safetensors").is_file()
    assert (run.webui / "models/VAE/vae-ft-mse-840000-ema-pruned.safetensors").is_file()
    assert run.files_with_secrets() == []
    assert any(f"key={KEYS[0]}" in entry["query"] for entry in lab_server.log.entries if entry["host"] == BIG)
    requested = {entry["host"] for entry in lab_server.log.entries if entry["authorization"]}
    assert requested == {HUB, CIVITAI}


def test_no_secret_while_it_comes_down(lab_server, short_path):
    """The journal and everything else on the disk, looked at again and again until the run is cut."""
    lab_server.faults.add(Fault("slow", host=BIG, rate=400_000))
    source = f"{lab_server.url(BIG)}/m-60000000-a.safetensors?key={KEYS[0]}&key={KEYS[1]}"
    run = Run(lab_server, short_path, [{"source": source, "kind": "checkpoint"}])
    inspections = 0
    deadline = time.monotonic() + 120
    while inspections < 3 and run.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.5)
        spans = [line for path in run.journals() for line in path.read_text().splitlines()[1:] if line[0] != "s"]
        assert run.files_with_secrets() == []
        inspections += bool(spans)
    run.process.send_signal(signal.SIGINT)
    output = run.end(60)
    assert inspections == 3, output[-3000:]
    assert run.journals()  # it was cut, and will be resumed
    assert run.files_with_secrets() == []


def test_watcher_finds_a_planted_secret():
    """Else the test above could not fail."""
    process = subprocess.Popen(["sleep", "5"], env={**os.environ, "T": TOKENS[0]})
    watcher = Watcher(os.getpid())
    time.sleep(0.5)
    watcher.stop()
    process.kill()
    process.wait()
    assert any("environ" in found for found in watcher.found)

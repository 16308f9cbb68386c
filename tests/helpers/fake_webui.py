"""A fake WebUI as the lab would deploy it, but from this tree and without any package index.

``site`` is a git checkout with its sub-repositories at pinned commits (shared by all tests, never changed by them); a
``Instance`` is one data directory beside it. CLIP, open_clip, torch, torchvision and xformers come by PYTHONPATH from the trees
that the lab makes wheels of; the requirements to check are named by REQS_FILE.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import signal
import struct
import subprocess
import time
import urllib.parse
from pathlib import Path

from helpers.paths import ROOT
from lab.ports import free_port

FAKES = ROOT / "lab" / "fakes"
PYTHON = str(ROOT / ".work/gradio-3/bin/python")  # it has the fastapi that the fake needs
FIXED = {
    **{f"GIT_{who}_{what}": "lab@lab.test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
}
REPOSITORIES = {
    "ASSETS": "stable-diffusion-webui-assets",
    "STABLE_DIFFUSION": "stable-diffusion-stability-ai",
    "STABLE_DIFFUSION_XL": "generative-models",
    "K_DIFFUSION": "k-diffusion",
    "BLIP": "BLIP",
}


def git(*args: str, cwd: Path) -> str:
    done = subprocess.run(
        ["git", *args], cwd=cwd, env={**os.environ, **FIXED}, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def checkout(source: Path, target: Path, tag: str | None = None) -> str:
    """A git checkout of a fake's tree, with an origin; returns its commit."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    git("init", "--quiet", "--initial-branch=master", cwd=target)
    git("add", "--all", cwd=target)
    git("commit", "--quiet", "--message", "fake", cwd=target)
    git("remote", "add", "origin", f"https://git.lab.test/{target.name}.git", cwd=target)
    if tag:
        git("tag", tag, cwd=target)
    return git("rev-parse", "HEAD", cwd=target)


class Site:
    """The upstream repositories and one checkout of the WebUI made from them."""

    def __init__(self, root: Path) -> None:
        self.upstream, self.webui = root / "upstream", root / "webui"
        self.upstream.mkdir()
        self.pins = {}
        for prefix, name in REPOSITORIES.items():
            commit = checkout(FAKES / "repositories" / name, self.upstream / name)
            self.pins[f"{prefix}_REPO"], self.pins[f"{prefix}_COMMIT_HASH"] = str(self.upstream / name), commit
        self.commit = checkout(FAKES / "webui", self.webui, "v1.10.1")
        requirements = root / "requirements.txt"
        requirements.write_text("fastapi==0.94.0\n")
        trees = [FAKES / "wheels" / name for name in ("torch", "torchvision", "xformers")]
        trees += [FAKES / "packages" / "CLIP", FAKES / "packages" / "open_clip" / "src"]
        keep = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        self.env = {
            **keep,
            **FIXED,
            **self.pins,
            "PYTHONPATH": os.pathsep.join(str(tree) for tree in trees),
            "PIP_NO_INDEX": "1",  # whatever a test breaks, nothing gets installed into this interpreter
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "REQS_FILE": str(requirements),
            "SDOPS_NVIDIA_SMI": "/nowhere/nvidia-smi",
            "SDOPS_LAB_MODEL_DELAY": "0",
        }

    def launch(self, *args: str, webui: Path | None = None, **env: str) -> subprocess.CompletedProcess:
        """Run launch.py to its end."""
        command = [PYTHON, "launch.py", *args]
        env = {name: value for name, value in {**self.env, **env}.items() if value}
        return subprocess.run(command, cwd=webui or self.webui, env=env, capture_output=True, text=True, timeout=60)


class Answer:
    def __init__(self, status: int, headers: http.client.HTTPMessage, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self):
        return json.loads(self.body)


class Instance:
    """One data directory with its models, and the server that runs on it."""

    def __init__(self, site: Site, data: Path) -> None:
        self.site, self.data = site, data
        data.mkdir(exist_ok=True)
        self.port = free_port()
        self.log = data / "webui.log"
        self.process: subprocess.Popen | None = None

    def model(self, kind: str, name: str, seed: str, **metadata: str) -> Path:
        path = self.data / kind / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(safetensors(seed, metadata))
        return path

    def launch(self, *args: str, **env: str) -> None:
        """Start the server without waiting for it."""
        common = ["--data-dir", str(self.data), "--port", str(self.port), "--skip-install", "--skip-torch-cuda-test"]
        env = {name: value for name, value in {**self.site.env, **env}.items() if value}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [PYTHON, "launch.py", *common, "--no-download-sd-model", *args],
                cwd=self.site.webui,
                env=env,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def start(self, *args: str, model: bool = True, **env: str) -> Instance:
        """Start and wait for the port, and for the model if there is to be one."""
        self.launch("--api", *args, **env)
        self.wait("Startup time: ")
        if model:
            self.wait("Model loaded in ")
        return self

    def wait(self, text: str, seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while text not in self.log.read_text():
            ended = self.process.poll()
            assert ended is None, f"the server ended with {ended}:\n{self.log.read_text()}"
            assert time.monotonic() < end, f"no {text!r} in {seconds} s:\n{self.log.read_text()}"
            time.sleep(0.02)

    def call(self, path: str, body=None, method: str | None = None, auth: str | None = None, **headers: str) -> Answer:
        """GET, or POST when there is a body: a mapping goes as JSON, a text as a form."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        data = None
        if isinstance(body, str):
            data, headers["Content-Type"] = body.encode(), "application/x-www-form-urlencoded"
        elif body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        if auth:
            headers["Authorization"] = f"Basic {base64.b64encode(auth.encode()).decode()}"
        connection.request(method or ("GET" if body is None else "POST"), path, data, headers)
        got = connection.getresponse()
        answer = Answer(got.status, got.headers, got.read())
        connection.close()
        return answer

    def options(self) -> dict:
        return self.call("/sdapi/v1/options").json

    def txt2img(self, **request) -> Answer:
        return self.call("/sdapi/v1/txt2img", {"width": 64, "height": 64, "steps": 1, "seed": 1, **request})

    def image(self, **request) -> bytes:
        answer = self.txt2img(**request)
        assert answer.status == 200, answer.text
        return base64.b64decode(answer.json["images"][0])

    def stop(self) -> int | None:
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=10)
        self.process = None
        return code


def safetensors(seed: str, metadata: dict[str, str] | None = None) -> bytes:
    """A small well-formed file whose bytes depend on ``seed``."""
    data = seed.encode().ljust(64, b"\0")[:64]
    header = json.dumps(
        {"__metadata__": metadata or {"seed": seed}, "w": {"dtype": "F16", "shape": [32], "data_offsets": [0, 64]}}
    ).encode()
    return struct.pack("<Q", len(header)) + header + data


def query(**values: str) -> str:
    return urllib.parse.urlencode(values)

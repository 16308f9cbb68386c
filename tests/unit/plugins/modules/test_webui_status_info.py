"""webui_status_info as a process. Oracles: the disk, a real supervisord, a web server."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.webui_versions import WEBUI_VERSIONS
from helpers.paths import BIN, ROOT

COMMIT = WEBUI_VERSIONS["1.10.1"].commit
PROGRAMS = """
[program:sleeper]
command=sleep 100
startsecs=0
[program:later]
command=sleep 100
autostart=false
"""


@pytest.fixture
def status(run_module, tmp_path, monkeypatch):
    """What the module says of a host below tmp_path; the same in check mode."""

    def read(**more: object) -> dict:
        arguments = {
            "webui_dir": str(tmp_path / "webui"),
            "environment": str(tmp_path / "env"),
            "state_dir": str(tmp_path / "state"),
            "supervisor_dir": str(tmp_path / "supervisor"),
            "url": "http://127.0.0.1:1",
            "nvidia_smi": "/nowhere/nvidia-smi",
            **more,
        }
        checked, result = (run_module("webui_status_info", check=check, **arguments) for check in (True, False))
        assert (result["failed"], result["changed"]) == (False, False), result
        assert checked["status"].keys() == result["status"].keys()
        return result["status"]

    return read


def write(path: Path, content: object = "", size: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    if size:
        with path.open("r+b") as handle:
            handle.truncate(size)


def test_bare_host(status, tmp_path):
    assert status() == {
        "version": {"version": "", "commit": "", "checkout": ""},
        "packages": {},
        "gpus": [],
        "disks": {},
        "models": {},
        "extensions": {"enabled": [], "disabled": []},
        "programs": None,
        "answers": False,
    }


def test_what_is_installed(status, tmp_path):
    write(tmp_path / "state/installed.json", {"version": "1.10.1", "commit": COMMIT})
    write(tmp_path / "webui/.git/HEAD", "ref: refs/heads/mine\n")
    write(tmp_path / "webui/.git/refs/heads/mine", "ab" * 20 + "\n")
    for name in ("torch-2.1.2+cu121", "torchvision-0.16.2+cu121", "gradio_client-0.5.0"):
        write(tmp_path / f"env/lib/python3.10/site-packages/{name}.dist-info/METADATA")
    found = status()
    assert found["version"] == {"version": "1.10.1", "commit": COMMIT, "checkout": "ab" * 20}
    assert found["packages"] == {"torch": "2.1.2+cu121"}
    (tmp_path / "webui/.git/HEAD").write_text("ref: refs/../../../state/installed.json\n")
    assert status()["version"]["checkout"] == ""


def test_models_are_those_that_the_webui_lists(status, tmp_path):
    models = tmp_path / "data/models"
    write(models / "Stable-diffusion/a.safetensors", size=3000)
    write(models / "Stable-diffusion/below/B.CKPT", size=500)
    for name in ("a.vae.safetensors", ".c.safetensors.part", "a.yaml", ".d.ckpt"):
        write(models / "Stable-diffusion" / name, size=70000)
    write(models / "VAE/X.PT", size=10)  # the WebUI does not find .PT there
    write(tmp_path / "elsewhere/lora.safetensors", size=20)
    (models / "Lora").mkdir()
    (models / "Lora/linked").symlink_to(tmp_path / "elsewhere")
    (models / "Lora/loop").symlink_to(models / "Lora")
    assert status(data_dir=str(tmp_path / "data"))["models"] == {
        "checkpoint": {"count": 2, "bytes": 3500},
        "lora": {"count": 1, "bytes": 20},
    }


@pytest.mark.parametrize(
    ("settings", "enabled", "disabled"),
    [
        (None, ["a", "b"], []),
        ({"disabled_extensions": ["b", "gone"]}, ["a"], ["b"]),
        ({"disabled_extensions": ["b"], "disable_all_extensions": "extra"}, [], ["a", "b"]),
        ([], ["a", "b"], []),
        ({"disabled_extensions": 1}, ["a", "b"], []),
    ],
)
def test_extensions(status, tmp_path, settings, enabled, disabled):
    for name in ("a", "b"):
        (tmp_path / "webui/extensions" / name).mkdir(parents=True)
    write(tmp_path / "webui/extensions/put extensions here.txt")
    if settings is not None:
        write(tmp_path / "webui/config.json", settings)
    assert status()["extensions"] == {"enabled": enabled, "disabled": disabled}


def test_disks_and_gpus(status, tmp_path, monkeypatch):
    write(tmp_path / "gpu", "a5000")
    monkeypatch.setenv("SDOPS_LAB_GPU_FILE", str(tmp_path / "gpu"))
    found = status(disks=[str(tmp_path / "not/there"), "/"], nvidia_smi=str(ROOT / "lab/target/nvidia-smi"))
    assert found["disks"]["/"]["total"] == shutil.disk_usage("/").total
    assert found["disks"][str(tmp_path / "not/there")]["total"] == shutil.disk_usage(tmp_path).total
    assert found["gpus"] == [
        {
            "index": 0,
            "name": "NVIDIA RTX A5000",
            "memory_used": 4 << 20,
            "memory_total": 24564 << 20,
            "utilization": 0,
        }
    ]


def test_what_nvidia_smi_does_not_tell(status, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '0, NVIDIA A100, [N/A], 40960, [Not Supported]'\necho '1, x'\n")
    program.chmod(0o755)
    assert status(nvidia_smi=str(program))["gpus"] == [
        {"index": 0, "name": "NVIDIA A100", "memory_used": None, "memory_total": 40960 << 20, "utilization": None}
    ]


def test_programs_are_those_of_supervisord(status, supervisor):
    (supervisor / "conf.d/programs.conf").write_text(PROGRAMS)
    subprocess.run([BIN / "supervisorctl", "-s", f"unix://{supervisor}/supervisor.sock", "update"], check=True)
    programs = status(supervisor_dir=str(supervisor))["programs"]
    assert [(each["name"], each["state"]) for each in programs] == [("later", "STOPPED"), ("sleeper", "RUNNING")]
    assert Path(f"/proc/{programs[1]['pid']}/cmdline").read_text() == "sleep\x00100\x00"
    assert programs[0]["pid"] == programs[0]["seconds"] == 0 and 0 <= programs[1]["seconds"] < 600


@pytest.mark.parametrize(("code", "answers"), [(200, True), (500, False)])
def test_webui_answers(status, code, answers):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code if self.path == "/internal/ping" else 404)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert status(url=f"http://127.0.0.1:{server.server_port}")["answers"] is answers
        server.shutdown()

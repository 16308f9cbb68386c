"""A typo in ``webui_dir`` makes no tree, and what lies in the way of a model's directory is named before anything is brought."""

from __future__ import annotations

import json
import os
import socket
import struct
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.errors import DirectoryError, LayoutError
from ansible_collections.sdops.webui.plugins.module_utils.filesystem import reject_unusable_directory
from ansible_collections.sdops.webui.plugins.module_utils.models.layout import (
    WEBUI_DIRECTORY_MARKERS,
    reject_unmanaged_directory,
)


def weights(path: Path) -> str:
    """A sound file of weights; returns its source."""
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)
    return f"file://{path}"


@pytest.fixture
def install_models(run_module, tmp_path):
    """Place two LoRA and a VAE in ``webui_dir``."""
    source = weights(tmp_path / "w.safetensors")
    models = [{"source": source, "kind": kind, "name": f"{kind}.safetensors"} for kind in ("lora", "vae")]

    def run(webui: Path, **options: object) -> dict:
        return run_module("model_files", webui_dir=str(webui), models=models, **options)

    return run


def everything(base: Path) -> list[str]:
    return sorted(str(path.relative_to(base)) for path in base.rglob("*"))


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("typo", ["stable-difusion-webui", "missing/deeper/webui", "webui/modles"])
def test_a_typo_makes_no_tree(install_models, tmp_path, typo, check):
    (tmp_path / "webui" / "models").mkdir(parents=True)
    before = everything(tmp_path)
    found = install_models(tmp_path / typo, check=check)
    assert found["failed"] and not found.get("changed")
    assert str(tmp_path / typo) in found["msg"] and "create" in found["msg"] and "does not exist" in found["msg"]
    assert [name for name in everything(tmp_path) if name not in before and name != "w.safetensors"] == []


def test_a_directory_of_something_else_is_not_filled(install_models, tmp_path):
    other = tmp_path / "home"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    found = install_models(other)
    assert found["failed"] and "is not a WebUI's" in found["msg"] and everything(other) == ["notes.txt"]


@pytest.mark.parametrize("mark", WEBUI_DIRECTORY_MARKERS)
def test_a_checkout_or_a_data_directory_is_known(tmp_path, mark):
    (tmp_path / "README").touch()
    with pytest.raises(LayoutError):
        reject_unmanaged_directory(str(tmp_path))
    (tmp_path / mark).mkdir()
    reject_unmanaged_directory(str(tmp_path))


def test_what_is_wished_is_made(install_models, tmp_path):
    assert not install_models(tmp_path / "new" / "data", create=True)["failed"]
    assert (tmp_path / "new/data/models/Lora/lora.safetensors").is_file()
    assert install_models(tmp_path / "new" / "data").get("changed") is False
    (tmp_path / "empty").mkdir()
    assert not install_models(tmp_path / "empty")["failed"]


@pytest.mark.parametrize("where", ["models/Lora", "models", ""])
def test_a_link_to_a_disk_that_is_not_mounted_is_named(install_models, tmp_path, where):
    webui = tmp_path / "webui"
    link = webui / where
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(tmp_path / "disk" / "models")
    found = install_models(webui)
    assert found["failed"] and f"{link} is a symbolic link to {tmp_path}/disk/models" in found["msg"]
    assert "Mount the disk" in found["msg"] and not (tmp_path / "disk").exists()
    # the others are not stopped by it
    assert (webui / "models/VAE/vae.safetensors").is_file() == (where == "models/Lora")
    (tmp_path / "disk" / "models").mkdir(parents=True)
    assert not install_models(webui)["failed"]


def test_a_directory_in_the_place_of_a_model_is_named(install_models, tmp_path):
    place = tmp_path / "webui/models/Lora/lora.safetensors"
    place.mkdir(parents=True)
    (place / "mine").write_text("x")
    found = install_models(tmp_path / "webui")
    assert found["failed"] and f"{place} is a directory" in found["msg"]
    assert (place / "mine").read_text() == "x"
    assert {entry["name"]: entry["status"] for entry in found["models"]}["vae.safetensors"] == "copied"


def test_only_directories_and_what_can_become_one_pass(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "to-there").symlink_to("there")
    for good in ("there", "there/a", "there/a/b/c", "to-there", "to-there/a", "new"):
        reject_unusable_directory(str(tmp_path / good))
    assert everything(tmp_path) == ["there", "to-there"]


@pytest.mark.parametrize("below", ["", "/a", "/a/b"])
@pytest.mark.parametrize("kind", ["a file", "a FIFO", "a socket", "dangling", "loop"])
def test_obstructing_path_is_named(tmp_path, monkeypatch, kind, below):
    monkeypatch.chdir(tmp_path)
    method = tmp_path / "x" / "way"
    method.parent.mkdir()
    if kind == "a file":
        method.touch()
    elif kind == "a FIFO":
        os.mkfifo(method)
    elif kind == "a socket":
        os.chdir(method.parent)  # a socket's path is short
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("way")
        os.chdir(tmp_path)
    else:
        method.symlink_to("nowhere/there" if kind == "dangling" else "way")
    for path in (f"{method}{below}", f"x/way{below}"):
        with pytest.raises(DirectoryError) as caught:
            reject_unusable_directory(path)
        output = str(caught.value)
        assert output.startswith(f"{method} is ")
        if kind in ("dangling", "loop"):
            assert f"a symbolic link to {os.readlink(method)}, which cannot be reached. Mount" in output
        else:
            assert f"{kind} where a directory is expected. Move it away" in output

"""A source without a hash of the user's that gives other content than before, when the file is lost.

Oracle: hashlib on the bytes that the server sends, and on those that lie on the disk afterwards.
"""

from __future__ import annotations

import hashlib
import json
import struct

import pytest


def weights(seed: int) -> bytes:
    data = bytes([seed]) * 4096
    header = json.dumps({"a": {"dtype": "U8", "shape": [len(data)], "data_offsets": [0, len(data)]}}).encode()
    return struct.pack("<Q", len(header)) + header + data


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Hub:
    """One file at a URL, at a branch of a Hub and as a model's newest version at a Civitai; ``content`` is what it is now."""

    def __init__(self) -> None:
        self.content = weights(1)
        self.requests = 0

    def __call__(self, path, headers):
        self.requests += 1
        digest = sha(self.content)
        metadata = {"ETag": f'"{digest}"', "X-Repo-Commit": digest[:40]} if "/resolve/" in path else {"ETag": '"v"'}
        if path.startswith("/api/v1/model"):
            file = {"id": 1, "name": "m.safetensors", "type": "Model", "sizeKB": len(self.content) / 1024, "primary": True,
                    "downloadUrl": "http://{}/f.safetensors".format(headers["Host"]), "metadata": {"format": "SafeTensor"},
                    "hashes": {"SHA256": digest.upper()}}  # fmt: skip
            version = {"id": self.content[-1], "files": [file]}
            body = json.dumps({"type": "LORA", "modelVersions": [version], "id": 7}).encode()
            if "model-versions" in path:
                body = json.dumps({**version, "modelId": 7, "model": {"type": "LORA"}}).encode()
            return 200, {"Content-Type": "application/json"}, body
        requested = headers.get("Range")
        if not requested:
            return 200, metadata, self.content
        begin, end = (int(n) if n else None for n in requested.partition("=")[2].split("-"))
        end = len(self.content) - 1 if end is None else min(end, len(self.content) - 1)
        metadata["Content-Range"] = f"bytes {begin}-{end}/{len(self.content)}"
        return 206, metadata, self.content[begin : end + 1]


@pytest.fixture
def hub(serve):
    hub = Hub()
    hub.url, _ = serve(hub)
    return hub


SOURCES = {
    "url": lambda hub: {"source": hub.url + "/f.safetensors", "kind": "checkpoint"},
    "branch": lambda hub: {"source": "hf://o/r/f.safetensors@main", "kind": "checkpoint"},
    "newest version": lambda hub: {"source": "civitai:7", "kind": "lora", "name": "f.safetensors"},
    "sidecar": lambda hub: {
        "source": "hf://o/r/f.safetensors@main", "kind": "checkpoint", "sha256": sha(weights(1)), "vae": hub.url + "/v.safetensors",
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", ["url", "branch", "newest version", "target"])
def test_changed_content_needs_a_consent(hub, tmp_path, run_module, kind):
    if kind == "target":
        source = tmp_path / "f.safetensors"
        source.write_bytes(hub.content)
        spec = {"source": f"file://{source}", "kind": "checkpoint"}
    else:
        spec = SOURCES[kind](hub)
        if kind == "newest version":
            spec["source"] = "urn:air:sd1:lora:civitai:7"
    (tmp_path / "webui").mkdir()
    arguments = {
        "webui_dir": str(tmp_path / "webui"),
        "huggingface_endpoint": hub.url,
        "civitai_endpoint": hub.url,
        "retries": 1,
    }
    first = run_module("model_files", **arguments, models=[spec])
    assert [m["status"] for m in first["models"]] == ["copied" if kind == "target" else "fetched"], first.get("msg")
    [path] = (m["path"] for m in first["models"])
    old, new = sha(hub.content), weights(2)
    hub.content = new
    if kind == "target":
        source.write_bytes(new)

    hub.requests = 0
    assert run_module("model_files", **arguments, models=[spec])["changed"] is False  # it is there: nobody is asked
    assert hub.requests == 0

    with open(path, "rb") as handle:
        assert sha(handle.read()) == old
    (tmp_path / "webui" / path).unlink()
    for _ in range(2):
        rejected = run_module("model_files", **arguments, models=[spec])
        assert rejected["failed"] and [m["status"] for m in rejected["models"]] == ["failed"]
        assert old in rejected["msg"] and sha(new) in rejected["msg"] and "accept_change: true" in rejected["msg"]
        assert not (tmp_path / "webui" / path).exists()

    consents = ({"accept_change": True}, {"sha256": sha(new)})
    agreed = run_module("model_files", **arguments, models=[{**spec, **consents[kind == "branch"]}])
    assert not agreed["failed"], agreed["msg"]
    with open(path, "rb") as handle:
        assert handle.read() == new
    if kind != "branch":
        assert any(old in str(w) and sha(new) in str(w) for w in agreed["warnings"]), agreed["warnings"]
    # what was accepted counts from then on
    (tmp_path / "webui" / path).unlink()
    repeated = run_module("model_files", **arguments, models=[spec])
    assert not repeated["failed"], repeated["msg"]


def test_the_option_is_for_all_and_removal_forgets(hub, tmp_path, run_module):
    spec = SOURCES["url"](hub)
    (tmp_path / "webui").mkdir()
    arguments = {"webui_dir": str(tmp_path / "webui"), "retries": 1, "models": [spec]}
    [placed] = run_module("model_files", **arguments)["models"]
    hub.content = weights(2)
    (tmp_path / "webui" / placed["path"]).unlink()
    assert run_module("model_files", **arguments)["failed"]
    assert not run_module("model_files", **arguments, accept_change=True)["failed"]
    hub.content = weights(3)
    run_module("model_files", **arguments, state="absent")
    assert not run_module("model_files", **arguments)["failed"]


def test_a_sidecar_is_no_exception(hub, tmp_path, run_module):
    spec = SOURCES["sidecar"](hub)
    (tmp_path / "webui").mkdir()
    arguments = {"webui_dir": str(tmp_path / "webui"), "huggingface_endpoint": hub.url, "retries": 1}
    placed = run_module("model_files", **arguments, models=[spec])
    assert not placed["failed"], placed["msg"]
    hub.content = weights(2)
    (tmp_path / "webui" / placed["models"][1]["path"]).unlink()
    rejected = run_module("model_files", **arguments, models=[spec])
    assert [m["status"] for m in rejected["models"]] == ["ok", "failed"]
    assert sha(weights(1)) in rejected["msg"] and sha(weights(2)) in rejected["msg"]


@pytest.mark.parametrize("value", ["yes", 1.5, []])
def test_the_field_is_a_switch(tmp_path, run_module, value):
    found = run_module(
        "model_files", webui_dir=str(tmp_path), models=[{"source": "hf://a/b/c", "accept_change": value}]
    )
    assert "accept_change must be true or false" in found["msg"]

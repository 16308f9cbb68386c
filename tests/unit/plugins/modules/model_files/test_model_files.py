"""model_files against the lab's doubles: what lands where, what is asked, what is refused."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from lab.servers.build import models
from lab.servers.faults import Fault

CHECKPOINT = "hf://lab-fakes/tiny-sd15/v1-5-pruned-emaonly.safetensors@main"
PLACE = "models/Stable-diffusion/v1-5-pruned-emaonly.safetensors"
ALL = [
    {"source": CHECKPOINT, "kind": "checkpoint"},
    {"source": "civitai://112969?type=Model&format=SafeTensor", "name": "FilmVelvia3.safetensors"},
    {"source": "civitai://66043?type=Model&format=PickleTensor", "name": "bad_pictures.pt"},
    {"source": "hf://lab-fakes/tiny-vae/vae-ft-mse-840000-ema-pruned.safetensors@main", "kind": "vae"},
]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def leftovers(target) -> list[str]:
    return [str(p) for p in target.webui.rglob("*") if ".part" in p.name or ".copy-" in p.name]


def test_every_kind_lands_in_its_directory_and_a_second_run_queries_nobody(target, lab_server, four_times, run_module):
    arguments = {**target.arguments, "models": ALL, "allow_pickle": True}
    planned, applied = four_times("model_files", **arguments)
    assert [m["status"] for m in planned["models"]] == ["fetch"] * 4
    assert planned["bytes_planned"] >= target.path(PLACE).stat().st_size
    assert [m["kind"] for m in applied["models"]] == ["checkpoint", "lora", "embedding", "vae"]
    for place in (PLACE, "models/Lora/FilmVelvia3.safetensors", "embeddings/bad_pictures.pt"):
        assert target.path(place).is_file()
    assert target.path("models/VAE/vae-ft-mse-840000-ema-pruned.safetensors").is_file()
    assert all(sha256(Path(m["path"])) == m["sha256"] for m in applied["models"])
    assert len(applied["models"][0]["revision"]) == 40
    assert leftovers(target) == []

    lab_server.log.entries.clear()
    repeated = run_module("model_files", **arguments)
    assert [m["status"] for m in repeated["models"]] == ["ok"] * 4
    assert list(lab_server.log.entries) == []


def test_the_tutorials_file_is_chosen_among_several(target, run_module):
    spec = {"source": "civitai://11745?type=Model&format=SafeTensor&size=full&fp=fp32"}
    found = run_module("model_files", **target.arguments, models=[spec])
    assert found["models"][0]["name"] == "chilloutmix_NiPrunedFp32Fix.safetensors"


def test_no_file_of_that_kind_lists_what_there_is(target, run_module):
    found = run_module("model_files", **target.arguments, models=["civitai://11745?fp=fp8"])
    assert found["failed"]
    assert "fp=fp8" in found["msg"]
    assert "chilloutmix_NiPrunedFp32Fix" in found["msg"]


def test_one_failure_does_not_stop_the_others(target, run_module):
    specs = ["civitai://70004", {"source": CHECKPOINT, "kind": "checkpoint"}]
    found = run_module("model_files", **target.arguments, models=specs)
    assert found["failed"]
    assert "70004" in found["msg"]
    assert target.path(PLACE).is_file()
    assert [m["status"] for m in found["models"]] == ["failed", "fetched"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("hf://lab-fakes/gated/gated.safetensors@main", "gated"),
        ("hf://lab-fakes/nothing/x.safetensors@main", "does not exist"),
        ("hf://lab-fakes/tiny-sd15/nothing.safetensors@main", "has no file"),
        ("hf://lab-fakes/tiny-sd15/v1-5-pruned-emaonly.safetensors@nowhere", "no revision"),
        ("civitai://70001", "early access"),
        ("civitai://70002", "login"),
        ("civitai://70003", "archived"),
        ("civitai://70006", "disabled downloads"),
    ],
)
def test_each_rejection_has_its_own_message(target, run_module, source, message):
    found = run_module("model_files", **target.arguments, models=[{"source": source, "kind": "lora"}])
    assert found["failed"]
    assert message in found["msg"]
    assert leftovers(target) == []


def test_a_token_opens_the_gate_and_never_reaches_the_storage(target, lab_server, run_module):
    found = run_module(
        "model_files",
        **target.arguments,
        models=[{"source": "hf://lab-fakes/gated/gated.safetensors@main", "kind": "checkpoint"}, "civitai://70002"],
        huggingface_token="hf_lab_granted",
        civitai_token="lab_civitai_member",
    )
    assert not found["failed"], found.get("msg")
    requested = {entry["host"]: entry["authorization"] for entry in lab_server.log.entries}
    assert requested["huggingface.lab.test"] is True
    assert requested["civitai.lab.test"] is True
    assert requested["cdn.huggingface.lab.test"] is False
    assert requested["storage.civitai.lab.test"] is False
    for path in target.webui.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".lock"):
            assert "hf_lab_granted" not in path.read_text()
    assert "hf_lab_granted" not in json.dumps({k: v for k, v in found.items() if k != "invocation"})


def test_pickles_are_rejected_unless_allowed_and_hostile_ones_always(target, run_module, tmp_path):
    mark = Path("/tmp/sdops-lab-malicious-pickle-ran")
    mark.unlink(missing_ok=True)
    rejected = run_module("model_files", **target.arguments, models=["civitai://66043"])
    assert rejected["failed"]
    assert "allow_pickle" in rejected["msg"]
    hostile = run_module("model_files", **target.arguments, models=["civitai://66666"], allow_pickle=True)
    assert hostile["failed"]
    assert "Civitai's own scan" in hostile["msg"]
    # the same file from a source that scans nothing: ours is the last line
    (tmp_path / "evil.pt").write_bytes(models.malicious_bytes("evil"))
    spec = {"source": f"file://{tmp_path}/evil.pt", "kind": "embedding"}
    hostile = run_module("model_files", **target.arguments, models=[spec], allow_pickle=True)
    assert hostile["failed"]
    assert "system" in hostile["msg"]
    assert not mark.exists()
    assert not list((target.webui / "embeddings").glob("*"))


def test_a_broken_line_is_resumed(target, lab_server, run_module):
    lab_server.faults.add(Fault("disconnect", host="cdn.*", after=700_000, times=5))
    found = run_module("model_files", **target.arguments, models=[{"source": CHECKPOINT, "kind": "checkpoint"}])
    assert not found["failed"], found.get("msg")
    storage = [e for e in lab_server.log.entries if e["host"] == "cdn.huggingface.lab.test"]
    size = target.path(PLACE).stat().st_size
    # what was there was not fetched again: the cut answers gave what they gave, the rest came in other requests
    assert sum(e["bytes"] for e in storage) == size
    assert found["bytes_fetched"] == size


def test_a_server_that_ignores_ranges_is_survived(target, lab_server, run_module):
    lab_server.faults.add(Fault("disconnect", host="cdn.*", after=5_000_000, times=1))
    lab_server.faults.add(Fault("ignore_range", host="cdn.*"))
    found = run_module("model_files", **target.arguments, models=[{"source": CHECKPOINT, "kind": "checkpoint"}])
    assert not found["failed"], found.get("msg")
    assert found["models"][0]["sha256"] == sha256(target.path(PLACE))


def test_wrong_bytes_never_get_their_final_name(target, lab_server, run_module):
    lab_server.faults.add(Fault("wrong_bytes", host="cdn.*", after=1_000_000))
    found = run_module("model_files", **target.arguments, models=[{"source": CHECKPOINT, "kind": "checkpoint"}])
    assert found["failed"]
    assert "SHA-256" in found["msg"]
    assert not target.path(PLACE).exists()
    assert leftovers(target) == []


def test_a_file_put_there_by_hand_is_adopted(target, lab_server, run_module):
    spec = [{"source": CHECKPOINT, "kind": "checkpoint"}]
    run_module("model_files", **target.arguments, models=spec)
    (target.webui / ".sdops" / "models.json").unlink()
    lab_server.log.entries.clear()
    found = run_module("model_files", **target.arguments, models=spec)
    assert [m["status"] for m in found["models"]] == ["adopted"]
    assert not [e for e in lab_server.log.entries if e["host"] == "cdn.huggingface.lab.test"]


def test_a_shared_cache_serves_the_second_host(target, lab_server, run_module, tmp_path):
    spec = [{"source": CHECKPOINT, "kind": "checkpoint"}]
    cache = str(tmp_path / "cache")
    run_module("model_files", **target.arguments, models=spec, cache_dir=cache)
    other = tmp_path / "other"
    other.mkdir()
    lab_server.log.entries.clear()
    found = run_module("model_files", **{**target.arguments, "webui_dir": str(other)}, models=spec, cache_dir=cache)
    assert [m["status"] for m in found["models"]] == ["from cache"]
    assert not [e for e in lab_server.log.entries if e["host"] == "cdn.huggingface.lab.test"]
    assert sha256(other / PLACE) == sha256(target.path(PLACE))


def test_changed_files_are_noticed_by_time_and_always_by_hash(target, run_module):
    spec = [{"source": CHECKPOINT, "kind": "checkpoint"}]
    run_module("model_files", **target.arguments, models=spec)
    path = target.path(PLACE)
    stat, good = path.stat(), path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert run_module("model_files", **target.arguments, models=spec)["changed"] is False
    found = run_module("model_files", **target.arguments, models=spec, verify="always")
    assert (found["failed"], found["changed"]) == (False, True)
    assert path.read_bytes() == good


def test_absent_removes_only_what_was_placed(target, four_times, run_module):
    spec = [{"source": CHECKPOINT, "kind": "checkpoint"}]
    run_module("model_files", **target.arguments, models=spec)
    own = target.path("models/Stable-diffusion/mine.safetensors")
    own.write_bytes(b"mine")
    four_times("model_files", **target.arguments, models=spec, state="absent")
    assert own.exists()
    assert not target.path(PLACE).exists()


def test_sidecars_lie_next_to_the_checkpoint(target, run_module, tmp_path):
    config = tmp_path / "any.yaml"
    config.write_text("model: {}\n")
    spec = {
        "source": CHECKPOINT,
        "kind": "checkpoint",
        "name": "anime.safetensors",
        "config": f"file://{config}",
        "vae": "hf://lab-fakes/tiny-vae/vae-ft-mse-840000-ema-pruned.safetensors@main",
    }
    found = run_module("model_files", **target.arguments, models=[spec])
    assert not found["failed"], found.get("msg")
    names = sorted(p.name for p in target.path("models/Stable-diffusion").iterdir())
    assert names == ["anime.safetensors", "anime.vae.safetensors", "anime.yaml"]
    assert run_module("model_files", **target.arguments, models=[spec])["changed"] is False


def test_a_config_is_code(target, run_module, tmp_path):
    """A foreign target is taken for its hash and the user's word alone; either of them by itself is not enough."""
    config = tmp_path / "any.yaml"
    config.write_text("model: {target: subprocess.Popen, params: {args: [id]}}\n")
    sha256 = hashlib.sha256(config.read_bytes()).hexdigest()
    place = target.path("models/Stable-diffusion/anime.yaml")
    sidecar = {"source": f"file://{config}"}

    def run(written: object) -> dict:
        spec = {"source": CHECKPOINT, "kind": "checkpoint", "name": "anime.safetensors", "config": written}
        return run_module("model_files", **target.arguments, models=[spec])

    for written in (f"file://{config}", sidecar, {**sidecar, "sha256": sha256}):
        found = run(written)
        assert found["failed"]
        assert "subprocess.Popen" in found["msg"]
        assert "trusted: true" in found["msg"]
        assert not place.exists()
    for written, message in (
        ({**sidecar, "sha256": "0" * 64, "trusted": True}, sha256),
        ({**sidecar, "trusted": True}, "trusted needs a sha256"),
        ({**sidecar, "trusted": "yes"}, "true or false"),
        ({**sidecar, "kind": "vae"}, "unknown field kind"),
        ({"sha256": sha256}, "no source"),
        ({**sidecar, "sha256": "x"}, "64 hex digits"),
    ):
        found = run(written)
        assert found["failed"]
        assert message in found["msg"], found["msg"]
        assert not place.exists()
    trusted = {**sidecar, "sha256": sha256, "trusted": True}
    assert run(trusted)["changed"]
    assert place.read_bytes() == config.read_bytes()
    assert run(trusted)["changed"] is False


def test_check_mode_without_a_network_reports_what_it_cannot_know(target, run_module):
    arguments = {**target.arguments, "huggingface_endpoint": "http://127.0.0.1:9", "retries": 0}
    spec = [{"source": CHECKPOINT, "kind": "checkpoint"}]
    found = run_module("model_files", check=True, **arguments, models=spec)
    assert not found["failed"], found.get("msg")
    assert [m["status"] for m in found["models"]] == ["unresolved"]
    assert run_module("model_files", **arguments, models=spec)["failed"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("ftp://x/y", "none of"),
        ("hf://owner/file", "hf://OWNER/REPO/PATH@REVISION"),
        ("civitai://abc", "civitai://VERSION_ID"),
        ({"kind": "vae"}, "has no source"),
        ({"source": CHECKPOINT, "kind": "picture"}, "unknown kind"),
        ({"source": CHECKPOINT, "name": "../x.safetensors"}, "plain file name"),
        ({"source": CHECKPOINT, "sha256": "12"}, "64 hex"),
        ({"source": CHECKPOINT, "colour": "red"}, "unknown field"),
        (CHECKPOINT, "kind"),
        ({"source": CHECKPOINT, "kind": "embedding", "name": "x.exe"}, "the WebUI looks for"),
    ],
)
def test_bad_entries_are_named(target, run_module, entry, message):
    found = run_module("model_files", **target.arguments, models=[entry])
    assert found["failed"]
    assert message in found["msg"]


def test_a_trusted_pickle_is_taken_for_its_hash_and_nothing_else_is(target, tmp_path, four_times, run_module):
    """Detectors of YOLO are pickles of classes: no scan passes them, and the maker's hash is all there is to go by."""
    bad = tmp_path / "face_yolov8m.pt"
    bad.write_bytes(models.malicious_bytes("posix"))
    spec = {"source": f"file://{bad}", "kind": "adetailer", "sha256": sha256(bad), "trusted": True}
    four_times("model_files", **target.arguments, models=[spec])
    assert sha256(target.path("models/adetailer/face_yolov8m.pt")) == sha256(bad)

    other = {**spec, "sha256": "0" * 64, "name": "other.pt"}
    assert "0000" in run_module("model_files", **target.arguments, models=[other])["msg"]
    unpinned = {k: v for k, v in spec.items() if k != "sha256"}
    assert "trusted needs a sha256" in run_module("model_files", **target.arguments, models=[unpinned])["msg"]
    pinned = {**spec, "trusted": False, "name": "third.pt"}
    assert "pickle" in run_module("model_files", **target.arguments, models=[pinned], allow_pickle=True)["msg"].lower()

"""FIFOs, sockets, devices, directories and somebody else's links where a download expects files: no hang, nothing written.

Oracle: real special files, links and file modes of the kernel; a victim's file that must keep its bytes.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils import filesystem
from ansible_collections.sdops.webui.plugins.module_utils.transfer.partial import PartialFile
from ansible_collections.sdops.webui.plugins.module_utils.transfer.remote_file import RemoteFile
from helpers.special_files import place

from lab.servers.hosts.big import big_path, big_sha256

CHECKPOINT = "hf://lab-fakes/tiny-sd15/v1-5-pruned-emaonly.safetensors@main"
NAMED = {"source": CHECKPOINT, "kind": "checkpoint"}
NAME = "models/Stable-diffusion/v1-5-pruned-emaonly.safetensors"
PART = "models/Stable-diffusion/.v1-5-pruned-emaonly.safetensors.part"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="files of another user need root")


@pytest.mark.parametrize("kind", ["FIFO", "directory", "character device", "socket"])
@pytest.mark.parametrize("at", [NAME, PART, PART + ".journal", ".sdops/models.json", "progress.json"])
@pytest.mark.parametrize("check", [True, False])
def test_what_is_no_file_is_reported_at_once(target, lab_server, run_module, kind, at, check):
    if kind == "character device" and at != NAME:
        pytest.skip("it is made of a link, which is replaced there")
    if check and at == "progress.json":
        pytest.skip("check mode writes none")
    place(kind, target.path(at))
    found = run_module(
        "model_files",
        check=check,
        **target.arguments,
        create=True,
        models=[NAMED],
        progress_file=str(target.path("progress.json")),
    )
    assert found["failed"] and f"{target.path(at)} is a {kind} where a regular file is expected" in found["msg"]
    assert not [e for e in lab_server.log.entries if e.get("host", "").startswith("cdn")]
    assert target.path(at).lstat() and not (kind == "directory" and not (target.path(at) / "mine").exists())


@pytest.mark.parametrize("kind", ["FIFO", "socket"])
def test_a_lock_that_is_no_file_is_reported_at_once(target, run_module, kind):
    place(kind, target.path(".sdops/locks/record"))
    found = run_module("model_files", **target.arguments, models=[NAMED])
    assert found["failed"] and f"locks/record is a {kind}" in found["msg"]


def test_a_source_on_the_target_that_is_no_file(target, run_module, tmp_path):
    place("FIFO", tmp_path / "a.safetensors")
    source = f"file://{tmp_path / 'a.safetensors'}"
    found = run_module("model_files", **target.arguments, models=[{"source": source, "kind": "checkpoint"}])
    assert found["failed"] and "is a FIFO" in found["msg"]


@pytest.mark.parametrize("name", ["huggingface_download", "civitai_download"])
def test_a_single_file_is_not_written_where_a_fifo_lies(target, run_module, tmp_path, name):
    place("FIFO", tmp_path / "x.safetensors")
    arguments = {key: value for key, value in target.arguments.items() if key != "webui_dir"}
    arguments["dest"] = str(tmp_path / "x.safetensors")
    where = {"version_id": 112969}
    if name.startswith("hugging"):
        where = {"repo": "lab-fakes/tiny-sd15", "file": "v1-5-pruned-emaonly.safetensors"}
    found = run_module(name, **where, **arguments)
    assert found["failed"] and "is a FIFO" in found["msg"]


# --- links and files of others in shared directories


@pytest.mark.parametrize("end", [".part", ".part.journal", ".part.journal.new", ".lock"])
@pytest.mark.parametrize("how", ["symlink", "hard link"])
def test_no_victim_is_written_through_a_shared_cache(target, run_module, tmp_path, end, how):
    """What is planted beside the file that will be cached: the victim keeps its bytes, the model is sound."""
    cache, victim = tmp_path / "cache", tmp_path / "victim"
    size, seed = 3_000_000, "v"
    sha256 = big_sha256(size, seed)
    victim.write_bytes(b"precious\n")
    planted = cache / "sha256" / sha256[:2] / f".{sha256}{end}"
    if end == ".lock":
        planted = planted.with_name(sha256 + end)
    planted.parent.mkdir(parents=True)
    if how == "symlink":
        planted.symlink_to(victim)
    else:
        os.link(victim, planted)
    spec = {"source": target.big + big_path(size, seed), "kind": "checkpoint", "sha256": sha256}
    found = run_module("model_files", **target.arguments, models=[spec], cache_dir=str(cache))
    assert victim.read_bytes() == b"precious\n"
    if end == ".lock" and how == "symlink":
        assert found["failed"] and "is a symbolic link" in found["msg"]
    else:
        assert not found["failed"], found["msg"]


@pytest.fixture(autouse=True)
def big(target, lab_server):
    target.big = lab_server.url("big.lab.test")


def journal_of(path: Path, size: int, sha256: str) -> None:
    """A part of the file with a journal that says all of it is there."""
    partial = PartialFile(str(path), RemoteFile("", "", size, sha256))
    Path(partial.path).write_bytes(b"x" * size)
    partial.journal.begin([(0, size)])
    partial.journal.close()


@pytest.mark.parametrize("harm", ["hard link", "writable", pytest.param("owner", marks=needs_root), "symlink"])
def test_a_part_that_somebody_else_can_write_is_not_resumed(tmp_path, harm):
    dest = tmp_path / "a.safetensors"
    journal_of(dest, 1000, "a" * 64)
    part, other = tmp_path / ".a.safetensors.part", tmp_path / "other"
    if harm == "hard link":
        os.link(part, other)
    elif harm == "writable":
        part.chmod(0o666)
    elif harm == "owner":
        os.chown(part, 12345, 12345)
    else:
        part.rename(other)
        part.symlink_to(other)
    former = part.open("rb")  # as long as it is open, its inode is not given to another file
    partial = PartialFile(str(dest), RemoteFile("", "", 1000, "a" * 64))
    assert partial.resume() == []
    partial.journal.close()
    assert part.stat().st_ino != os.fstat(former.fileno()).st_ino and not part.is_symlink()
    former.close()
    if other.exists():
        assert other.read_bytes() == b"x" * 1000


def test_managed_partial_file_is_resumed(tmp_path):
    dest = tmp_path / "a.safetensors"
    journal_of(dest, 1000, "a" * 64)
    assert PartialFile(str(dest), RemoteFile("", "", 1000, "a" * 64)).resume() == [(0, 1000)]


def test_where_every_file_has_the_same_mode_parts_are_resumed(tmp_path, monkeypatch):
    """FUSE and CIFS mounts: the mode says nothing there, so a new file of ours tells what ours look like."""
    part = tmp_path / "p"
    part.write_text("x")
    part.chmod(0o666)
    assert filesystem.is_private(str(part)) is False
    real = filesystem.tempfile.mkstemp

    def mkstemp(**more):
        handle, path = real(**more)
        os.fchmod(handle, 0o666)
        return handle, path

    monkeypatch.setattr(filesystem.tempfile, "mkstemp", mkstemp)
    assert filesystem.is_private(str(part)) is True


@pytest.mark.parametrize("harm", ["writable", pytest.param("owner", marks=needs_root)])
def test_a_cached_file_that_another_user_can_write_is_copied(target, run_module, tmp_path, harm):
    size, seed = 2_000_000, "c"
    sha256 = big_sha256(size, seed)
    spec = {"source": target.big + big_path(size, seed), "kind": "checkpoint", "sha256": sha256}
    arguments = {**target.arguments, "models": [spec], "cache_dir": str(tmp_path / "cache")}
    assert not run_module("model_files", **arguments)["failed"]
    cached = tmp_path / "cache" / "sha256" / sha256[:2] / sha256
    placed = target.path("models/Stable-diffusion") / big_path(size, seed).lstrip("/")
    assert placed.stat().st_ino == cached.stat().st_ino
    placed.unlink()
    cached.chmod(0o666) if harm == "writable" else os.chown(cached, 12345, 12345)
    found = run_module("model_files", **arguments)
    assert [m["status"] for m in found["models"]] == ["from cache"]
    assert placed.stat().st_ino != cached.stat().st_ino


@pytest.mark.parametrize("kind", ["FIFO", "directory", "symlink"])
def test_what_is_no_file_in_the_cache(target, run_module, tmp_path, kind):
    size, seed = 2_000_000, "d"
    sha256 = big_sha256(size, seed)
    cached = tmp_path / "cache" / "sha256" / sha256[:2] / sha256
    place(kind, cached)
    if kind == "symlink":
        cached.symlink_to("/dev/zero")
    spec = {"source": target.big + big_path(size, seed), "kind": "checkpoint", "sha256": sha256}
    found = run_module("model_files", **target.arguments, models=[spec], cache_dir=str(tmp_path / "cache"))
    if kind == "symlink":  # counts as damage
        assert not found["failed"] and not cached.is_symlink()
    else:
        assert found["failed"] and f"is a {kind}" in found["msg"]


# --- a damaged state file


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, "\0" * 100, '{"models/x": 1}'])
def test_a_damaged_record_is_recreated(target, run_module, text):
    target.path(".sdops").mkdir()
    target.path(".sdops/models.json").write_text(text)
    found = run_module("model_files", **target.arguments, models=[NAMED])
    assert [m["status"] for m in found["models"]] == ["fetched"], found.get("msg")
    assert run_module("model_files", **target.arguments, models=[NAMED])["changed"] is False

"""huggingface_download and civitai_download: one file to any path."""

from __future__ import annotations

import hashlib
import os

import pytest

HUB = {"repo": "lab-fakes/tiny-vae", "file": "vae-ft-mse-840000-ema-pruned.safetensors"}


def endpoints(target) -> dict:
    return {k: v for k, v in target.arguments.items() if k != "webui_dir"}


def test_hub_file(target, tmp_path, four_times):
    dest = tmp_path / "vae.safetensors"
    planned, applied = four_times("huggingface_download", **HUB, dest=str(dest), **endpoints(target))
    assert planned["sha256"] == applied["sha256"] == hashlib.sha256(dest.read_bytes()).hexdigest()
    assert len(applied["revision"]) == 40
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_hub_small_file_by_git_hash_into_a_directory(target, tmp_path, four_times):
    spec = {**HUB, "file": "README.md"}
    _, applied = four_times("huggingface_download", **spec, dest=str(tmp_path), **endpoints(target))
    assert applied["path"] == str(tmp_path / "README.md")


def test_another_hash_than_the_sources_is_an_error(target, tmp_path, run_module):
    found = run_module("huggingface_download", **HUB, dest=str(tmp_path / "x"), sha256="0" * 64, **endpoints(target))
    assert found["failed"]
    assert "0000" in found["msg"]
    assert not (tmp_path / "x").exists()


def test_civitai_by_version_by_air_and_by_hash(target, tmp_path, four_times, run_module):
    first = tmp_path / "a.safetensors"
    _, applied = four_times("civitai_download", version_id=112969, dest=str(first), **endpoints(target))
    model = 0
    by_hash = run_module(
        "civitai_download", sha256=applied["sha256"], dest=str(tmp_path / "b.safetensors"), **endpoints(target)
    )
    assert (by_hash["failed"], by_hash["sha256"]) == (False, applied["sha256"])
    air = f"urn:air:sd1:lora:civitai:{model}@112969"
    by_air = run_module("civitai_download", air=air, dest=str(tmp_path / "c.safetensors"), **endpoints(target))
    assert (by_air["failed"], by_air["sha256"]) == (False, applied["sha256"])


def test_a_pickle_needs_permission(target, tmp_path, run_module):
    found = run_module("civitai_download", version_id=66043, dest=str(tmp_path / "x.pt"), **endpoints(target))
    assert found["failed"]
    assert "allow_pickle" in found["msg"]


@pytest.mark.parametrize("end", ["new/", "new/deeper/"])
def test_a_slash_at_the_end_means_a_directory(target, tmp_path, run_module, end):
    """Oracle: the file system."""
    arguments = {key: value for key, value in target.arguments.items() if key != "webui_dir"}
    spec = {"repo": "lab-fakes/tiny-sd15", "file": "v1-5-pruned-emaonly.safetensors", "dest": f"{tmp_path}/{end}"}
    found = run_module("huggingface_download", **spec, **arguments)
    assert found["path"] == f"{tmp_path}/{end}v1-5-pruned-emaonly.safetensors", found.get("msg")
    assert os.path.isfile(found["path"])
    assert run_module("huggingface_download", **spec, **arguments)["changed"] is False


def test_without_an_extension_the_source_determines_the_format(target, tmp_path, serve, run_module):
    """Oracle: the bytes are no safetensors, whatever the file is to be called."""
    body = b"\xff" * 1000

    def answer(path, headers):
        metadata = {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": "c" * 40}
        return 200, metadata, body

    url, _ = serve(answer)
    arguments = {**target.arguments, "huggingface_endpoint": url}
    del arguments["webui_dir"]
    found = run_module(
        "huggingface_download", repo="o/r", file="a.safetensors", dest=str(tmp_path / "plain"), **arguments
    )
    assert found["failed"] and not (tmp_path / "plain").exists()


@pytest.mark.parametrize("own", [b"mine", b"PK\x05\x06" + bytes(18), "longer", "begins like it"])
def test_a_file_of_the_users_stays_unless_forced(target, tmp_path, run_module, own):
    """Oracle: the bytes themselves."""
    dest = tmp_path / "vae.safetensors"
    spec = {**HUB, "dest": str(dest), **endpoints(target)}
    run_module("huggingface_download", **spec)
    good = dest.read_bytes()
    own = {"longer": good + b"x", "begins like it": good[:70_000] + b"\xff" * 9}.get(own, own)
    dest.write_bytes(own)
    for check in (True, False):
        found = run_module("huggingface_download", check=check, **spec)
        assert dest.read_bytes() == own
    assert found["failed"] and "It stays" in found["msg"] and "force" in found["msg"]
    assert run_module("huggingface_download", check=True, **spec, force=True)["changed"] is True
    assert dest.read_bytes() == own
    assert run_module("huggingface_download", **spec, force=True)["changed"] is True
    assert dest.read_bytes() == good
    assert run_module("huggingface_download", **spec, force=True)["changed"] is False


@pytest.mark.parametrize(
    "theirs", [b"", b"<html>log in</html>", b"version https://git-lfs.github.com/spec/v1\n", "cut"]
)
def test_what_is_provably_no_file_is_replaced(target, tmp_path, run_module, theirs):
    dest = tmp_path / "vae.safetensors"
    spec = {**HUB, "dest": str(dest), **endpoints(target)}
    run_module("huggingface_download", **spec)
    good = dest.read_bytes()
    dest.write_bytes(good[:-1] if theirs == "cut" else theirs)
    found = run_module("huggingface_download", **spec)
    assert (found["failed"], found["changed"]) == (False, True), found.get("msg")
    assert dest.read_bytes() == good


@pytest.mark.parametrize(
    ("name", "mine"),
    [
        ("README.md", b"<header>my own notes</header>"),
        ("App.vue", b"<script setup>mine"),
        ("notes.xhtml", b"<!DOCTYPE html><p>mine"),
        ("notes.txt", b"<html>mine"),
        ("vae.safetensors", b"<bodyguard lora notes"),
        ("vae.safetensors", b"<headline>mine"),
        ("vae.safetensors", b"version https://git-lfs is my note"),
    ],
)
def test_what_only_begins_like_a_page_or_a_pointer_stays(target, tmp_path, run_module, name, mine):
    dest = tmp_path / name
    dest.write_bytes(mine)
    spec = HUB if name == "vae.safetensors" else {**HUB, "file": "README.md"}
    found = run_module("huggingface_download", **spec, dest=str(dest), **endpoints(target))
    assert found["failed"] and "It stays" in found["msg"]
    assert dest.read_bytes() == mine


def test_a_page_of_the_users_is_no_damage_where_a_page_is_wanted(target, tmp_path, serve, run_module):
    body = b"<html>theirs</html>"
    url, _ = serve(lambda *_: (200, {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": "c" * 40}, body))
    dest = tmp_path / "index.html"
    dest.write_bytes(b"<html>mine</html>")
    found = run_module(
        "huggingface_download",
        repo="o/r",
        file="index.html",
        dest=str(dest),
        **{**endpoints(target), "huggingface_endpoint": url},
    )
    assert "It stays" in found["msg"]
    assert dest.read_bytes() == b"<html>mine</html>"


OTHER = {"repo": "lab-fakes/tiny-sd15", "file": "v1-5-pruned-emaonly.safetensors"}


def test_with_a_state_file_managed_files_follow_the_request_and_others_stay(target, tmp_path, run_module):
    """As the role extensions has it, when the revision or the file of a later version is another one."""
    dest, state = tmp_path / "model.safetensors", tmp_path / "state/files.json"
    spec = {"dest": str(dest), "state_file": str(state), **endpoints(target)}
    assert run_module("huggingface_download", check=True, **HUB, **spec)["changed"] is True
    assert not state.exists()
    for expected in (True, False):
        found = run_module("huggingface_download", **HUB, **spec)
        assert found["changed"] is expected, found.get("msg")
    first = dest.read_bytes()
    noted = state.read_bytes()
    assert run_module("huggingface_download", check=True, **OTHER, **spec)["changed"] is True
    assert (dest.read_bytes(), state.read_bytes()) == (first, noted)
    for expected in (True, False):
        found = run_module("huggingface_download", **OTHER, **spec)
        assert found["changed"] is expected, found.get("msg")
        assert hashlib.sha256(dest.read_bytes()).hexdigest() == found["sha256"]
    assert dest.read_bytes() != first
    # somebody puts another file there
    dest.write_bytes(b"mine")
    for check in (True, False):
        found = run_module("huggingface_download", check=check, **OTHER, **spec)
        assert found["failed"] and "was changed since it was placed" in found["msg"] and "It stays" in found["msg"]
        assert dest.read_bytes() == b"mine"


@pytest.mark.parametrize("damage", [b"", b"[]", b"{", b'{"a": 1}', None])
def test_where_the_state_is_lost_nothing_is_taken_for_managed(target, tmp_path, run_module, damage):
    dest, state = tmp_path / "model.safetensors", tmp_path / "files.json"
    spec = {"dest": str(dest), "state_file": str(state), **endpoints(target)}
    run_module("huggingface_download", **HUB, **spec)
    before = dest.read_bytes()
    if damage is None:
        state.unlink()
    else:
        state.write_bytes(damage)
    found = run_module("huggingface_download", **OTHER, **spec)
    assert found["failed"] and "not placed by us" in found["msg"], found
    assert dest.read_bytes() == before
    assert run_module("huggingface_download", **HUB, **spec)["changed"] is False
    assert run_module("huggingface_download", **OTHER, **spec)["changed"] is True

"""Wheels in a shared directory: found when they fit, never when they are damaged."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
import zipfile
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.errors import SdopsError
from ansible_collections.sdops.webui.plugins.module_utils.wheel_cache import BuildKey, Cache
from helpers.wheels import wheel

BUILD_KEY = BuildKey("xformers", "0.0.23.post1", "2.1.2", "12.1", "cp310", "linux_x86_64", ("8.6",))


@pytest.fixture
def cache(tmp_path) -> Cache:
    return Cache(str(tmp_path / "cache"))


@pytest.fixture
def built(tmp_path) -> str:
    return str(wheel(tmp_path / "built", "xformers", "0.0.23.post1"))


def test_wheel_is_found_for_every_matching_build_key(cache, built):
    assert cache.find(BUILD_KEY) is None
    entry = cache.publish(built, BUILD_KEY._replace(capabilities=("8.0", "8.6")))
    assert Path(entry.path).read_bytes() == Path(built).read_bytes()
    for capabilities in (("8.6",), ("8.0",), ("8.0", "8.6"), ()):
        assert Cache(cache.directory).find(BUILD_KEY._replace(capabilities=capabilities)) == entry
    assert [p.name for p in Path(cache.directory).iterdir()] == [Path(entry.path).parent.name]


@pytest.mark.parametrize(
    "other",
    [
        {"version": "0.0.22"},
        {"torch": "2.1.1"},
        {"cuda": "11.8"},
        {"cuda": None},
        {"python": "cp311"},
        {"platform": "linux_aarch64"},
        {"capabilities": ("8.9",)},
        {"capabilities": ("8.6", "8.9")},
    ],
)
def test_wheel_is_not_found_for_another_build_key(cache, built, other):
    cache.publish(built, BUILD_KEY)
    assert cache.find(BUILD_KEY._replace(**other)) is None
    assert cache.trouble == []


def damage_wheel(folder: Path) -> None:
    [path] = folder.glob("*.whl")
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def other_wheel(folder: Path) -> None:
    [path] = folder.glob("*.whl")
    path.unlink()
    other = wheel(folder, "somebody-else", "1.0")
    facts = json.loads((folder / "wheel.json").read_text())

    facts.update(wheel=other.name, sha256=hashlib.sha256(other.read_bytes()).hexdigest())
    (folder / "wheel.json").write_text(json.dumps(facts))


def outside(folder: Path) -> None:
    facts = json.loads((folder / "wheel.json").read_text())
    (folder / "wheel.json").write_text(json.dumps({**facts, "wheel": "../../elsewhere.whl"}))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (damage_wheel, "SHA-256"),
        (other_wheel, "it is somebody-else 1.0"),
        (outside, "elsewhere"),
        (lambda folder: next(folder.glob("*.whl")).unlink(), "No such file"),
        (lambda folder: (folder / "wheel.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "wheel.json").write_text("[]"), "cannot be read"),
    ],
)
def test_a_damaged_entry_is_passed_over_named_and_replaced(cache, built, harm, message):
    folder = Path(cache.publish(built, BUILD_KEY).path).parent
    harm(folder)
    assert cache.find(BUILD_KEY) is None
    [trouble] = cache.trouble
    assert message in trouble and str(folder) in trouble
    entry = cache.publish(built, BUILD_KEY)
    assert Cache(cache.directory).find(BUILD_KEY) == entry


def test_half_an_entry_is_none(cache, built):
    folder = Path(cache.publish(built, BUILD_KEY).path).parent
    (folder / "wheel.json").unlink()
    assert cache.find(BUILD_KEY) is None and cache.trouble == []


def test_publish_rejects_a_wheel_whose_metadata_differs(cache, built, tmp_path):
    with pytest.raises(SdopsError, match=r"made xformers 0\.0\.23\.post1, but xformers 0\.0\.22"):
        cache.publish(built, BUILD_KEY._replace(version="0.0.22"))
    (tmp_path / "no.whl").write_text("no")
    with pytest.raises(SdopsError, match="is no wheel"):
        cache.publish(str(tmp_path / "no.whl"), BUILD_KEY)
    labelled = wheel(tmp_path / "built", "xformers", "0.0.23.post1+1a2b3c4.d20240101")
    assert cache.publish(str(labelled), BUILD_KEY).sha256
    assert list(Path(cache.directory).glob(".incoming*")) == []


def test_one_after_the_other(cache):
    order = []

    def second() -> None:
        with Cache(cache.directory).lock(BUILD_KEY):
            order.append("second")

    with cache.lock(BUILD_KEY):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


# --- what another host may do to a shared cache; oracle: hashlib on the bytes that lie there


def replace(folder: Path, built: str) -> str:
    """As another host would: a wheel of the same name and metadata, and the hash beside it. Returns its hash."""
    [path] = folder.glob("*.whl")
    # members with their dates: by name they would get the time of day, and the wheel another hash each time
    with zipfile.ZipFile(built) as source, zipfile.ZipFile(path, "w") as bundle:
        for member in source.infolist():
            bundle.writestr(member, source.read(member))
        bundle.writestr(zipfile.ZipInfo("xformers/evil.py"), "import os\n")
    facts = json.loads((folder / "wheel.json").read_text())
    facts["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "wheel.json").write_text(json.dumps(facts))
    return facts["sha256"]


@pytest.mark.parametrize("first", ["built here", "taken from another host"])
def test_a_wheel_that_was_replaced_with_its_hash_is_rejected(cache, built, tmp_path, first):
    state = str(tmp_path / "state" / "wheels.json")
    own = Cache(cache.directory, state)
    entry = (own if first == "built here" else cache).publish(built, BUILD_KEY)
    assert own.find(BUILD_KEY) == entry
    new = replace(Path(entry.path).parent, built)
    assert cache.find(BUILD_KEY).sha256 == new  # without a state file nothing tells
    for _ in range(2):
        with pytest.raises(SdopsError, match=entry.sha256) as caught:
            Cache(cache.directory, state).find(BUILD_KEY)
        assert new in str(caught.value) and state in str(caught.value)
    # the way on: built again here, and that is what counts from then on
    shutil.rmtree(Path(entry.path).parent)
    repeated = own.publish(built, BUILD_KEY)
    assert Cache(cache.directory, state).find(BUILD_KEY) == repeated
    replace(Path(entry.path).parent, built)
    (tmp_path / "state" / "wheels.json").unlink()
    assert Cache(cache.directory, state).find(BUILD_KEY).sha256 == new


def test_the_same_cache_by_another_path_is_the_same(cache, built, tmp_path):
    state = str(tmp_path / "wheels.json")
    entry = Cache(cache.directory, state).publish(built, BUILD_KEY)
    (tmp_path / "link").symlink_to(cache.directory)
    replace(Path(entry.path).parent, built)
    with pytest.raises(SdopsError, match=entry.sha256):
        Cache(str(tmp_path / "link"), state).find(BUILD_KEY)


def test_check_mode_compares_and_records_nothing(cache, built, tmp_path):
    state = tmp_path / "wheels.json"
    entry = cache.publish(built, BUILD_KEY)
    assert Cache(cache.directory, str(state), read_only=True).find(BUILD_KEY) == entry
    assert not state.exists()


@pytest.mark.parametrize("text", ["{", "[]", "[" * 200_000])
def test_a_damaged_state_file_counts_as_none(cache, built, tmp_path, text):
    state = tmp_path / "wheels.json"
    state.write_text(text)
    entry = cache.publish(built, BUILD_KEY)
    assert Cache(cache.directory, str(state)).find(BUILD_KEY) == entry
    assert list(json.loads(state.read_text()).values()) == [entry.sha256]


@pytest.mark.parametrize("what", ["wheel", "facts", "folder"])
def test_a_link_in_the_cache_is_not_followed(cache, built, tmp_path, what):
    folder = Path(cache.publish(built, BUILD_KEY).path).parent
    [path] = {"wheel": folder.glob("*.whl"), "facts": [folder / "wheel.json"], "folder": [folder]}[what]
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert cache.find(BUILD_KEY) is None
    assert "symbolic link" in cache.trouble[0]


@pytest.mark.parametrize("what", ["wheel", "facts"])
def test_a_fifo_in_the_cache_is_passed_over(cache, built, what):
    folder = Path(cache.publish(built, BUILD_KEY).path).parent
    [path] = {"wheel": folder.glob("*.whl"), "facts": [folder / "wheel.json"]}[what]
    path.unlink()
    os.mkfifo(path)
    assert cache.find(BUILD_KEY) is None
    assert "FIFO" in cache.trouble[0]

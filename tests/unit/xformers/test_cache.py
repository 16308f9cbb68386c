"""Wheels in a shared directory: found when they fit, never when they are damaged."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.errors import SdopsError
from ansible_collections.sdops.webui.plugins.module_utils.xformers.cache import Cache, Fit
from wheels import wheel

FIT = Fit("xformers", "0.0.23.post1", "2.1.2", "12.1", "cp310", "linux_x86_64", ("8.6",))


@pytest.fixture
def cache(tmp_path) -> Cache:
    return Cache(str(tmp_path / "cache"))


@pytest.fixture
def built(tmp_path) -> str:
    return str(wheel(tmp_path / "built", "xformers", "0.0.23.post1"))


def test_what_was_put_in_is_found_by_everybody_whom_it_fits(cache, built):
    assert cache.find(FIT) is None
    entry = cache.publish(built, FIT._replace(archs=("8.0", "8.6")))
    assert Path(entry.path).read_bytes() == Path(built).read_bytes()
    for archs in (("8.6",), ("8.0",), ("8.0", "8.6"), ()):
        assert Cache(cache.directory).find(FIT._replace(archs=archs)) == entry
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
        {"archs": ("8.9",)},
        {"archs": ("8.6", "8.9")},
    ],
)
def test_what_does_not_fit_is_not_found(cache, built, other):
    cache.publish(built, FIT)
    assert cache.find(FIT._replace(**other)) is None
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
    ("harm", "says"),
    [
        (damage_wheel, "SHA-256"),
        (other_wheel, "it is somebody-else 1.0"),
        (outside, "elsewhere"),
        (lambda folder: next(folder.glob("*.whl")).unlink(), "No such file"),
        (lambda folder: (folder / "wheel.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "wheel.json").write_text("[]"), "cannot be read"),
    ],
)
def test_a_damaged_entry_is_passed_over_named_and_replaced(cache, built, harm, says):
    folder = Path(cache.publish(built, FIT).path).parent
    harm(folder)
    assert cache.find(FIT) is None
    [trouble] = cache.trouble
    assert says in trouble and str(folder) in trouble
    entry = cache.publish(built, FIT)
    assert Cache(cache.directory).find(FIT) == entry


def test_half_an_entry_is_none(cache, built):
    folder = Path(cache.publish(built, FIT).path).parent
    (folder / "wheel.json").unlink()
    assert cache.find(FIT) is None and cache.trouble == []


def test_only_what_it_says_goes_in(cache, built, tmp_path):
    with pytest.raises(SdopsError, match=r"made xformers 0\.0\.23\.post1, but xformers 0\.0\.22"):
        cache.publish(built, FIT._replace(version="0.0.22"))
    (tmp_path / "no.whl").write_text("no")
    with pytest.raises(SdopsError, match="is no wheel"):
        cache.publish(str(tmp_path / "no.whl"), FIT)
    labelled = wheel(tmp_path / "built", "xformers", "0.0.23.post1+1a2b3c4.d20240101")
    assert cache.publish(str(labelled), FIT).sha256
    assert list(Path(cache.directory).glob(".incoming*")) == []


def test_one_after_the_other(cache):
    order = []

    def second() -> None:
        with Cache(cache.directory).lock(FIT):
            order.append("second")

    with cache.lock(FIT):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]

"""Trees that are saved, changed as pip changes them, and restored."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.errors import SnapshotError
from ansible_collections.sdops.webui.plugins.module_utils.snapshot import Snapshot


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "env"
    (top / "lib").mkdir(parents=True)
    (top / "lib" / "torch.py").write_text("2.1.2\n")
    (top / "bin").mkdir()
    (top / "bin" / "python").symlink_to("/usr/bin/python3")
    (top / "lib" / "torch.py").chmod(0o640)
    return top


def replace(path: Path, text: str) -> None:
    """As package installers do it: a new file under the old name."""
    path.unlink(missing_ok=True)
    path.write_text(text)


def upgrade(tree: Path) -> None:
    replace(tree / "lib" / "torch.py", "2.7.0\n")
    (tree / "lib" / "new.py").write_text("new\n")
    (tree / "bin" / "python").unlink()


def as_it_was(tree: Path) -> None:
    assert sorted(p.name for p in (tree / "lib").iterdir()) == ["torch.py"]
    assert (tree / "lib" / "torch.py").read_text() == "2.1.2\n"
    assert (tree / "lib" / "torch.py").stat().st_mode & 0o777 == 0o640
    assert os.readlink(tree / "bin" / "python") == "/usr/bin/python3"


def test_create_and_restore(run_module, four_times, tmp_path, tree):
    record, unborn = tmp_path / "installed.json", tmp_path / "extensions.json"
    record.write_text("1.10.1")
    record.chmod(0o600)
    store = tmp_path / "env.before"
    arguments = {"snapshot_dir": str(store), "trees": [str(tree)], "files": [str(record), str(unborn)]}
    planned, done = four_times("tree_snapshot", **arguments)
    assert done["actions"] == planned["actions"] == [f"save {tree}"]
    saved = store / "tree-0" / "lib" / "torch.py"
    assert (
        saved.stat().st_ino != (tree / "lib" / "torch.py").stat().st_ino
    )  # whoever writes into one leaves the other alone
    upgrade(tree)
    record.write_text("dev")
    unborn.write_text("{}")
    planned, done = four_times("tree_snapshot", snapshot_dir=str(store), state="restored")
    assert done["actions"] == [f"restore {tree}"]
    as_it_was(tree)
    assert record.read_text() == "1.10.1" and record.stat().st_mode & 0o777 == 0o600
    assert not unborn.exists()
    assert not store.exists()


def test_what_is_written_into_files_is_undone(tmp_path, tree):
    """An install.py that opens a file of an installed package and writes, in place of putting a new one there."""
    cache = tmp_path / "cache.py"  # uv links what it installs from its cache
    os.link(tree / "lib" / "torch.py", cache)
    with (tree / "lib" / "METADATA").open("w") as handle:
        handle.write("Version: 2.1.2")
    store = Snapshot(str(tmp_path / "s"))
    store.create([str(tree)], [])
    with (tree / "lib" / "METADATA").open("r+") as handle:
        handle.write("Version: 9.9.9")
    (tree / "lib" / "torch.py").write_text("evil\n")
    store.restore()
    assert (tree / "lib" / "METADATA").read_text() == "Version: 2.1.2"
    assert cache.read_text() == "2.1.2\n"
    assert (tree / "lib" / "torch.py").read_text() == "2.1.2\n"


def test_big_files_take_no_space_and_are_watched(tmp_path, tree):
    big = tree / "lib" / "libtorch.so"
    big.write_bytes(b"0" * (1 << 20))
    store = Snapshot(str(tmp_path / "s"))
    store.create([str(tree)], [])
    assert (tmp_path / "s/tree-0/lib/libtorch.so").stat().st_ino == big.stat().st_ino
    replace(tree / "lib" / "libtorch.so", "as pip does it")
    store.restore()
    assert big.stat().st_size == 1 << 20
    store.create([str(tree)], [])
    with big.open("r+b") as handle:
        handle.write(b"evil")
    (tree / "lib" / "new.py").write_text("x")
    with pytest.raises(SnapshotError, match=r"libtorch\.so was written into"):
        store.restore()
    assert not (tree / "lib" / "new.py").exists() and not (tmp_path / "s").exists()  # the rest is as it was


def test_the_next_snapshot_takes_over_what_has_not_changed(tmp_path, tree):
    store = Snapshot(str(tmp_path / "s"))
    store.create([str(tree)], [])
    saved = tmp_path / "s/tree-0/lib/torch.py"
    first = saved.stat().st_ino
    store.mark_obsolete()
    assert store.manifest() is None  # so a cut from here on puts nothing back
    (tree / "lib" / "new.py").write_text("n\n")
    (tree / "lib" / "new.py.sdops-copy").write_text("half")  # of a run that was cut
    store.create([str(tree)], [])
    assert not (tree / "lib" / "new.py.sdops-copy").exists()
    assert saved.stat().st_ino == first
    store.mark_obsolete()
    replace(tree / "lib" / "torch.py", "2.2.0\n")
    store.create([str(tree)], [])
    (tree / "lib" / "torch.py").write_text("evil\n")
    store.restore()
    assert (tree / "lib" / "torch.py").read_text() == "2.2.0\n" and (tree / "lib" / "new.py").read_text() == "n\n"


def test_discard(four_times, tmp_path, tree):
    four_times("tree_snapshot", snapshot_dir=str(tmp_path / "s"), trees=[str(tree)])
    upgrade(tree)
    four_times("tree_snapshot", snapshot_dir=str(tmp_path / "s"), state="absent")
    assert (tree / "lib" / "torch.py").read_text() == "2.7.0\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["env"]


@pytest.mark.parametrize("truncated", ["move", "write_atomic", "rmtree"])
def test_interrupted_while_restoring(monkeypatch, tmp_path, tree, truncated):
    from ansible_collections.sdops.webui.plugins.module_utils import snapshot as snapshot_module

    record = tmp_path / "installed.json"
    record.write_text("old")
    store = Snapshot(str(tmp_path / "s"))
    store.create([str(tree)], [str(record)])
    upgrade(tree)
    record.write_text("new")

    class Killed(BaseException):
        pass

    calls = []
    owner = snapshot_module if truncated == "write_atomic" else snapshot_module.shutil
    original = getattr(owner, truncated)

    def dies(*arguments, **more):
        calls.append(arguments)
        if len(calls) == (2 if truncated == "move" else 1):
            raise Killed
        return original(*arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(owner, truncated, dies)
        with pytest.raises(Killed):
            store.restore()
    if store.manifest():  # else only the clearing up was cut
        store.restore()
    as_it_was(tree)
    assert record.read_text() == "old"


def test_interrupted_snapshot_is_ignored(monkeypatch, tmp_path, tree):
    from ansible_collections.sdops.webui.plugins.module_utils import snapshot as snapshot_module

    store = Snapshot(str(tmp_path / "s"))

    class Killed(BaseException):
        pass

    def dies(*arguments):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(snapshot_module, "write_atomic", dies)
        with pytest.raises(Killed):
            store.create([str(tree)], [])
    assert store.manifest() is None
    with pytest.raises(SnapshotError, match="no snapshot"):
        store.restore()
    store.create([str(tree)], [])
    upgrade(tree)
    store.restore()
    as_it_was(tree)


def test_what_is_not_there_is_named(run_module, tmp_path):
    result = run_module("tree_snapshot", snapshot_dir=str(tmp_path / "s"), trees=[str(tmp_path / "nowhere")])
    assert result["failed"] and "nowhere" in result["msg"]
    assert run_module("tree_snapshot", snapshot_dir=str(tmp_path / "s"))["failed"]

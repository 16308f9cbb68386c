"""What lies where a regular file belongs is judged by the kernel's own answer: real FIFOs, sockets, devices, links.

Oracle: os.stat of CPython, that is the kernel, on real special files; json of CPython for what is nested too deeply.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import signal
import sys

import pytest
from ansible_collections.sdops.webui.plugins.module_utils import filesystem
from ansible_collections.sdops.webui.plugins.module_utils.errors import SdopsError
from helpers.paths import ROOT
from helpers.special_files import place

SPECIAL = ("FIFO", "socket", "directory", "character device", "symbolic link")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="device nodes need root")


@contextlib.contextmanager
def at_once(seconds: int = 20):
    def late(*_):
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_CREAT])
@pytest.mark.parametrize("follow", [True, False])
def test_nothing_but_a_regular_file_is_opened(tmp_path, kind, flags, follow):
    path = tmp_path / "state.json"
    place(kind, path)
    if follow and kind == "symbolic link":
        os.close(filesystem.open_regular(str(path), flags, follow=True))
        return
    words = "symbolic link" if kind == "character device" and not follow else kind
    with at_once(), pytest.raises(filesystem.FileTypeError, match=words):
        filesystem.open_regular(str(path), flags, follow=follow)


def test_a_regular_file_is_opened_and_a_missing_one_is_missing(tmp_path):
    path = tmp_path / "a"
    with pytest.raises(FileNotFoundError):
        filesystem.read_regular(str(path))
    path.write_bytes(b"12345")
    assert filesystem.read_regular(str(path), limit=5) == b"12345"
    with pytest.raises(ValueError, match="more than 4 bytes"):
        filesystem.read_regular(str(path), limit=4)
    assert filesystem.reject_irregular(str(tmp_path / "none")) is None
    assert filesystem.reject_irregular(str(path / "below")) is None


@pytest.mark.parametrize("kind", [k for k in SPECIAL if "link" not in k and "device" not in k])
def test_a_special_file_is_not_replaced(tmp_path, kind):
    path = tmp_path / "state.json"
    place(kind, path)
    before = os.lstat(path)
    with pytest.raises(filesystem.FileTypeError):
        filesystem.write_atomic(str(path), b"{}")
    assert os.lstat(path).st_ino == before.st_ino
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_link_is_replaced_and_not_written_through(tmp_path):
    path = tmp_path / "state.json"
    place("symbolic link", path)
    filesystem.write_atomic(str(path), b"new")
    assert (path.read_bytes(), path.with_name("elsewhere").read_text()) == (b"new", "{}")
    assert not path.is_symlink()


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, "[" * 200_000 + "]" * 200_000])
def test_what_is_nested_too_deeply_is_damaged(tmp_path, text):
    with pytest.raises(RecursionError):
        json.loads(text)
    for data in (text, text.encode()):
        with pytest.raises(ValueError, match="nested too deeply"):
            filesystem.parse_json(data)
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match="nested too deeply"):
        filesystem.load_json(str(tmp_path / "a.json"))


def test_special_file_error_names_its_type_and_the_remedy(tmp_path):
    os.mkfifo(tmp_path / "f")
    with pytest.raises(SdopsError, match=r"f is a FIFO where a regular file is expected; .* Remove it"):
        filesystem.load_json(str(tmp_path / "f"))


def unguarded(tree: ast.AST) -> list[int]:
    """Lines that parse JSON where a RecursionError would escape."""
    guarded = {
        call
        for node in ast.walk(tree)
        if isinstance(node, ast.Try)
        and any("RecursionError" in ast.dump(h.type) for h in node.handlers if h.type is not None)
        for statement in node.body
        for call in ast.walk(statement)
    }
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node in guarded:
            continue
        of_json = isinstance(node.func.value, ast.Name) and node.func.value.id == "json"
        if (of_json and node.func.attr in ("load", "loads")) or (node.func.attr == "json" and not node.args):
            found.append(node.lineno)
    return found


# (file, function or module level): JSON of our own making, handed over by the role that starts the script
OWN = {
    "roles/base/files/reject_removal.py",
    "roles/webui_service/files/launch_webui.py",
    "roles/webui_service/files/idle_shutdown.py",
    "plugins/module_utils/content_scan/safetensors.py",  # a single text between two quotes: it has no depth
}


def test_every_json_text_is_parsed_where_depth_is_bounded():
    """A new json.loads is a new place where a nested text ends in a traceback: parse_json and load_json are there for it."""
    found = {}
    for path in [*ROOT.glob("plugins/**/*.py"), *ROOT.glob("roles/*/files/*.py")]:
        name = str(path.relative_to(ROOT))
        lines = unguarded(ast.parse(path.read_text()))
        if lines and name not in OWN:
            found[name] = lines
    assert found == {}
    assert unguarded(ast.parse("json.loads(a)\nanswer.json()")) == [1, 2]


@needs_root
def test_a_device_node_is_rejected(tmp_path):
    try:
        os.mknod(tmp_path / "zero", 0o666 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("device nodes may not be made here")
    with at_once(), pytest.raises(filesystem.FileTypeError, match="character device"):
        filesystem.open_regular(str(tmp_path / "zero"))
    assert sys.getrecursionlimit() < 200_000

"""Entries of files. Oracles: ansible.builtin's own file, copy and blockinfile, run on the same inputs in another directory."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from helpers.module_process import run_module

MARKER = "# {mark} sdops.webui"
FILES = "ansible_collections.sdops.webui.plugins.modules.files"


def run_here(name: str, check: bool, **arguments: Any) -> dict[str, Any]:
    """Result of a module by its full Python name, in this process: there are hundreds of runs."""
    given = {"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_check_mode": check, "_ansible_diff": True}}
    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output), pytest.raises(SystemExit):
        patch.setattr(basic, "_ANSIBLE_ARGS", json.dumps(given).encode())
        patch.setattr(basic, "_ANSIBLE_PROFILE", "legacy")
        importlib.import_module(name).main()
    return {"failed": False, **json.loads(output.getvalue().strip().splitlines()[-1])}


def snapshot(base: Path) -> dict[str, tuple]:
    """Type, mode and content of all that lies below a directory."""
    found = {}
    for path in sorted(base.rglob("*")):
        status = path.lstat()
        content: Any = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        mode = 0 if path.is_symlink() else stat.S_IMODE(status.st_mode)
        found[str(path.relative_to(base))] = (stat.S_IFMT(status.st_mode), mode, content)
    return found


def make(base: Path, contents: dict[str, Any]) -> Path:
    """A directory with files (text), links (a tuple) and directories (None), each with a mode of its own where given."""
    base.mkdir()
    for name, content in contents.items():
        content, mode = content if isinstance(content, list) else (content, None)
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir()
        elif isinstance(content, tuple):
            path.symlink_to(*content)
        else:
            path.write_text(content)
        if mode is not None:
            path.chmod(mode)
    return base


# what is there; our entry; the module that is the oracle, with its arguments. {} is the directory
COPY: dict[str, Any] = {}  # src and dest are given by the test
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str, dict[str, Any]]] = {
    "new directory": ({}, {"path": "a", "state": "directory"}, "file", {"state": "directory"}),
    "new directories": (
        {},
        {"path": "a/b/c", "state": "directory", "mode": "0750"},
        "file",
        {"state": "directory", "mode": "0750"},
    ),
    "directory's mode": (
        {"a": [None, 0o755]},
        {"path": "a", "state": "directory", "mode": "0700"},
        "file",
        {"state": "directory", "mode": "0700"},
    ),
    "directory as it is": (
        {"a": [None, 0o711]},
        {"path": "a", "state": "directory"},
        "file",
        {"state": "directory"},
    ),
    "link to a directory": (
        {"b": [None, 0o755], "a": ("b",)},
        {"path": "a", "state": "directory", "mode": "0700"},
        "file",
        {"state": "directory", "mode": "0700", "follow": True},
    ),
    "file in the place of a directory": (
        {"a": "x"},
        {"path": "a", "state": "directory"},
        "file",
        {"state": "directory"},
    ),
    "new file": ({}, {"path": "a", "content": "x\n", "mode": "0640"}, "copy", {**COPY, "mode": "0640"}),
    "new file without a mode": ({}, {"path": "a", "content": "x\n"}, "copy", COPY),
    "same file": (
        {"a": ["x\n", 0o640]},
        {"path": "a", "content": "x\n", "mode": "0640"},
        "copy",
        {**COPY, "mode": "0640"},
    ),
    "other content": ({"a": ["y", 0o600]}, {"path": "a", "content": "x\n"}, "copy", COPY),
    "other mode": (
        {"a": ["x\n", 0o600]},
        {"path": "a", "content": "x\n", "mode": "644"},
        "copy",
        {**COPY, "mode": "644"},
    ),
    "link in the place of a file": (
        {"b": "b", "a": ("b",)},
        {"path": "a", "content": "x\n", "mode": "0644"},
        "copy",
        {**COPY, "mode": "0644"},
    ),
    "no directory for a file": ({}, {"path": "no/a", "content": "x\n"}, "copy", COPY),
    "accepted file": (
        {"a": "y"},
        {"path": "a", "content": "x\n", "validate": "grep -q x %s"},
        "copy",
        {**COPY, "validate": "grep -q x %s"},
    ),
    "rejected file": (
        {"a": "y"},
        {"path": "a", "content": "x\n", "validate": "grep -q z %s"},
        "copy",
        {**COPY, "validate": "grep -q z %s"},
    ),
    "mode of a file that is there": (
        {"a": ["secret", 0o644]},
        {"path": "a", "mode": "0600"},
        "file",
        {"mode": "0600", "state": "file"},
    ),
    "no file": ({}, {"path": "a", "mode": "0600"}, "file", {"mode": "0600", "state": "file"}),
    "new link": (
        {},
        {"path": "a", "state": "link", "target": "b"},
        "file",
        {"state": "link", "src": "b", "force": True},
    ),
    "other link": (
        {"b": "", "c": "", "a": ("c",)},
        {"path": "a", "state": "link", "target": "b"},
        "file",
        {"state": "link", "src": "b"},
    ),
    "same link": (
        {"b": "", "a": ("b",)},
        {"path": "a", "state": "link", "target": "b"},
        "file",
        {"state": "link", "src": "b"},
    ),
    "file in the place of a link": (
        {"a": "x", "b": ""},
        {"path": "a", "state": "link", "target": "b"},
        "file",
        {"state": "link", "src": "b"},
    ),
    "remove a file": ({"a": "x"}, {"path": "a", "state": "absent"}, "file", {"state": "absent"}),
    "remove a tree": ({"a/b/c": "x"}, {"path": "a", "state": "absent"}, "file", {"state": "absent"}),
    "remove a link": ({"b/c": "x", "a": ("b",)}, {"path": "a", "state": "absent"}, "file", {"state": "absent"}),
    "remove nothing": ({}, {"path": "a", "state": "absent"}, "file", {"state": "absent"}),
}
BLOCKS = ["", "one", "one\ntwo\n", "one\r\ntwo"]
OWN = "# BEGIN sdops.webui\nold\n# END sdops.webui\n"
AROUND = [
    None,
    "",
    "a\nb\n",
    "a\nb",
    "#!/bin/sh\nexit 0\n",
    "#!/bin/sh",
    OWN,
    "a\n" + OWN + "b\n",
    "a\n# END sdops.webui\nb\n# BEGIN sdops.webui\nc\n",
    "# BEGIN sdops.webui\na\n",
    OWN + OWN + "a\r\n",
]
for number, before in enumerate(AROUND):
    for block in BLOCKS:
        for insert in ("end", "start"):
            first = {"insertafter": "^#!"} if (before or "").startswith("#!") else {"insertbefore": "BOF"}
            CASES[f"block {number} {block!r} {insert}"] = (
                {} if before is None else {"a": [before, 0o640]},
                {"path": "a", "state": "block", "content": block, "marker": MARKER, "insert": insert},
                "blockinfile",
                {
                    "block": block,
                    "marker": MARKER,
                    "create": True,
                    **({} if block else {"state": "absent"}),
                    **({} if insert == "end" else first),
                },
            )
CASES["block behind a link"] = (
    {"b": ["x\n", 0o600], "a": ("b",)},
    {"path": "a", "state": "block", "content": "y", "marker": MARKER},
    "blockinfile",
    {"block": "y", "marker": MARKER},
)


@pytest.mark.parametrize("case", CASES)
def test_same_as_the_builtin_module(case: str, tmp_path: Path) -> None:
    contents, entry, builtin, arguments = CASES[case]
    own, other = (make(tmp_path / name, contents) for name in ("own", "other"))
    source = tmp_path / "source"
    given = {**arguments, "dest" if builtin == "copy" else "path": str(other / entry["path"])}
    if builtin == "copy":
        given["src"] = str(source)
    for _ in range(2):
        before = snapshot(own)
        planned = run_here(FILES, True, entries=[{**entry, "path": str(own / entry["path"])}])
        assert snapshot(own) == before
        source.write_text(entry.get("content") or "")  # which copy moves
        # the plan of a copy is the action's and not the module's
        plan = None if builtin == "copy" else run_here(f"ansible.modules.{builtin}", True, **given)
        oracle = run_here(f"ansible.modules.{builtin}", False, **given)
        result = run_here(FILES, False, entries=[{**entry, "path": str(own / entry["path"])}])
        assert result["failed"] == oracle["failed"], oracle.get("msg") or result
        assert snapshot(own) == snapshot(other)
        if result["failed"]:
            assert str(own) in result["msg"]
            continue
        assert result["changed"] == oracle["changed"] == planned["changed"] == bool(result["actions"]), (result, oracle)
        assert plan is None or plan["changed"] == planned["changed"]
        assert result["actions"] == planned["actions"] and result["entries"] == planned["entries"]


def test_plan_and_diff_of_several_entries(tmp_path: Path) -> None:
    """check -> apply -> check -> apply; a plan goes on where an earlier entry would have made the directory."""
    hook = tmp_path / "hook"
    hook.write_text("#!/bin/sh\nexit 0\n")
    hook.chmod(0o700)
    entries = [
        {"path": f"{tmp_path}/dir/log", "state": "directory", "mode": "0700"},
        {"path": f"{tmp_path}/dir/log/a.json", "content": "{}\n", "mode": "0600"},
        {
            "path": str(hook),
            "state": "block",
            "content": "x",
            "marker": MARKER,
            "insert": "start",
            "create_mode": "0755",
        },
        {"path": f"{tmp_path}/current", "state": "link", "target": "dir"},
        {"path": f"{tmp_path}/gone", "state": "absent"},
    ]
    planned = run_module("files", check=True, entries=entries)
    assert [p.name for p in tmp_path.iterdir()] == ["hook"]
    applied = run_module("files", entries=entries)
    for result in (planned, applied):
        assert result["changed"] and not result["failed"]
        assert result["changed_paths"] == [entry["path"] for entry in entries[:4]]
        assert [each["changed"] for each in result["entries"]] == [True, True, True, True, False]
        texts = [(diff["before"], diff["after"]) for diff in result["diff"]]
        assert texts[1] == ("", "{}\n")
        assert texts[2] == ("#!/bin/sh\nexit 0\n", "#!/bin/sh\n# BEGIN sdops.webui\nx\n# END sdops.webui\nexit 0\n")
        assert all("content" not in entry for entry in result["invocation"]["module_args"]["entries"])
    assert planned["entries"] == applied["entries"]
    for check in (True, False):
        repeated = run_module("files", check=check, entries=entries)
        assert not repeated["changed"] and not repeated["actions"] and not repeated["diff"]
        assert [each["checksum"] for each in repeated["entries"]] == [each["checksum"] for each in applied["entries"]]
    assert stat.S_IMODE(hook.stat().st_mode) == 0o700


def test_brief_diff_tells_the_number_of_lines(tmp_path: Path) -> None:
    entry = {"path": f"{tmp_path}/program.py", "brief_diff": True}
    applied = run_module("files", entries=[{**entry, "content": "one\ntwo\n"}])
    assert [(diff["before"], diff["after"]) for diff in applied["diff"]] == [("", "2 lines\n")]
    changed = run_module("files", entries=[{**entry, "content": "three\n"}])
    assert [(diff["before"], diff["after"]) for diff in changed["diff"]] == [("2 lines\n", "1 lines\n")]
    assert (tmp_path / "program.py").read_text() == "three\n"


def test_failure_keeps_what_was_done_and_names_the_path(tmp_path: Path) -> None:
    entries = [
        {"path": f"{tmp_path}/a", "content": "a"},
        {"path": f"{tmp_path}/b", "content": "b", "validate": "sh -c 'echo wrong >&2; exit 3' %s"},
        {"path": f"{tmp_path}/c", "content": "c"},
    ]
    result = run_module("files", entries=entries)
    assert result["failed"] and f"{tmp_path}/b is left as it was" in result["msg"] and "wrong" in result["msg"]
    assert result["changed"] and result["changed_paths"] == [f"{tmp_path}/a"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_backup_of_a_replaced_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    run_module("files", entries=[{"path": str(path), "content": "new", "backup": True}])
    [saved] = [each for each in tmp_path.iterdir() if each != path]
    assert (path.read_text(), saved.read_text()) == ("new", "old") and saved.name.startswith("a.")


@pytest.mark.skipif(os.geteuid() != 0, reason="another owner needs root")
def test_owner_of_a_replaced_file_stays(tmp_path: Path) -> None:
    for state in ({"content": "x"}, {"state": "block", "content": "x", "marker": MARKER}):
        path = tmp_path / "a"
        path.write_text("old")
        path.chmod(0o4750)
        os.chown(path, 65534, 65534)
        path.chmod(0o4750)
        assert run_module("files", entries=[{"path": str(path), **state}])["changed"]
        found = path.stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (65534, 65534, 0o4750)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"path": "relative"}, "no absolute path"),
        ({"mode": 420}, "no octal number"),
        ({"mode": "u+x"}, "no octal number"),
        ({"state": "directory", "content": "x"}, "content belongs to the state file or block"),
        ({"state": "absent", "mode": "0644"}, "mode belongs to"),
        ({"state": "link"}, "needs target"),
        ({"state": "block", "content": "x"}, "needs marker"),
        ({"state": "block", "content": "x", "marker": "#"}, "{mark}"),
        ({"content": "x", "validate": "true"}, "needs %s"),
    ],
)
def test_wrong_entry_is_rejected_before_any_is_applied(entry: dict[str, Any], words: str, tmp_path: Path) -> None:
    entries = [{"path": f"{tmp_path}/first", "content": "x"}, {"path": f"{tmp_path}/a", **entry}]
    result = run_module("files", entries=entries)
    assert result["failed"] and words in result["msg"] and not list(tmp_path.iterdir())

"""What of a host's log a person sees. Oracle for the command: the shell, on real files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.errors import SdopsError
from ansible_collections.sdops.webui.plugins.plugin_utils.log_view import (
    MAX_CHUNK,
    START,
    LogPosition,
    LogView,
    find_secrets,
    parse_answer,
    read_command,
)


def read(path: Path, position: LogPosition = START, lines: int = 2) -> tuple[LogPosition, bytes] | None:
    # with what Ansible's shell plugin puts behind a command
    command = "echo banner\n" + read_command(str(path), position, lines) + " && sleep 0"
    done = subprocess.run(["sh", "-c", command], capture_output=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return parse_answer(done.stdout.decode())


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "it's a log"
    path.write_bytes(b"one\ntwo\nthree\n")
    return path


def test_last_lines_then_what_is_appended(log):
    position, data = read(log)
    assert data == b"two\nthree\n" and position == (str(log.stat().st_ino), 14)
    assert read(log, position) == (position, b"")
    with log.open("ab") as handle:
        handle.write(b"four\nhal\xff")
    position, data = read(log, position)
    assert (position.offset, data) == (23, b"four\nhal\xff")
    assert read(log, lines=1)[1] == b"hal\xff" and read(log, lines=99)[1] == log.read_bytes()


def test_log_that_is_renamed_because_it_is_full(log):
    position, _data = read(log)
    with log.open("ab") as handle:
        handle.write(b"last\n")
    log.rename(f"{log}.1")
    assert read(log, position) is None
    log.write_bytes(b"first of the new one\n")
    position, data = read(log, position)
    assert (position.offset, data) == (21, b"last\nfirst of the new one\n")
    log.write_bytes(b"x\n")  # emptied
    assert read(log, position) == ((position.inode, 2), b"x\n")


def test_what_is_no_log(tmp_path):
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    assert [read(tmp_path / name) for name in ("missing", "directory", "fifo")] == [None, None, None]


def test_large_parts_are_cut(log):
    log.write_bytes(b"x" * (MAX_CHUNK + 5) + b"\nend\n")
    assert len(read(log, lines=9)[1]) == MAX_CHUNK and read(log, lines=1)[1] == b"end\n"


@pytest.mark.parametrize(
    "text", ["", "sdops-log 1 2 YQ== ", "sdops-log 1 2 %% sdops-log-end", "sdops-log a b sdops-log-end"]
)
def test_answer_that_cannot_be_true(text):
    with pytest.raises(SdopsError, match="no part of a log"):
        parse_answer(text)


def test_lines_are_shown_when_they_are_complete():
    view = LogView()
    assert view.feed(b"one\ntw") == ["one"]
    assert view.feed("ö\nthree".encode()[:1]) == [] and view.feed("ö\nthree".encode()[1:]) == ["twö"]
    assert view.flush() == ["three"] and view.flush() == []


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b" 10%|#   | 2/20\r 95%|### | 19/20\r100%|####| 20/20\r", "100%|####| 20/20"),
        (b"\x1b[31mred\x1b[0m \x1b]0;title\x07text\x1b[2J", "red text"),
        (b"a\tb\x07\x00\xc2\x9b2J", "a b???2J"),
        ("a\u202eb\u2028c".encode(), "a?b c"),
        (b"GET https://user:hunter2@host/x?token=hunter2hunter2", "GET https://host/x?********"),
        (b"password hunter2hunter2 is it", "password ******** is it"),
        (b"x" * 3000, "x" * 2000 + " ..."),
    ],
)
def test_what_a_terminal_acts_upon_and_secrets_are_not_shown(line, shown):
    view = LogView(find_secrets(["hunter2hunter2"]))
    (seen,) = view.feed(line + b"\n")
    assert seen == shown


def test_secrets_are_found_in_values():
    link = "vless://11111111-2222-3333-4444-555555555555@xray.example.com?pbk=x"
    assert find_secrets([link, "short", None, 5, " token-of-somebody\n", "token-of-somebody", ""]) == [
        link,
        "11111111-2222-3333-4444-555555555555",
        "token-of-somebody",
    ]

"""Programs that print without end: what is kept of it is bounded."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from ansible_collections.sdops.webui.plugins.module_utils import process
from ansible_collections.sdops.webui.plugins.module_utils.errors import GitError
from ansible_collections.sdops.webui.plugins.module_utils.git.command import Git

MEASURE = """
import re, sys
sys.path.insert(0, {collections!r})
from ansible_collections.sdops.webui.plugins.module_utils import process
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) >> 10
before = peak()
try:
    done = process.run({argv!r}, timeout={timeout!r})
    print(done.rc, len(done.err), done.tail(1))
except process.ProcessError as exc:
    print(exc)
print(peak() - before)
"""


def measured(argv, timeout=60):
    """What ``process.run`` says in a process of its own, and by how many MiB that grew at its peak, as the kernel counts it."""
    collections = next(path for path in sys.path if os.path.isdir(os.path.join(path, "ansible_collections", "sdops")))
    script = MEASURE.format(collections=collections, argv=argv, timeout=timeout)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=100)
    *output, grown = done.stdout.splitlines()
    return "\n".join(output), int(grown)


def test_output_without_end_is_an_error_and_the_program_is_stopped():
    output, grown = measured(["sh", "-c", "yes 0123456789; exit 0"])
    assert output == "sh printed more than 64 MiB and was stopped. Run it by hand to see what it prints."
    assert grown < 200


def test_of_errors_without_end_the_last_are_preserved():
    loud = "head -c 300000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo the cause >&2; exit 3"
    output, grown = measured(["sh", "-c", loud])
    assert output == f"3 {process.MAX_STDERR} the cause"
    assert grown < 20


def test_the_time_limit_holds_while_output_never_pauses():
    begun = time.monotonic()
    with pytest.raises(process.ProcessError, match="did not end within 1 seconds"):
        process.run(["sh", "-c", "yes >&2"], timeout=1)
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("size", [0, 1, 5_000_000])
def test_input_and_output_are_those_of_subprocess(size):
    """The oracle is subprocess.run itself, for text that goes in and comes out at the same time."""
    text = ("line é\r\n" * (size // 8 + 1))[:size]
    theirs = subprocess.run(["cat"], input=text, capture_output=True, encoding="utf-8", errors="replace", check=True)
    own = process.run(["cat"], text_in=text)
    assert (own.rc, own.out) == (theirs.returncode, theirs.stdout)


def test_a_program_that_reads_nothing_of_its_input():
    assert process.run(["true"], text_in="x" * 1_000_000).rc == 0
    assert process.run(["sh", "-c", "exec <&-; sleep 0.2; echo done"], text_in="x" * 1_000_000).out == "done\n"


@pytest.fixture
def checkout(tmp_path):
    top = tmp_path / "repo"
    top.mkdir()
    (top / "large").write_bytes(bytes(70 << 20))
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "core.bigFileThreshold=1m"]
        subprocess.run(["git", *who, *words], cwd=top, check=True)
    return top


def test_a_huge_file_of_a_repository_is_not_read_into_memory(checkout):
    with Git([str(checkout)]) as git:
        with pytest.raises(GitError, match="HEAD:large in .* printed more than 64 MiB"):
            git.blob(str(checkout), "HEAD:large")
        assert git.blob(str(checkout), "HEAD:none") is None


def test_what_begins_like_a_file_of_a_commit(checkout, tmp_path):
    other = tmp_path / "other"
    with Git([str(checkout)]) as git:
        for content, expected in ((bytes(70 << 20), True), (b"", True), (bytes(5), True), (b"x", False)):
            other.write_bytes(content)
            with other.open("rb") as handle:
                assert git.begins_with(str(checkout), "HEAD:large", handle) is expected
        other.write_bytes(bytes((70 << 20) + 1))
        with other.open("rb") as handle:
            assert not git.begins_with(str(checkout), "HEAD:large", handle)
        other.write_bytes(b"")
        with other.open("rb") as handle:
            assert not git.begins_with(str(checkout), "HEAD:none", handle)

"""The engine against servers that behave badly, each in one way."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import re
import shutil
import threading
import time

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.errors import TransferError
from ansible_collections.sdops.webui.plugins.module_utils.transfer import disk_space, download, download_state, segments
from ansible_collections.sdops.webui.plugins.module_utils.transfer.download import Downloader
from ansible_collections.sdops.webui.plugins.module_utils.transfer.http import HttpClient
from ansible_collections.sdops.webui.plugins.module_utils.transfer.partial import PartialFile
from ansible_collections.sdops.webui.plugins.module_utils.transfer.remote_file import RemoteFile, read_version

CONTENT = hashlib.shake_256(b"sdops").digest(9_000_001)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(download_state, "backoff", lambda attempt, wait=None: 0.01)


def ranged(headers, content=CONTENT, etag=None):
    """An answer as a good server gives it."""
    more = {"ETag": etag} if etag else {}
    range_match = re.match(r"bytes=(\d+)-(\d*)", headers.get("Range") or "")
    if not range_match:
        return 200, more, content
    first = int(range_match[1])
    last = min(int(range_match[2] or len(content)), len(content) - 1)
    if first >= len(content):
        return 416, {"Content-Range": f"bytes */{len(content)}"}, b""
    span = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
    return 206, {**more, **span}, content[first : last + 1]


@pytest.fixture
def fetch(tmp_path):
    def run(url, connections=4, retries=3, **fields):
        remote = RemoteFile(url, "m.bin", **{"size": len(CONTENT), "sha256": SHA256, **fields})
        http = HttpClient(timeout=2, retries=retries, sleep=lambda seconds: None)
        dest = str(tmp_path / "m.bin")
        got = Downloader(http, connections).download(remote, dest)
        assert (tmp_path / ".m.bin.part").read_bytes() == CONTENT
        got.partial.publish(dest)
        assert sorted(os.listdir(tmp_path)) == ["m.bin"]
        assert got.sha256 == SHA256
        return got

    return run


def test_several_connections_no_byte_twice(serve, fetch):
    here, seen = serve(lambda path, headers: ranged(headers))
    got = fetch(here + "/m.bin")
    assert got.received == len(CONTENT)
    assert len(seen) > 4


@pytest.mark.parametrize("fields", [{}, {"size": None}, {"size": None, "sha256": None}, {"sha256": None}])
def test_ranges_ignored(serve, fetch, fields):
    here, seen = serve(lambda path, headers: (200, {}, CONTENT))
    got = fetch(here + "/m.bin", **fields)
    assert len(seen) == 1
    assert got.received == len(CONTENT)


@pytest.mark.parametrize("fields", [{}, {"size": None}])
def test_no_length_and_no_ranges(serve, fetch, fields):
    def answer(path, headers):
        return (
            200,
            {"Content-Length": None, "Transfer-Encoding": "chunked"},
            b"%x\r\n%b\r\n0\r\n\r\n"
            % (
                len(CONTENT),
                CONTENT,
            ),
        )

    here, _ = serve(answer)
    fetch(here + "/m.bin", **fields)


def test_ranges_ignored_from_some_moment_on(serve, fetch):
    count = iter(range(1000))

    def answer(path, headers):
        return ranged(headers) if next(count) < 3 else (200, {}, CONTENT)

    here, _ = serve(answer)
    fetch(here + "/m.bin")


@pytest.mark.parametrize("span", ["bytes 5-99/9000001", "bytes 0-99/*", "nonsense", ""])
def test_wrong_content_range_falls_back_to_one_stream(serve, fetch, span):
    def answer(path, headers):
        return (206, {"Content-Range": span}, CONTENT[:100]) if headers.get("Range") else (200, {}, CONTENT)

    here, _ = serve(answer)
    fetch(here + "/m.bin")


def test_every_connection_breaks_often(serve, fetch):
    count = iter(range(100000))

    def answer(path, headers):
        status, more, body = ranged(headers)
        if next(count) % 3 == 0:
            return status, {"Content-Length": str(len(body))}, body[: len(body) // 2]
        return status, more, body

    def truncated(path, headers):
        status, more, body = ranged(headers)
        if next(count) % 3:
            return status, {**more, "Content-Length": str(len(body)), "Connection": "close"}, body[: len(body) // 2]
        return status, more, body

    here, _ = serve(truncated)
    got = fetch(here + "/m.bin")
    assert got.received == len(CONTENT)


def test_a_dead_line_ends_with_its_cause_and_keeps_what_came(serve, fetch, tmp_path):
    alive = iter(range(1000))

    def answer(path, headers):
        if next(alive) < 4:
            return ranged(headers)
        return 503, {}, b"out of order"

    here, _ = serve(answer)
    with pytest.raises(TransferError, match="503.*out of order"):
        fetch(here + "/m.bin?X-Amz-Signature=deadbeef", connections=2)
    there = PartialFile(
        str(tmp_path / "m.bin"), RemoteFile("x", "m.bin", size=len(CONTENT), sha256=SHA256)
    ).resumable_bytes()
    assert there > 2_000_000
    here, _ = serve(lambda path, headers: ranged(headers))
    assert fetch(here + "/m.bin").received == len(CONTENT) - there


def test_a_server_that_allows_two_connections(serve, fetch):
    busy = threading.Semaphore(2)

    def answer(path, headers):
        if not busy.acquire(blocking=False):
            return 429, {}, b"too many connections"
        try:
            time.sleep(0.02)
            return ranged(headers)
        finally:
            busy.release()

    here, seen = serve(answer)
    fetch(here + "/m.bin", connections=8)
    assert len(seen) < 100


def links(good_for):
    """A source that redirects to links which are good for so many requests each; (answer, links given)."""
    given = []

    def answer(path, headers):
        if path == "/m.bin":
            given.append([good_for])
            return 302, {"Location": f"/signed/{len(given)}?X-Amz-Signature=deadbeef"}, b""
        left = given[int(path.split("/")[2].split("?")[0]) - 1]
        left[0] -= 1
        if left[0] < 0:
            return 403, {}, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
        return ranged(headers)

    return answer, given


def test_expired_links_are_requested_again(serve, fetch):
    answer, given = links(good_for=3)
    here, seen = serve(answer)
    got = fetch(here + "/m.bin")
    assert got.received == len(CONTENT)
    assert 1 < len(given) <= 12
    assert len(seen) < 60


def test_links_that_are_never_good_end_in_an_error_with_the_reason(serve, fetch):
    answer, given = links(good_for=0)
    here, seen = serve(answer)
    with pytest.raises(TransferError, match="403.*Request has expired") as caught:
        fetch(here + "/m.bin")
    assert "deadbeef" not in str(caught.value)
    assert len(given) <= 4


def test_a_login_page_is_no_model(serve, fetch):
    here, _ = serve(lambda path, headers: (200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>log in"))
    with pytest.raises(TransferError, match="web page"):
        fetch(here + "/m.bin")


@pytest.mark.parametrize("parts", [True, False])
def test_a_file_that_the_server_calls_a_page_is_taken(serve, fetch, parts):
    """PHP calls everything text/html."""
    kind = {"Content-Type": "text/html; charset=UTF-8"}

    def answer(path, headers):
        status, reported, body = ranged(headers) if parts else (200, {}, CONTENT)
        return status, {**reported, **kind}, body

    here, _ = serve(answer)
    assert fetch(here + "/m.bin").sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_another_size_than_promised(serve, fetch, tmp_path):
    here, _ = serve(lambda path, headers: ranged(headers, CONTENT[:-5]))
    with pytest.raises(TransferError, match="9000001 were promised"):
        fetch(here + "/m.bin")
    assert os.listdir(tmp_path) == []


def test_changed_in_the_middle(serve, fetch, tmp_path):
    count = iter(range(1000))
    here, _ = serve(lambda path, headers: ranged(headers, etag='"one"' if next(count) < 3 else '"two"'))
    with pytest.raises(TransferError, match="changed at its source"):
        fetch(here + "/m.bin", sha256=None, etag='"one"')
    assert os.listdir(tmp_path) == []


DATE = "Mon, 19 Oct 2026 07:28:00 GMT"


def nodes(reported):
    """Servers of one CDN that take turns; ``told``: the headers of each."""
    turns = itertools.cycle(reported)

    def answer(path, headers):
        status, more, body = ranged(headers)
        return status, {**more, **next(turns)}, body

    return answer


@pytest.mark.parametrize(
    "reported",
    [
        [{"ETag": '"1-abc"', "Last-Modified": DATE}, {"ETag": '"2-abc"', "Last-Modified": DATE}],
        [{"ETag": '"1"', "Last-Modified": DATE}, {"ETag": 'W/"2"', "Last-Modified": DATE}, {"Last-Modified": DATE}],
        [{"ETag": '"1"', "Last-Modified": DATE}, {"ETag": '"1"', "Last-Modified": "Tue, 20 Oct 2026 07:28:00 GMT"}],
        [{"ETag": '"1"', "Last-Modified": DATE}, {}],
    ],
)
def test_nodes_with_etags_of_their_own_and_one_date_are_one_source(serve, fetch, reported):
    here, _ = serve(nodes(reported))
    version = read_version(reported[0])
    fetch(here + "/m.bin", sha256=None, etag=version, version=version)


@pytest.mark.parametrize(
    "reported",
    [
        [{"ETag": '"1"'}, {"ETag": '"2"'}],
        [{"ETag": '"1"', "Last-Modified": DATE}, {"ETag": '"2"', "Last-Modified": DATE.replace("07:", "08:")}],
        [{"ETag": '"1"', "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT"}, {"ETag": '"2"', "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT"}],
        [{"Last-Modified": DATE}, {"Last-Modified": DATE.replace("07:", "08:")}],
    ],
)  # fmt: skip
def test_what_may_be_another_file_needs_a_hash(serve, fetch, tmp_path, reported):
    here, _ = serve(nodes(reported))
    with pytest.raises(TransferError, match="give its sha256"):
        fetch(here + "/m.bin", sha256=None)
    assert os.listdir(tmp_path) == []
    fetch(here + "/m.bin")  # with a hash it does not matter what they say


def test_a_resume_goes_on_at_another_node_with_the_same_date(serve, fetch, tmp_path):
    reported = [{"ETag": '"1"', "Last-Modified": DATE}, {"ETag": '"2"', "Last-Modified": DATE}]
    here, _ = serve(nodes(reported[1:]))
    partly(tmp_path, here, [(0, 5_000_000)], size=len(CONTENT), sha256=None, etag=read_version(reported[0]))
    got = fetch(here + "/m.bin", sha256=None, etag=read_version(reported[1]))
    assert got.received == len(CONTENT) - 5_000_000
    (tmp_path / "m.bin").unlink()
    later = read_version({"ETag": '"2"', "Last-Modified": DATE.replace("07:", "08:")})
    partly(tmp_path, here, [(0, 5_000_000)], size=len(CONTENT), sha256=None, etag=read_version(reported[0]))
    assert fetch(here + "/m.bin", sha256=None, etag=later).received == len(CONTENT)


def test_wrong_bytes_are_thrown_away(serve, fetch, tmp_path):
    here, _ = serve(lambda path, headers: ranged(headers, CONTENT[:-1] + b"?"))
    with pytest.raises(TransferError, match="thrown away: its SHA-256 is"):
        fetch(here + "/m.bin")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("fields", [{"size": 0}, {"size": None}])
@pytest.mark.parametrize("knows_ranges", [True, False])
def test_an_empty_file(serve, tmp_path, fields, knows_ranges):
    here, _ = serve(lambda path, headers: ranged(headers, b"") if knows_ranges else (200, {}, b""))
    got = Downloader(HttpClient(timeout=2, retries=1)).download(
        RemoteFile(here + "/e", "e", **fields), str(tmp_path / "e")
    )
    assert got.sha256 == hashlib.sha256(b"").hexdigest()


def test_a_full_disk_is_named_and_nothing_is_lost(serve, fetch, tmp_path, monkeypatch):
    written = []
    real = os.pwrite

    def pwrite(handle, data, at):
        if sum(written) > 3_000_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(real(handle, data, at))
        return written[-1]

    here, _ = serve(lambda path, headers: ranged(headers))
    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(TransferError, match="is full"):
        fetch(here + "/m.bin")
    monkeypatch.setattr(os, "pwrite", real)
    assert fetch(here + "/m.bin").received < len(CONTENT)


MIB = 1 << 20
UNTOLD = {"Content-Length": None, "Transfer-Encoding": "chunked", "Connection": "close"}


def endless(sent, headers=UNTOLD):
    """An answer whose body never ends; the bytes that the other side took are added to ``sent``."""
    zeros = bytes(MIB)

    def pieces():
        while True:
            yield b"%x\r\n%b\r\n" % (len(zeros), zeros) if headers is UNTOLD else zeros
            sent.append(len(zeros))

    return lambda path, range_match: (200, headers, pieces())


def limited_disk(monkeypatch, tmp_path, size):
    """Make the disk of ``tmp_path`` seem to have ``size`` bytes, less what lies there."""

    def usage(path):
        used = sum(os.path.getsize(tmp_path / name) for name in os.listdir(tmp_path))
        return shutil._ntuple_diskusage(size, used, max(size - used, 0))

    monkeypatch.setattr(shutil, "disk_usage", usage)


def test_a_stream_without_length_stops_at_the_reserve_and_leaves_nothing(serve, tmp_path, monkeypatch):
    """The oracle is a server that never ends; it counts what was taken from it."""
    sent = []
    here, _ = serve(endless(sent))
    limited_disk(monkeypatch, tmp_path, disk_space.DISK_RESERVE + 40 * MIB)
    with pytest.raises(TransferError) as failed:
        Downloader(HttpClient(timeout=10, retries=3)).download(
            RemoteFile(here + "/m.bin?token=x", "m.bin"), str(tmp_path / "m.bin")
        )
    for words in (here + "/m.bin does not report", f"the disk of {tmp_path} ", "Free space"):
        assert words in str(failed.value)
    assert "token" not in str(failed.value)
    assert os.listdir(tmp_path) == []
    assert 40 <= len(sent) < 80


def test_wrong_length_is_rejected_before_a_byte_is_written(serve, tmp_path, monkeypatch):
    sent = []
    here, _ = serve(endless(sent, {"Content-Length": str(10**15)}))
    limited_disk(monkeypatch, tmp_path, disk_space.DISK_RESERVE + 40 * MIB)
    with pytest.raises(TransferError, match=r"m\.bin: The disk of .* but 931322\.[0-9]+ GiB are needed\. Free space"):
        Downloader(HttpClient(timeout=10, retries=3)).download(
            RemoteFile(here + "/m.bin", "m.bin"), str(tmp_path / "m.bin")
        )
    assert os.listdir(tmp_path) == []
    assert len(sent) < 20


@pytest.mark.parametrize(
    "reported", [shutil._ntuple_diskusage(0, 0, 0), OSError(errno.ENOSYS, "Function not implemented")]
)
@pytest.mark.parametrize("length", [None, str(len(CONTENT))])
def test_unknown_free_space_stops_nothing(serve, fetch, monkeypatch, reported, length):
    def usage(path):
        if isinstance(reported, OSError):
            raise reported
        return reported

    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(CONTENT), CONTENT) if length is None else CONTENT
    here, _ = serve(lambda path, range_match: (200, {} if length else UNTOLD, body))
    monkeypatch.setattr(shutil, "disk_usage", usage)
    assert disk_space.free_bytes("/") is None
    fetch(here + "/m.bin", size=None)


def test_a_stream_without_length_that_fills_the_disk_leaves_nothing(serve, tmp_path, monkeypatch):
    """Where the free space is not told, the write that fails is what tells."""
    real = os.pwrite
    here, _ = serve(endless([]))
    monkeypatch.setattr(disk_space, "free_bytes", lambda path: None)

    def pwrite(handle, data, at):
        if at > 5 * MIB:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, data, at)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(TransferError, match="what had come was removed"):
        Downloader(HttpClient(timeout=10, retries=3)).download(
            RemoteFile(here + "/m.bin", "m.bin"), str(tmp_path / "m.bin")
        )
    assert os.listdir(tmp_path) == []


def test_a_stalled_connection_is_given_up(serve, fetch):
    stalled = threading.Event()
    count = iter(range(1000))

    def answer(path, headers):
        if next(count) == 2:
            stalled.wait(6)
        return ranged(headers)

    here, _ = serve(answer)
    started = time.monotonic()
    fetch(here + "/m.bin")
    assert time.monotonic() - started < 5
    stalled.set()


def test_an_internal_error_is_no_success(serve, fetch, monkeypatch):
    here, _ = serve(lambda path, headers: ranged(headers))
    monkeypatch.setattr(os, "preadv", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fetch(here + "/m.bin")


# --- servers of which each is another one, and answers that are out of place ------------------------------------------


@pytest.mark.parametrize("fields", [{}, {"size": None, "sha256": None}])
@pytest.mark.parametrize("span", [None, "bytes 0-4/*", "bytes 0-4/" + "9" * 5000, "bytes 0-\xb2/\xb2", "bytes 1-4/5"])
def test_a_server_that_knows_nothing_but_206_is_left(serve, fetch, span, fields):
    """Whatever is asked for: it gets no second thousand of requests, and a sentence is said."""
    here, seen = serve(lambda path, headers: (206, {"Content-Range": span}, b"hello"))
    with pytest.raises(TransferError, match="Take it from another address"):
        fetch(here, **fields)
    assert len(seen) < 20


@pytest.mark.parametrize("length", ["\xb2", "9" * 5000, "-1", "1_0"])
def test_a_length_that_is_no_number_counts_as_none(serve, tmp_path, length):
    here, _seen = serve(lambda path, headers: (200, {"Content-Length": length, "Connection": "close"}, [b"hello"]))
    got = None
    with contextlib.suppress(TransferError):
        got = Downloader(HttpClient(timeout=2, retries=1), 1).download(
            RemoteFile(here, "m.bin"), str(tmp_path / "m.bin")
        )
    assert got is None or (tmp_path / ".m.bin.part").read_bytes() in (b"hello", b"")


def test_a_part_among_servers_that_ignore_ranges_lands_where_it_belongs(serve, fetch):
    """The answer with a part comes late, when the job has long decided to take one stream."""
    count = iter(range(1000))

    def answer(path, headers):
        status, more, body = ranged(headers)
        if next(count) == 0:
            return status, {**more, "Content-Length": str(len(body)), "Connection": "close"}, body[:300_000]
        if headers.get("Range", "").startswith("bytes=300000-"):
            time.sleep(0.5)
            return status, more, body
        return 200, {}, CONTENT

    here, _ = serve(answer)
    fetch(here + "/m.bin", sha256=None)


def test_changed_between_planning_and_the_first_byte(serve, fetch, tmp_path):
    here, _ = serve(lambda path, headers: ranged(headers, etag='"two"'))
    with pytest.raises(TransferError, match="changed at its source"):
        fetch(here + "/m.bin", sha256=None, etag='"one"', version='"one"')
    assert os.listdir(tmp_path) == []


def test_a_segment_that_never_comes_ends_the_job(serve, fetch):
    """Also where the other connections fetch theirs meanwhile."""
    last = len(CONTENT) - 1

    def answer(path, headers):
        status, more, body = ranged(headers)
        if f"-{last}/" in more.get("Content-Range", ""):
            return status, {**more, "Content-Length": str(len(body)), "Connection": "close"}, b""
        return status, more, body

    here, seen = serve(answer)
    with pytest.raises(TransferError, match="broke off"):
        fetch(here + "/m.bin")
    assert len(seen) < 40


def test_a_short_answer_after_a_stream_of_unknown_length(serve, fetch):
    count = iter(range(100000))

    def answer(path, headers):
        if next(count) == 0:
            half = b"%x\r\n%b\r\n" % (3_000_000, CONTENT[:3_000_000])
            return 200, {"Transfer-Encoding": "chunked", "Connection": "close"}, [half]
        return 200, {}, b'{"error": "busy"}'

    here, seen = serve(answer)
    with pytest.raises(TransferError, match="17 bytes at its source, and more had come before"):
        fetch(here + "/m.bin", size=None, sha256=None)
    assert len(seen) < 10


def partly(tmp_path, here, spans, **fields):
    """What an earlier run left: ``spans`` of CONTENT."""
    remote = RemoteFile(here + "/m.bin", "m.bin", **fields)
    partial = PartialFile(str(tmp_path / "m.bin"), remote)
    partial.resume()
    with open(partial.path, "r+b") as handle:
        for start, end in spans:
            handle.seek(start)
            handle.write(CONTENT[start:end])
            partial.journal.add((start, end))
    partial.journal.close()


def test_a_resume_without_a_size_goes_on_where_it_was(serve, fetch, tmp_path):
    here, _ = serve(lambda path, headers: ranged(headers))
    fields = {"size": None, "sha256": None, "etag": "one"}
    partly(tmp_path, here, [(0, 5_000_000)], **fields)
    assert fetch(here + "/m.bin", **fields).received == len(CONTENT) - 5_000_000


def test_a_resume_without_a_size_and_with_nothing_left(serve, fetch, tmp_path):
    here, seen = serve(lambda path, headers: ranged(headers))
    fields = {"size": None, "sha256": None, "etag": "one"}
    partly(tmp_path, here, [(0, len(CONTENT))], **fields)
    assert fetch(here + "/m.bin", **fields).received == 0
    assert len(seen) == 1


@pytest.mark.parametrize("spans", [[(0, 5_000_000)], [(0, 1_000_000), (2_000_000, 5_000_000)]])
def test_a_resume_of_a_file_that_is_shorter_now(serve, fetch, tmp_path, spans):
    here, seen = serve(lambda path, headers: ranged(headers, CONTENT[:3_000_000]))
    fields = {"size": None, "sha256": None, "etag": "one"}
    partly(tmp_path, here, spans, **fields)
    with pytest.raises(TransferError, match="Run again to get the new file"):
        fetch(here + "/m.bin", **fields)
    assert len(seen) == 1
    assert os.listdir(tmp_path) == []


ODD = [
    (200, {}, b'{"error": "busy"}'),
    (416, {"Content-Range": f"bytes */{len(CONTENT)}"}, b""),
    (416, {"Content-Range": "bytes */17"}, b""),
    (416, {}, b""),
]


@pytest.mark.parametrize("odd", ODD)
def test_one_odd_answer_costs_nothing(serve, fetch, tmp_path, odd):
    count = iter(range(1000))
    here, _ = serve(lambda path, headers: odd if next(count) in (0, 3) else ranged(headers))
    partly(tmp_path, here, [(0, 4_000_000)], size=len(CONTENT), sha256=SHA256)
    assert fetch(here + "/m.bin").received == len(CONTENT) - 4_000_000


@pytest.mark.parametrize("odd", ODD[1:])
def test_only_odd_answers_leave_what_was_there(serve, fetch, tmp_path, odd):
    here, seen = serve(lambda path, headers: odd)
    partly(tmp_path, here, [(0, 4_000_000)], size=len(CONTENT), sha256=SHA256)
    with pytest.raises(TransferError):
        fetch(here + "/m.bin")
    assert len(seen) < 10
    here, _ = serve(lambda path, headers: ranged(headers))
    assert fetch(here + "/m.bin").received == len(CONTENT) - 4_000_000


def test_a_fresh_link_may_be_rejected_once(serve, fetch):
    answer, given = links(good_for=100)
    bad = iter([True])

    def once(path, headers):
        status, more, body = answer(path, headers)
        if path != "/m.bin" and next(bad, False):
            return 403, {}, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
        return status, more, body

    here, _ = serve(once)
    fetch(here + "/m.bin")
    assert len(given) == 2


# --- slow ones --------------------------------------------------------------------------------------------------------


def send_slowly(body, size, seconds):
    """``body`` in pieces of ``size`` bytes, each ``seconds`` after the one before."""
    for start in range(0, len(body), size):
        yield body[start : start + size]
        time.sleep(seconds)


def test_connections_come_back_after_a_busy_moment(serve, fetch, monkeypatch):
    monkeypatch.setattr(download_state, "CONNECTION_BACKOFF", 0.1)
    until = time.monotonic() + 0.3
    busy, most, lock = [0], [0], threading.Lock()

    def answer(path, headers):
        with lock:
            early = time.monotonic() < until
            if early and busy[0]:
                return 503, {}, b"busy"
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        try:
            time.sleep(0.2)
            return ranged(headers)
        finally:
            with lock:
                busy[0] -= 1

    monkeypatch.setattr(download, "MIN_SEGMENT", 1 << 18)
    monkeypatch.setattr(segments, "MIN_SEGMENT", 1 << 18)
    here, _ = serve(answer)
    fetch(here + "/m.bin", connections=4, retries=20)
    assert most[0] >= 3


def test_a_stalled_download_is_given_up_like_a_silence(serve, fetch):
    """A byte now and then keeps the socket's timeout away."""
    count = iter(range(1000))

    def answer(path, headers):
        status, more, body = ranged(headers)
        if next(count) == 2:
            return status, {**more, "Content-Length": str(len(body))}, send_slowly(body, 1, 0.4)
        return status, more, body

    here, _ = serve(answer)
    started = time.monotonic()
    fetch(here + "/m.bin")
    assert time.monotonic() - started < 8


def test_only_stalled_downloads_end_in_an_error(serve, fetch):
    def answer(path, headers):
        status, more, body = ranged(headers)
        return status, {**more, "Content-Length": str(len(body))}, send_slowly(body[:100], 1, 0.2)

    here, _ = serve(answer)
    with pytest.raises(TransferError, match="next to nothing"):
        fetch(here + "/m.bin", connections=1, retries=1)


def test_idle_connections_help_a_slow_one(serve, fetch, monkeypatch):
    """Its segment would take eleven seconds; the others take over halves of what is left of it."""
    monkeypatch.setattr(segments, "MIN_SEGMENT", 1 << 16)
    count = iter(range(1000))

    def answer(path, headers):
        status, more, body = ranged(headers)
        if next(count) == 1:
            return status, {**more, "Content-Length": str(len(body))}, send_slowly(body, 10_000, 0.1)
        return status, more, body

    here, _ = serve(answer)
    started = time.monotonic()
    got = fetch(here + "/m.bin")
    assert time.monotonic() - started < 6
    assert got.received < len(CONTENT) + (1 << 19)

# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which bytes of a download are there, on the way and missing; and a journal of it that survives any crash.

All spans are (start, end) in bytes, end exclusive.
"""

from __future__ import annotations

import json
import os
from typing import Any, Iterable, Tuple

from ..files import FileTypeError, open_regular, parse_json, read_regular
from .disk import unlink_all

Span = Tuple[int, int]
JOURNAL_LIMIT = 64 << 20  # bytes: a line for each segment, of which a terabyte has some hundred thousand
LARGEST = 32 << 20
SMALLEST = 1 << 20


def merge(spans: Iterable[Span]) -> list[Span]:
    """The same bytes as sorted spans that do not touch each other."""
    merged: list[Span] = []
    for start, end in sorted(span for span in spans if span[1] > span[0]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def gaps(spans: Iterable[Span], size: int) -> list[Span]:
    """What ``spans`` leave of 0..size."""
    missing: list[Span] = []
    at = 0
    for start, end in merge(spans):
        if start > at:
            missing.append((at, min(start, size)))
        at = max(at, end)
    if at < size:
        missing.append((at, size))
    return [span for span in missing if span[0] < span[1]]


class Segment:
    """A span that one connection is fetching; ``at`` is how far it got. ``end`` None: until the server ends.

    ``upto``: where the piece ends that is being written. ``moved``: when the last one came, by the monotonic clock, once the
    answer is ``opened``. ``dropped``: taken from its connection.
    """

    __slots__ = ("start", "at", "end", "upto", "moved", "opened", "dropped")

    def __init__(self, start: int, end: int | None) -> None:
        self.start = self.at = self.upto = start
        self.end = end
        self.moved = 0.0
        self.opened = self.dropped = False


class Plan:
    """Hands out segments from the front, so that a hash can follow close behind. Not thread-safe: callers hold a lock."""

    def __init__(self, size: int | None, done: Iterable[Span], connections: int) -> None:
        self.size = size
        self.done = merge(done)
        self.missing = gaps(self.done, size) if size is not None else []
        self.active: list[Segment] = []
        self._connections = connections

    def take(self) -> Segment | None:
        """The next segment, None when nothing is missing (but some may come back).

        Large ones first, for few requests; small ones at the end, so that no connection is left alone with a big rest.
        """
        if not self.missing:
            return None
        left = sum(end - start for start, end in self.missing)
        wanted = min(max(left // (2 * self._connections), SMALLEST), LARGEST)
        start, end = self.missing[0]
        stop = min(start + wanted, end)
        if end - stop < SMALLEST // 2:  # no crumbs
            stop = end
        if stop == end:
            self.missing.pop(0)
        else:
            self.missing[0] = (stop, end)
        segment = Segment(start, stop)
        self.active.append(segment)
        return segment

    def split(self) -> Segment | None:
        """The second half of the largest rest that another connection still has to fetch; None where that is small."""
        rests = [(s.end - max(s.at, s.upto), s) for s in self.active if s.end is not None]
        rest, slow = max(rests, key=lambda pair: pair[0], default=(0, None))
        if slow is None or slow.end is None or rest < 2 * SMALLEST:
            return None
        segment = Segment(slow.end - rest // 2, slow.end)
        slow.end = segment.start
        self.active.append(segment)
        return segment

    def alone(self) -> Segment:
        """One segment for everything from the front on, for servers that know no ranges."""
        start = self.contiguous(0)
        self.missing, self.active = [], [Segment(start, self.size)]
        return self.active[0]

    def give_back(self, segment: Segment) -> Span:
        """End a segment, wherever it stands; what it fetched is done, the rest is missing again. Returns what it fetched."""
        self.active.remove(segment)
        fetched = (segment.start, segment.at)
        self.done = merge([*self.done, fetched])
        if segment.end is not None and segment.at < segment.end:
            self.missing = merge([*self.missing, (segment.at, segment.end)])
        return fetched

    def contiguous(self, start: int) -> int:
        """Where the bytes end that are there from ``start`` on without a hole."""
        at = start
        moved = True
        while moved:
            moved = False
            for begin, end in self.done:
                if begin <= at < end:
                    at, moved = end, True
            for segment in self.active:
                if segment.start <= at < segment.at:
                    at, moved = segment.at, True
        return at

    @property
    def there(self) -> int:
        """Bytes that have arrived."""
        return sum(end - start for start, end in self.done) + sum(s.at - s.start for s in self.active)

    @property
    def finished(self) -> bool:
        return not self.missing and not self.active


def boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as handle:
            return handle.read().strip()
    except OSError:
        return ""


def same_version(one: str, other: str) -> bool:
    """Whether two versions (see fetch.version_of) are of one file: nodes of a CDN may have ETags of their own, but one date."""
    return bool({*one.split("\n")} & {*other.split("\n")})


class Journal:
    """Text file beside a partial download. The first line says of what it is a part, then one line for each done span.

    A killed process leaves its bytes with the kernel, so every line counts. After a reboot only the first N spans of the
    last line ``sync N`` count: those bytes had been forced to the disk first. A torn last line is ignored.
    """

    def __init__(self, path: str, identity: dict[str, Any]) -> None:
        self.path = path
        self._fresh = path + ".new"
        self.identity = identity
        self.count = 0  # spans written so far
        self._handle: Any | None = None

    def load(self) -> list[Span] | None:
        """The spans that are surely there; None when this is the journal of another file, or of one nobody can identify."""
        try:
            lines = read_regular(self.path, JOURNAL_LIMIT).decode("ascii").split("\n")[:-1]
            head = parse_json(lines[0])
            if not self._is_of(head["of"]) or not any(self.identity.get(k) for k in ("sha256", "git_sha1", "etag")):
                return None
            same_boot = bool(head["boot"]) and head["boot"] == boot_id()
            spans: list[Span] = []
            sure = 0
            for line in lines[1:]:
                first, second = line.split()
                if first == "sync":
                    sure = int(second)
                else:
                    spans.append((int(first), int(second)))
        except (OSError, ValueError, LookupError, TypeError, FileTypeError):
            return None
        return merge(spans if same_boot else spans[:sure])

    def _is_of(self, noted: Any) -> bool:
        if noted == self.identity:
            return True
        etag = self.identity.get("etag")
        return bool(etag) and {**noted, "etag": etag} == self.identity and same_version(str(noted["etag"]), etag)

    def begin(self, spans: Iterable[Span]) -> None:
        """Start anew with ``spans``, which the caller has forced to the disk."""
        lines = [json.dumps({"of": self.identity, "boot": boot_id()}, sort_keys=True)]
        lines += ["%d %d" % span for span in spans]
        self.count = len(lines) - 1
        # a fixed name, which only the holder of the lock uses: a kill here leaves nothing that the next run does not remove
        unlink_all([self._fresh])
        fresh = os.open(self._fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with os.fdopen(fresh, "wb") as handle:
            handle.write(("\n".join([*lines, "sync %d" % self.count]) + "\n").encode())
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(self._fresh, self.path)
        self._handle = os.fdopen(open_regular(self.path, os.O_WRONLY | os.O_APPEND), "ab", buffering=0)

    def add(self, span: Span) -> None:
        if self._handle and span[1] > span[0]:
            self._handle.write(b"%d %d\n" % span)
            self.count += 1

    def synced(self, count: int) -> None:
        """Tell that the first ``count`` spans are on the disk."""
        if self._handle:
            self._handle.write(b"sync %d\n" % count)
            os.fsync(self._handle.fileno())

    def close(self) -> None:
        if self._handle:
            self._handle.close()
            self._handle = None

    def discard(self) -> None:
        self.close()
        unlink_all([self._fresh, self.path])

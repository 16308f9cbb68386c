# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which bytes of a download are there, on the way and missing.

All spans are (start, end) in bytes, end exclusive.
"""

from __future__ import annotations

from typing import Iterable, Tuple

Span = Tuple[int, int]
MAX_SEGMENT = 32 << 20  # bytes
MIN_SEGMENT = 1 << 20


def merge_spans(spans: Iterable[Span]) -> list[Span]:
    """The same bytes as sorted spans that do not touch each other."""
    merged: list[Span] = []
    for start, end in sorted(span for span in spans if span[1] > span[0]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def find_gaps(spans: Iterable[Span], size: int) -> list[Span]:
    """What ``spans`` leave of 0..size."""
    missing: list[Span] = []
    at = 0
    for start, end in merge_spans(spans):
        if start > at:
            missing.append((at, min(start, size)))
        at = max(at, end)
    if at < size:
        missing.append((at, size))
    return [span for span in missing if span[0] < span[1]]


class Segment:
    """A span that one connection is fetching; ``at`` is how far it got. ``end`` None: until the server ends.

    ``writing_until``: where the block ends that is being written. ``progressed_at``: when the last one came, by the monotonic
    clock, once the response is ``opened``. ``dropped``: taken from its connection.
    """

    __slots__ = ("start", "at", "end", "writing_until", "progressed_at", "opened", "dropped")

    def __init__(self, start: int, end: int | None) -> None:
        self.start = self.at = self.writing_until = start
        self.end = end
        self.progressed_at = 0.0
        self.opened = self.dropped = False


class SegmentPlan:
    """Hands out segments from the front, so that a hash can follow close behind. Not thread-safe: callers hold a lock."""

    def __init__(self, size: int | None, done: Iterable[Span], connections: int) -> None:
        self.size = size
        self.done = merge_spans(done)
        self.missing = find_gaps(self.done, size) if size is not None else []
        self.active: list[Segment] = []
        self._connections = connections

    def take(self) -> Segment | None:
        """The next segment, None when nothing is missing (but some may come back).

        Large ones first, for few requests; small ones at the end, so that no connection is left alone with a big rest.
        """
        if not self.missing:
            return None
        left = sum(end - start for start, end in self.missing)
        length = min(max(left // (2 * self._connections), MIN_SEGMENT), MAX_SEGMENT)
        start, end = self.missing[0]
        stop = min(start + length, end)
        if end - stop < MIN_SEGMENT // 2:  # no tiny remainder
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
        rests = [(s.end - max(s.at, s.writing_until), s) for s in self.active if s.end is not None]
        rest, slow = max(rests, key=lambda pair: pair[0], default=(0, None))
        if slow is None or slow.end is None or rest < 2 * MIN_SEGMENT:
            return None
        segment = Segment(slow.end - rest // 2, slow.end)
        slow.end = segment.start
        self.active.append(segment)
        return segment

    def take_single(self) -> Segment:
        """One segment for everything from the front on, for servers that know no ranges."""
        start = self.contiguous_end(0)
        self.missing, self.active = [], [Segment(start, self.size)]
        return self.active[0]

    def release(self, segment: Segment) -> Span:
        """End a segment, wherever it stands; what it fetched is done, the rest is missing again. Returns what it fetched."""
        self.active.remove(segment)
        fetched = (segment.start, segment.at)
        self.done = merge_spans([*self.done, fetched])
        if segment.end is not None and segment.at < segment.end:
            self.missing = merge_spans([*self.missing, (segment.at, segment.end)])
        return fetched

    def contiguous_end(self, start: int) -> int:
        """Where the bytes end that are there from ``start`` on without a hole."""
        at = start
        grown = True
        while grown:
            grown = False
            for begin, end in self.done:
                if begin <= at < end:
                    at, grown = end, True
            for segment in self.active:
                if segment.start <= at < segment.at:
                    at, grown = segment.at, True
        return at

    @property
    def bytes_done(self) -> int:
        """Bytes that have arrived."""
        return sum(end - start for start, end in self.done) + sum(s.at - s.start for s in self.active)

    @property
    def is_finished(self) -> bool:
        return not self.missing and not self.active

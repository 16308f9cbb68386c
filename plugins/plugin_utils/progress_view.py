# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads of a running batch: snapshots of its progress file become lines.

A snapshot is what ``model_files`` writes: ``{"pid", "state", "files": [{"name", "state", "done", "total", "speed"}],
"done", "total", "speed", "eta"}`` with bytes, bytes per second and seconds; of a file that is ``building``, done and total are
steps of the compiler; of what is ``writing`` only what was written is known, not how much there will be. Whatever is missing
or odd in it is left out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..module_utils.terminal import printable
from .messages import message
from .text_tables import render_table

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
ACTIVE = ("asking", "fetching", "verifying", "building", "writing")
FINISHED = ("done", "failed")
WIDTH = 44  # of the column with the names


def number(value: Any) -> float | None:
    """``value`` when it is a number that can be a size, a speed or a time."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        return None
    return float(value)


def _scaled(value: float, unit: int) -> str:
    return f"{value / 1024**unit:.{1 if unit else 0}f}"


def _unit(value: float) -> int:
    unit = 0
    while unit < len(UNITS) - 1 and value >= 1024 ** (unit + 1):
        unit += 1
    return unit


def size(value: float) -> str:
    """1536 -> "1.5 KiB"."""
    unit = _unit(value)
    return f"{_scaled(value, unit)} {UNITS[unit]}"


def amount(done: float, total: float | None, language: str) -> str:
    """ "1.8 of 4.0 GiB", "512.0 MiB of 4.0 GiB", or "512.0 MiB" when the whole is unknown."""
    if total is None:
        return size(done)
    if not done or _unit(done) == _unit(total):
        part = _scaled(done, _unit(total)) if done else "0"
    else:
        part = size(done)
    return message("amount_of", language, done=part, total=size(total))


def clock(seconds: float) -> str:
    """75 -> "1:15", 3675 -> "1:01:15"."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def percent(done: float | None, total: float | None) -> int | None:
    if done is None or total is None:
        return None
    return min(100, int(100 * done / total)) if total else 100


def short_name(name: Any) -> str:
    """A file name that can do nothing to a terminal and does not fill the line: its middle goes first."""
    text = printable(str(name))
    return text if len(text) <= WIDTH else text[: WIDTH - 16] + "..." + text[-13:]


def describe_progress(
    done: float | None, total: float | None, speed: float | None, eta: float | None, language: str
) -> str:
    """ " 43%, 1.8 of 4.0 GiB, 52.4 MiB/s, ETA 0:42", as far as it is known."""
    parts = []
    share = percent(done, total)
    if share is not None:
        parts.append(f"{share:3d}%")
    parts.append(amount(done or 0, total, language))
    if speed:
        parts.append(f"{size(speed)}/s")
        if eta is None and total is not None and done is not None:
            eta = max(0.0, total - done) / speed
        if eta is not None and eta < 100 * 3600:
            parts.append(message("progress_eta", language, time=clock(eta)))
    return message("clause_separator", language).join(parts)


class File(NamedTuple):
    name: str
    state: str
    done: float | None
    total: float | None
    speed: float | None


class _LastReport:
    """What was last reported about a file."""

    def __init__(self, now: float) -> None:
        self.mark: tuple[str, float | None] | None = None
        self.reported = now
        self.fetching: float | None = None
        self.built: tuple[float, float] | None = None  # when its first step was seen, and which one that was


def parse_files(snapshot: dict[str, Any]) -> list[File]:
    files = snapshot.get("files")
    return [
        File(
            short_name(item.get("name", "?")),
            str(item.get("state", "")),
            number(item.get("done")),
            number(item.get("total")),
            number(item.get("speed")),
        )
        for item in (files if isinstance(files, list) else [])
        if isinstance(item, dict)
    ]


def steps(file: File, last: _LastReport, now: float, language: str) -> list[str]:
    """ "43%", "step 12 of 28", "ETA 5:10", as far as it is known: the steps still to come take as long as those we saw."""
    if file.done is None or not file.total:
        return []
    parts = [
        f"{percent(file.done, file.total) or 0}%",
        message("progress_step", language, done=int(file.done), total=int(file.total)),
    ]
    if last.built is None:
        last.built = (now, file.done)
    since, first = last.built
    if file.done > first and file.done < file.total:
        left = (now - since) / (file.done - first) * (file.total - file.done)
        parts.append(message("progress_eta", language, time=clock(left)))
    return parts


class View:
    """The lines of one host from one snapshot to the next. ``is_masked`` shows the percentage and nothing else."""

    def __init__(self, host: str, is_masked: bool = False, repeat_after: float = 30.0, language: str = "auto") -> None:
        self.host = host
        self.language = language
        self.is_masked = is_masked
        self.repeat_after = repeat_after  # seconds after which an unchanged file is mentioned again
        self._last_reports: dict[tuple[str, int], _LastReport] = {}
        self._last_total: _LastReport | None = None
        self._is_first_snapshot = True

    def lines(self, snapshot: dict[str, Any], now: float) -> list[str]:
        """What is new in ``snapshot`` at ``now`` (seconds of any clock), one line per file and one for all of them."""
        files = parse_files(snapshot)
        if self.is_masked:
            reported = self._masked_line(snapshot, now)
        else:
            rows = self._rows(files, now)
            if rows and sum(file.state not in FINISHED for file in files) > 1:
                rows.append(self._all(snapshot, files))
            reported = render_table(rows)
        self._is_first_snapshot = False
        return [f"[{self.host}] {line}" for line in reported]

    def _rows(self, files: list[File], now: float) -> list[tuple[str, str]]:
        rows = []
        seen: dict[str, int] = {}
        busy = any(file.state in ACTIVE for file in files)
        for file in files:
            seen[file.name] = seen.get(file.name, 0) + 1
            last = self._last_reports.setdefault((file.name, seen[file.name]), _LastReport(now))
            if file.state in ("fetching", "writing") and last.fetching is None:
                last.fetching = now
            mark = (file.state, None if file.state in FINISHED else file.done)
            fresh = mark != last.mark
            if file.state == "done" and self._is_first_snapshot:
                last.mark = mark  # it was there before anybody looked
                continue
            if file.state in FINISHED:
                if not fresh:
                    continue
            elif file.state not in ACTIVE:
                # the queue is in the line for all; only when nothing moves at all each waiting file is worth a line
                if busy or now - last.reported < self.repeat_after:
                    continue
                fresh = False
            elif not fresh and now - last.reported < self.repeat_after:
                continue
            last.mark, last.reported = mark, now
            rows.append((file.name, self._text(file, last, fresh, now)))
        return rows

    def _text(self, file: File, last: _LastReport, fresh: bool, now: float) -> str:
        if file.state == "failed":
            return message("progress_failed", self.language)
        if file.state == "done":
            total = file.total if file.total is not None else file.done
            text = self._join([message("progress_done", self.language), *([] if total is None else [size(total)])])
            if last.fetching is not None:
                text += message("progress_took", self.language, time=clock(now - last.fetching))
            return text
        if file.state == "fetching":
            speed = file.speed if fresh else None
            text = describe_progress(file.done, file.total, speed, None, self.language)
            return text if fresh else self._join([message("progress_no_bytes", self.language), text.strip()])
        if file.state not in ACTIVE:
            return message("progress_waiting", self.language)
        parts = []
        if file.state == "verifying" and file.done and file.done != file.total:
            parts = [describe_progress(file.done, file.total, None, None, self.language).strip()]
        elif file.state == "building":
            parts = steps(file, last, now, self.language)
        elif file.state == "writing" and file.speed:
            parts = [f"{size(file.speed)}/s"]
        what = message(f"progress_{file.state}", self.language, size=size(file.done or 0))
        return self._join([what if fresh else message("progress_still", self.language, what=what), *parts])

    def _all(self, snapshot: dict[str, Any], files: list[File]) -> tuple[str, str]:
        finished = sum(file.state == "done" for file in files)
        failed = sum(file.state == "failed" for file in files)
        counts = [message("progress_files", self.language, done=finished, total=len(files))]
        if failed:
            counts.append(message("progress_files_failed", self.language, count=failed))
        done, total, speed, eta = (number(snapshot.get(name)) for name in ("done", "total", "speed", "eta"))
        return self._join(counts), describe_progress(done, total, speed, eta, self.language)

    def _join(self, parts: list[str]) -> str:
        return message("clause_separator", self.language).join(parts)

    def _masked_line(self, snapshot: dict[str, Any], now: float) -> list[str]:
        share = percent(number(snapshot.get("done")), number(snapshot.get("total")))
        if share is None:
            return []
        mark = ("", float(share))
        if self._last_total is None:
            self._last_total = _LastReport(now)
        elif mark == self._last_total.mark and now - self._last_total.reported < self.repeat_after:
            return []
        self._last_total.mark, self._last_total.reported = mark, now
        return [f"{share}%"]

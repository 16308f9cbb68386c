"""Faults on request: what goes wrong, on which requests, how often.

One registry for the whole server. Faults come from tests (``registry.add(Fault(...))``), from a JSON file that is read again
when it changes, or over HTTP (``/.lab/faults`` on any virtual host). JSON is a list of objects with the fields of Fault.

kind          what happens
disconnect    the connection closes after ``after`` bytes of the body (``reset``: with a TCP reset)
stall         nothing is sent for ``seconds`` once ``after`` bytes of the body are out, then it goes on
slow          the body is sent at ``rate`` bytes per second
status        ``status`` with ``headers`` and ``body`` instead of the answer
delay         the answer begins ``seconds`` late
ignore_range  the Range header is not seen: 200 with the whole file
wrong_bytes   ``count`` bytes from ``after`` (an offset in the file) are inverted
headers       ``headers`` are set on the answer, a null value removes one (without Content-Length the body is chunked)
short         the body ends after ``after`` bytes, and Content-Length agrees (a cache that has half a file)
until_close   no Content-Length and no chunks: the body ends where the connection ends, so that an interruption looks like an end
drop          the connection closes before there is any answer
expire        links that are signed for this request live ``seconds`` (0: they are already expired)
"""

from __future__ import annotations

import itertools
import threading
from dataclasses import asdict, dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from .web import JsonFile, Request

KINDS = (
    "disconnect", "stall", "slow", "status", "delay", "ignore_range", "wrong_bytes", "headers", "short", "until_close", "drop",
    "expire",
)  # fmt: skip


@dataclass
class Fault:
    """``host``, ``path`` and ``method`` are globs; the path is matched decoded and without the query string.

    ``skip`` matching requests pass first, then ``times`` are hit (None: all). ``ranged`` limits it to requests with (True) or
    without (False) a Range header.
    """

    kind: str
    host: str = "*"
    path: str = "*"
    method: str = "*"
    skip: int = 0
    times: int | None = None
    ranged: bool | None = None
    after: int = 0
    seconds: float = 0.0
    rate: int = 65536
    count: int = 1
    status: int = 503
    body: str = ""
    headers: dict[str, str | None] = field(default_factory=dict)
    reset: bool = False
    seen: int = 0  # matching requests so far
    hits: int = 0  # requests it was applied to
    id: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of fault {self.kind!r}; there are {', '.join(KINDS)}")

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Fault:
        known = {item.name for item in fields(cls)} - {"seen", "hits", "id"}
        unknown = set(value) - known - {"seen", "hits", "id"}
        if unknown:
            raise ValueError(f"unknown field {sorted(unknown)[0]!r} in a fault; there are {', '.join(sorted(known))}")
        return cls(**{name: item for name, item in value.items() if name in known})

    def matches(self, request: Request) -> bool:
        return (
            fnmatchcase(request.host, self.host)
            and fnmatchcase(request.path, self.path)
            and fnmatchcase(request.method, self.method)
            and (self.ranged is None or self.ranged == ("Range" in request.headers))
        )


class FaultRegistry:
    """Thread-safe; ``file`` is optional and replaces all faults that came from it when it changes."""

    def __init__(self, file: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._from_file: list[Fault] = []
        self._file = JsonFile(file, []) if file else None
        self._ids = itertools.count(1)

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            fault.id = next(self._ids)
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def replace(self, values: list[dict[str, Any]]) -> None:
        faults = [Fault.from_json(value) for value in values]
        self.clear()
        for fault in faults:
            self.add(fault)

    def dump(self) -> list[dict[str, Any]]:
        with self._lock:
            return [asdict(fault) for fault in [*self._faults, *self._from_file]]

    def take(self, request: Request) -> list[Fault]:
        """The faults that hit this request, counted."""
        with self._lock:
            if self._file and self._file.changed():
                self._from_file = [Fault.from_json(value) for value in self._file.read()]
                for fault in self._from_file:
                    fault.id = next(self._ids)
            hit = []
            for fault in [*self._faults, *self._from_file]:
                if not fault.matches(request):
                    continue
                fault.seen += 1
                if fault.seen > fault.skip and (fault.times is None or fault.hits < fault.times):
                    fault.hits += 1
                    hit.append(fault)
            return hit

"""Stopwatch whose laps are named; its summary is the tail of the 'Startup time' and 'Model loaded' lines."""

from __future__ import annotations

import contextlib
import time
from typing import Iterator


class Timer:
    def __init__(self) -> None:
        self._lap = time.monotonic()
        self._prefix = ""
        self.total = 0.0
        self.records: dict[str, float] = {}

    def record(self, name: str) -> None:
        """End a lap: the time since the last one counts for ``name``."""
        now = time.monotonic()
        spent, self._lap = now - self._lap, now
        key = self._prefix + name
        self.records[key] = self.records.get(key, 0.0) + spent
        self.total += spent

    @contextlib.contextmanager
    def subcategory(self, name: str) -> Iterator[None]:
        """Laps inside count for ``name`` as a whole and for ``name/lap`` each."""
        outer, before = self._prefix, self.total
        self._prefix = f"{outer}{name}/"
        try:
            yield
        finally:
            self.record("rest")
            self._prefix = outer
            key = outer + name
            self.records[key] = self.records.get(key, 0.0) + self.total - before

    def summary(self) -> str:
        parts = [f"{name}: {spent:.1f}s" for name, spent in self.records.items() if spent >= 0.1 and "/" not in name]
        return f"{self.total:.1f}s" + (f" ({', '.join(parts)})" if parts else "")

    def dump(self) -> dict:
        return {"total": self.total, "records": self.records}


startup_timer = Timer()
startup_record: dict | None = None

# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which bytes of a partial download are there, noted so that it survives any crash."""

from __future__ import annotations

import json
import os
from typing import Any, Iterable

from ..errors import FileTypeError
from ..filesystem import open_regular, parse_json, read_regular, unlink_all
from ..procfs import read_boot_id
from .remote_file import is_same_version
from .segments import Span, merge_spans

JOURNAL_LIMIT = 64 << 20  # bytes: a line for each segment, of which a terabyte has some hundred thousand


class DownloadJournal:
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
            same_boot = bool(head["boot"]) and head["boot"] == read_boot_id()
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
        return merge_spans(spans if same_boot else spans[:sure])

    def _is_of(self, noted: Any) -> bool:
        if noted == self.identity:
            return True
        etag = str(self.identity.get("etag") or "")
        return bool(etag) and {**noted, "etag": etag} == self.identity and is_same_version(str(noted["etag"]), etag)

    def begin(self, spans: Iterable[Span]) -> None:
        """Start again with ``spans``, which the caller has forced to the disk."""
        lines = [json.dumps({"of": self.identity, "boot": read_boot_id()}, sort_keys=True)]
        lines += [f"{start} {end}" for start, end in spans]
        self.count = len(lines) - 1
        # a fixed name, which only the holder of the lock uses: a kill here leaves nothing that the next run does not remove
        unlink_all([self._fresh])
        fresh = os.open(self._fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with os.fdopen(fresh, "wb") as handle:
            handle.write(("\n".join([*lines, f"sync {self.count}"]) + "\n").encode())
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(self._fresh, self.path)
        self._handle = os.fdopen(open_regular(self.path, os.O_WRONLY | os.O_APPEND), "ab", buffering=0)

    def add(self, span: Span) -> None:
        if self._handle and span[1] > span[0]:
            self._handle.write(b"%d %d\n" % span)
            self.count += 1

    def mark_synced(self, count: int) -> None:
        """Note that the first ``count`` spans are on the disk."""
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

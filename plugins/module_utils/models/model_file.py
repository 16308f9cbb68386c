# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One file of a batch, and what becomes of it."""

from __future__ import annotations

import contextlib
import enum
import os
import sys
import time
import traceback
from typing import Any

from ..errors import SdopsError
from ..progress import ProgressEntry
from ..terminal import printable
from ..transfer.remote_file import RemoteFile
from .spec import ModelSpec


class FileStatus(enum.Enum):
    """What will be done with a file, or what was done; the values stand in the results of the modules."""

    NEW = "planned"  # nothing is known yet
    OK = "ok"
    # planned
    FETCH = "fetch"
    ADOPT = "adopt"
    COPY = "copy"
    FROM_CACHE = "from cache"
    # done; a file from the cache keeps its status
    FETCHED = "fetched"
    ADOPTED = "adopted"
    COPIED = "copied"
    REMOVED = "removed"
    FAILED = "failed"
    UNRESOLVED = "unresolved"  # in check mode, when the source cannot be asked yet


COMPLETED = {
    FileStatus.FETCH: FileStatus.FETCHED,
    FileStatus.ADOPT: FileStatus.ADOPTED,
    FileStatus.COPY: FileStatus.COPIED,
    FileStatus.FROM_CACHE: FileStatus.FROM_CACHE,
}


class ModelFile:
    """One file of the batch, from its entry to its place on the disk."""

    def __init__(self, spec: ModelSpec, progress: ProgressEntry | None = None, sidecar_of: str = "") -> None:
        self.spec = spec
        self.sidecar_of = sidecar_of  # of a sidecar: the model's path
        self.duplicate_of: ModelFile | None = None  # an equal entry that came before
        self.bytes_planned = 0  # that will come over the network, as far as is known
        self.progress = progress or ProgressEntry(spec.name or spec.label)
        self.path = ""  # until it is known
        self.kind = spec.kind
        self.remote = RemoteFile("", spec.label)  # until the source has been asked
        self.sha256: str | None = spec.sha256
        self.size: int | None = None
        self.received = 0
        self.status = FileStatus.NEW
        self.reason = ""
        self.warnings: list[str] = []
        self.keep_reason = (
            ""  # why what lies at the path must not be replaced, unless the wanted file begins with all of it
        )
        self.identity: tuple[int, ...] | None = (
            None  # which file lay at the path when it was decided (see identify_file)
        )
        self.advice = "Move it away, or set another name."  # for a file that stays
        self.recorded_hashes: set[str] = set()  # that this source gave before, where other content needs a consent
        self.seconds = 0.0

    @contextlib.contextmanager
    def timed(self) -> Any:
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds += time.monotonic() - started

    def mark_done(self, status: FileStatus, sha256: str | None, size: int | None) -> None:
        self.status, self.sha256, self.size = status, sha256, size
        self.progress.update("done", size, size)

    def fail(self, reason: str, status: FileStatus = FileStatus.FAILED) -> None:
        self.status, self.reason = status, reason
        self.progress.update("failed")

    def warn(self, sentence: str) -> None:
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    @property
    def is_settled(self) -> bool:
        """Whether nothing will be done any more, since it failed or cannot be planned."""
        return self.status in (FileStatus.FAILED, FileStatus.UNRESOLVED)

    @property
    def format_name(self) -> str:
        """The name that tells the file's format: its own, or its source's where its own has no extension."""
        name = os.path.basename(self.path)
        return name if os.path.splitext(name)[1] else self.remote.filename or name

    def result(self) -> dict[str, Any]:
        entry = {
            "name": printable(os.path.basename(self.path) or self.spec.name or self.spec.label),
            "kind": self.kind,
            "path": self.path or None,
            "sha256": self.sha256,
            "bytes": self.spec.size if self.size is None else self.size,
            "source": printable(self.spec.label),
            "revision": self.remote.revision and printable(self.remote.revision),
            "status": self.status.value,
            "seconds": round(self.seconds, 2),
        }
        if self.reason:
            entry["reason"] = printable(self.reason)
        return entry


def describe_exception(exc: Exception, what: str) -> str:
    """A sentence for whatever went wrong. The text of an exception that nobody foresaw stays out: it may hold a URL."""
    if isinstance(exc, SdopsError):
        return str(exc)
    if isinstance(exc, OSError):
        return f"{printable(str(exc.filename or what))}: {exc.strerror or type(exc).__name__}."
    frames = traceback.extract_tb(sys.exc_info()[2])
    where = [frame for frame in frames if "module_utils" in frame.filename][-1]
    return (
        f"{what}: something that nobody foresaw ({type(exc).__name__} in {os.path.basename(where.filename)}, line {where.lineno}). "
        "Please report it."
    )


def identify_file(path: str) -> tuple[int, ...] | None:
    """What changes when another file takes a path or when it is written to; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def name_from_source(spec: ModelSpec, remote: RemoteFile, advice: str) -> str:
    """The name that the source gives. Raises SdopsError when it gives none."""
    if not remote.filename:
        raise SdopsError(f"The source of {spec.label} tells no file name that can be used; {advice}.")
    return remote.filename

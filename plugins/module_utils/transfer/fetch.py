# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A RemoteFile becomes a verified file beside its final place; publishing it is one rename."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from typing import Any, Callable, Dict, Iterator, NamedTuple, Optional

from ..files import write_atomic
from .http import Http, TransferError, scrub

CHUNK = 1 << 20


class RemoteFile(NamedTuple):
    """What a source resolved to. ``sha256`` or ``git_sha1`` in lower-case hex, ``size`` in bytes, each None when unknown."""

    url: str
    filename: str
    size: Optional[int]
    sha256: Optional[str]
    git_sha1: Optional[str] = None
    etag: Optional[str] = None
    revision: Optional[str] = None
    kind: Optional[str] = None


Progress = Callable[[int, Optional[int]], None]


def sha256_of(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        for chunk in iter(lambda: handle.read(CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()


def git_sha1_of(path: str) -> str:
    """Git's blob id: sha1 over "blob SIZE\\0" and the content."""
    digest = hashlib.sha1(b"blob %d\0" % os.path.getsize(path))
    with open(path, "rb") as handle:
        for chunk in iter(lambda: handle.read(CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` (a directory, or a file, made if absent); two runs wait for each other."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    handle = os.open(path, os.O_RDONLY if os.path.isdir(path) else os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def check_space(directory: str, needed: int) -> None:
    """Raise TransferError when ``needed`` bytes (and a reserve of 64 MiB) do not fit on the disk of ``directory``."""
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    free = shutil.disk_usage(directory).free
    if needed + (64 << 20) > free:
        raise TransferError(
            "%s has %.1f GiB free, but %.1f GiB are needed. Make room, or point the directories at a bigger disk."
            % (directory, free / 2**30, needed / 2**30)
        )


class Partial:
    """A download in progress: ``.NAME.part`` beside the target, and a journal that says of what it is a part."""

    def __init__(self, dest: str, remote: RemoteFile) -> None:
        head, name = os.path.split(dest)
        self.path = os.path.join(head, ".%s.part" % name)
        self.journal = self.path + ".json"
        self.identity = {"size": remote.size, "sha256": remote.sha256, "etag": remote.etag}

    def resumable(self) -> int:
        """Bytes that can be kept; 0 (and a clean slate) when they are of another file, or of one nobody can identify."""
        try:
            with open(self.journal, encoding="utf-8") as handle:
                same = json.load(handle) == self.identity and any(self.identity[k] for k in ("sha256", "etag"))
            have = os.path.getsize(self.path)
        except (OSError, ValueError):
            same, have = False, 0
        if not same or (self.identity["size"] is not None and have > self.identity["size"]):
            self.discard()
            return 0
        return have

    def begin(self) -> None:
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        write_atomic(self.journal, json.dumps(self.identity).encode())

    def discard(self) -> None:
        for path in (self.path, self.journal):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def publish(self, dest: str) -> None:
        os.replace(self.path, dest)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.journal)
        directory = os.open(os.path.dirname(dest), os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


class Fetcher:
    """Fetches RemoteFiles over one Http."""

    def __init__(self, http: Http) -> None:
        self.http = http

    def fetch(
        self, remote: RemoteFile, dest: str, progress: Progress = lambda done, total: None
    ) -> "tuple[Partial, str]":
        """Bring the bytes into a Partial beside ``dest`` and verify them; returns it with the SHA-256, unpublished.

        Resumes where an earlier try or run was cut, if the file is still the same. Raises TransferError.
        """
        partial = Partial(dest, remote)
        have = partial.resumable()
        check_space(os.path.dirname(dest), (remote.size or 0) - have)
        partial.begin()
        digest = hashlib.sha256()
        with open(partial.path, "r+b" if have else "w+b") as sink:
            for chunk in iter(lambda: sink.read(CHUNK), b""):
                digest.update(chunk)
            attempt = 0
            while True:
                start = sink.tell()
                try:
                    digest = self._stream(remote, sink, digest, progress)
                    break
                except TransferError as exc:
                    sink.flush()
                    if sink.tell() > start:
                        attempt = 0  # it moves: the line is bad, not dead
                    if attempt >= self.http.retries or getattr(exc, "final", False):
                        raise
                    self.http.pause(attempt)
                    attempt += 1
                except OSError as exc:
                    if exc.errno == errno.ENOSPC:
                        raise TransferError(
                            "The disk of %s is full. What was fetched is kept for the next run." % dest
                        ) from exc
                    raise
            sink.flush()
            os.fsync(sink.fileno())
        sha256 = digest.hexdigest()
        self._verify(remote, partial, sha256)
        return partial, sha256

    def _stream(self, remote: RemoteFile, sink: Any, digest: Any, progress: Progress) -> Any:
        """Read from where ``sink`` stands to the end. Starts over when the server ignores the range."""
        start = sink.tell()
        if remote.size is not None and start == remote.size:
            return digest
        headers: Dict[str, str] = {"Range": "bytes=%d-" % start} if start else {}
        answer = self.http.request("GET", remote.url, headers, stream=True)
        with contextlib.closing(answer):
            content_type = answer.headers.get("Content-Type", "")
            if answer.status_code == 416:
                sink.seek(0)
                sink.truncate()
                raise TransferError("%s has become shorter than what was fetched." % scrub(remote.url))
            if answer.status_code not in (200, 206):
                error = TransferError(
                    "%s answered %d when asked for the file: %s"
                    % (scrub(remote.url), answer.status_code, answer.text[:200])
                )
                # an expired signature is cured by asking again; the rest will not change
                error.final = answer.status_code not in (403, 404)  # type: ignore[attr-defined]
                raise error
            if content_type.startswith("text/html") and not remote.filename.endswith((".html", ".htm")):
                error = TransferError(
                    "%s answered with a web page instead of the file; it may want a token." % scrub(remote.url)
                )
                error.final = True  # type: ignore[attr-defined]
                raise error
            if start and answer.status_code == 200:
                sink.seek(0)
                sink.truncate()
                digest = hashlib.sha256()
            total = remote.size
            if total is None and answer.headers.get("Content-Length", "").isdigit():
                total = sink.tell() + int(answer.headers["Content-Length"])
            try:
                for chunk in answer.iter_content(CHUNK):
                    sink.write(chunk)
                    digest.update(chunk)
                    progress(sink.tell(), total)
            except OSError as exc:
                if exc.errno == errno.ENOSPC:
                    raise
                raise TransferError("The connection to %s broke off: %s." % (scrub(remote.url), exc)) from exc
            except Exception as exc:  # requests wraps urllib3's errors in several classes of its own
                raise TransferError("The connection to %s broke off: %s." % (scrub(remote.url), exc)) from exc
            if total is not None and sink.tell() < total:
                raise TransferError("%s broke off after %d of %d bytes." % (scrub(remote.url), sink.tell(), total))
        return digest

    @staticmethod
    def _verify(remote: RemoteFile, partial: Partial, sha256: str) -> None:
        size = os.path.getsize(partial.path)
        cause = None
        if remote.size is not None and size != remote.size:
            cause = "it has %d bytes and not %d" % (size, remote.size)
        elif remote.sha256 and sha256 != remote.sha256:
            cause = "its SHA-256 is %s and not %s" % (sha256, remote.sha256)
        elif remote.git_sha1 and not remote.sha256 and git_sha1_of(partial.path) != remote.git_sha1:
            cause = "its git blob id is not %s" % remote.git_sha1
        if cause:
            partial.discard()
            raise TransferError("%s from %s was thrown away: %s." % (remote.filename, scrub(remote.url), cause))

# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A RemoteFile becomes a verified file beside its final place; publishing it is one rename.

Several connections fetch segments and write them where they belong; one thread hashes close behind them, so that the
pages it reads are still in memory; the calling thread keeps the journal safe on disk and tells the progress.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import threading
import time
from typing import Any, Callable, NamedTuple, Optional

from ..files import open_regular, refuse_irregular
from ..safety import lookalikes
from . import disk
from .disk import CHUNK, RESERVE, git_sha1_of, is_private, publish, short_name, unlink_all
from .http import RETRY, Broken, Http, TransferError, asked_wait, backoff, cause, may_be_page, number, said, scrub
from .segments import LARGEST, SMALLEST, Journal, Plan, Segment, same_version

SMALLEST_READ = 16 << 10
SYNC_EVERY = 5.0  # seconds
LOOK_EVERY = 16 << 20  # bytes of a stream of unknown size between two looks at the free space
PATIENCE = 10.0  # seconds before a connection more is tried with a server that turned one away
PAGE = "%s answered with a web page instead of the file; it may want a token. Check the address and the token."
EXPIRED = (400, 401, 403, 404, 410)  # what storages answer to a link that is no longer good


class RemoteFile(NamedTuple):
    """What a source resolved to.

    ``sha256`` (or only its first digits) or ``git_sha1`` in lower-case hex, ``size`` in bytes, ``about`` a size that is only
    nearly right; each None when unknown. ``etag`` tells one version of the file from another where there is no hash;
    ``version`` is what the server's own answers say of it (see version_of), where that was seen.
    """

    url: str
    filename: str
    size: int | None = None
    sha256: str | None = None
    git_sha1: str | None = None
    etag: str | None = None
    revision: str | None = None
    kind: str | None = None
    about: int | None = None
    sha256_prefix: str | None = None
    version: str | None = None


def version_of(headers: Any) -> str | None:
    """What an answer's headers say about the version of the file: a strong ETag and the date, a line each. None when they do not."""
    etag, date = headers.get("ETag", ""), headers.get("Last-Modified", "")
    etag = "" if etag.startswith("W/") else etag  # a weak one says nothing about bytes
    if etag and not re.search(r" 20\d\d ", date):  # the same for all files, as 1970 is: no help beside an ETag
        date = ""
    return "\n".join(filter(None, [etag, date and "modified " + date])) or None


# what it is doing, bytes that are there, bytes in all
Tell = Callable[[str, int, Optional[int]], None]


def quiet(state: str, done: int, total: int | None) -> None:
    """Nobody watches."""


class Final(TransferError):
    """Asking again will not help."""


class DiskReserveError(Final):
    """A file of unknown size does not fit: its source may never stop sending, so nothing of it is kept."""

    def __init__(self, path: str, url: str) -> None:
        super().__init__(
            "%s does not tell how large its file is, and the disk of %s has no more than the reserve of %d MiB left. The download "
            "was stopped and what had come was removed. Make room, point the directory at a bigger disk, or take the file "
            "from an address that tells its size." % (scrub(url), os.path.dirname(path), RESERVE >> 20)
        )


class SourceChanged(TransferError):
    """The answer belongs to another file than the one that was begun: it changed at its source, or the server is confused."""


class Refused(TransferError):
    """An error status. ``expired``: a signed link gave it, a new link may help. ``wait``: seconds the server asks for."""

    def __init__(self, message: str, status: int, expired: bool, wait: float | None) -> None:
        super().__init__(message)
        self.status = status
        self.expired = expired
        self.wait = wait


class RangesIgnored(TransferError):
    """The server sends everything where a part was asked for."""


class Partial:
    """A download in progress: ``.NAME.part`` beside the target (see short_name), and the journal that says what is in it.

    The directory may be shared with other users and hosts: a part or a journal that is a link, that another user owns or may
    write, or that has a second name, is replaced and neither read nor written through.
    """

    def __init__(self, dest: str, remote: RemoteFile) -> None:
        head, name = os.path.split(dest)
        self.path = os.path.join(head, f".{short_name(name)}.part")
        identity = {"size": remote.size, "sha256": remote.sha256, "git_sha1": remote.git_sha1, "etag": remote.etag}
        self.journal = Journal(self.path + ".journal", identity)

    def resume(self) -> list[tuple[int, int]]:
        """Open both files; the spans that are there from an earlier try."""
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        self._refuse_irregular()
        private = all(is_private(path) for path in (self.path, self.journal.path))
        spans = self.journal.load() if private else None
        if not spans or max(end for _, end in spans) > os.path.getsize(self.path):
            try:
                self.discard()
            except PermissionError as exc:
                raise TransferError(
                    f"{exc.filename} belongs to another user and cannot be replaced. Have it removed, or choose another directory."
                ) from exc
            spans = []
        handle = self.open(os.O_RDWR | (0 if spans else os.O_CREAT | os.O_EXCL))
        try:
            if spans:
                os.fdatasync(handle)
        finally:
            os.close(handle)
        self.journal.begin(spans)
        return spans

    def have(self) -> int:
        """Bytes that a resume would find, for planning. Raises FileTypeError when neither file nor link lies there."""
        self._refuse_irregular()
        regular = os.path.isfile(self.path) and not os.path.islink(self.path)
        spans = self.journal.load() if regular else None
        return sum(end - start for start, end in spans or [])

    def open(self, flags: int) -> int:
        return open_regular(self.path, flags)

    def _refuse_irregular(self) -> None:
        for path in (self.path, self.journal.path):
            if not os.path.islink(path):  # a link is replaced
                refuse_irregular(path)

    def discard(self) -> None:
        """Raises FileTypeError when a directory lies in its place, and OSError where somebody else's file may not be removed."""
        self.journal.discard()
        unlink_all([self.path])

    def publish(self, dest: str) -> None:
        publish(self.path, dest)
        self.journal.discard()


class Fetched(NamedTuple):
    """An unpublished file: ``sha256`` of all of it, ``received`` bytes that came over the network this time."""

    partial: Partial
    sha256: str
    received: int


class Job:
    """One file on its way. Everything below ``self._lock`` is shared by its threads."""

    def __init__(self, http: Http, remote: RemoteFile, partial: Partial, connections: int, tell: Tell) -> None:
        self.http = http
        self.remote = remote
        self.partial = partial
        self.connections = max(1, connections)
        self.tell = tell
        self.received = 0  # bytes of bodies, also of those that were not new
        self.gained = 0
        self.sha256: str | None = None
        self._lock = threading.Condition()
        self._stop = threading.Event()
        self._plan = Plan(remote.size, partial.resume(), self.connections)
        self._error: BaseException | None = None
        self._url = remote.url  # later the signed link that it redirects to
        # with a hash, wrong answers cannot do harm: what is there is kept, whatever one of them says
        self._hashed = bool(remote.sha256 or remote.git_sha1)
        self._version = remote.version
        self._alone = False  # one stream without ranges
        self._all_there = remote.size is not None and self._plan.finished
        self._alive = 0
        self._most = self.connections  # fewer when the server turns connections away
        self._patience = PATIENCE / 2
        self._more_at = 0.0
        self._pieces = CHUNK // 4  # bytes of a connection's first read
        self._ignored = 0
        self._drops = self._before = 0  # connections given up since ``gained`` was that

    # --- the calling thread --------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Returns when ``sha256`` is known. Raises TransferError, or whatever else ended a thread."""
        threads = [threading.Thread(target=self._guarded, args=(self._hash,), daemon=True)]
        threads[0].start()
        handle = self.partial.open(os.O_RDWR)
        synced = told = time.monotonic()
        try:
            with self._lock:
                while self.sha256 is None and self._error is None:
                    threads += self._spawn()
                    self._lock.wait(0.2)
                    now = time.monotonic()
                    self._drop_stalled(now)
                    if now - told >= 0.2:
                        told = now
                        there = self._plan.there
                        self.tell("verifying" if self._all_there else "fetching", there, self._plan.size)
                    if now - synced >= SYNC_EVERY:
                        count = self.partial.journal.count
                        self._lock.release()
                        try:
                            os.fdatasync(handle)
                            self.partial.journal.synced(count)
                        finally:
                            self._lock.acquire()
                        synced = time.monotonic()
        finally:
            self._stop.set()
            with self._lock:
                for segment in list(self._plan.active):  # what slow threads have so far is not lost
                    self.partial.journal.add(self._plan.give_back(segment))
                self._lock.notify_all()
            self.partial.journal.close()
            if self.sha256 is not None and self._plan.size != os.fstat(handle).st_size:
                os.ftruncate(handle, self._plan.size or 0)
            os.close(handle)
        if self._error is not None:
            raise self._error

    def _spawn(self) -> list[threading.Thread]:
        """Start connections: one to learn what the server can, then as many as there is work for."""
        if self._all_there:
            return []
        if self._most < self.connections and time.monotonic() >= self._more_at:
            self._most += 1
            self._more_at = time.monotonic() + self._patience
        missing = sum(end - start for start, end in self._plan.missing)
        wanted = min(self._most, len(self._plan.active) + max(1, missing // SMALLEST))
        if self._plan.size is None or self._alone or not self.received:
            wanted = 1
        new = [
            threading.Thread(target=self._guarded, args=(self._work,), daemon=True)
            for _ in range(wanted - self._alive)
            if self._plan.missing or self._plan.size is None or self._alone or not self._alive
        ]
        for thread in new:
            self._alive += 1
            thread.start()
        return new

    def _drop_stalled(self, now: float) -> None:
        """Take their segments from connections that trickle: a few bytes now and then keep a socket's timeout away."""
        for segment in list(self._plan.active):
            if not segment.opened or segment.upto > segment.at or now - segment.moved <= self.http.timeout:
                continue
            segment.dropped = True  # its thread ends by itself when its read returns
            self._pieces = SMALLEST_READ
            self.partial.journal.add(self._plan.give_back(segment))
            self._alive -= 1
            self._drops, self._before = (self._drops if self.gained == self._before else 0) + 1, self.gained
        if self._drops > self.http.retries * self.connections and self.gained == self._before:
            self._error = Broken(
                "%s sends next to nothing: fewer than %d bytes in %g seconds on each connection. What was fetched is kept: run again."
                % (scrub(self._url), SMALLEST_READ, self.http.timeout)
            )

    def _guarded(self, target: Callable[[], None]) -> None:
        try:
            target()
        except BaseException as exc:  # a defect in a thread must not look like success
            self._fail(exc)

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            unknown = self._plan.size is None
            error = (
                DiskReserveError(self.partial.path, self.remote.url)
                if unknown
                else TransferError(
                    f"The disk of {self.partial.path} is full. What was fetched is kept: make room and run again."
                )
            )
        with self._lock:
            if self._error is None and not self._stop.is_set():
                self._error = error
            self._stop.set()
            self._lock.notify_all()

    # --- hashing -------------------------------------------------------------------------------------------------------

    def _hash(self) -> None:
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(CHUNK))
        at = 0
        handle = self.partial.open(os.O_RDONLY)
        try:
            while not self._stop.is_set():
                with self._lock:
                    end = self._plan.contiguous(at)
                    if end - at < CHUNK and not self._all_there:
                        self._lock.wait(0.05)
                        continue
                    if self._all_there and at == self._plan.size:
                        self.sha256 = digest.hexdigest()
                        self._lock.notify_all()
                        return
                while at < end and not self._stop.is_set():
                    count = os.preadv(handle, [buffer[: min(CHUNK, end - at)]], at)
                    if not count:
                        raise TransferError(
                            f"{self.partial.path} became shorter while it was fetched. Look who changes it, and run again."
                        )
                    digest.update(buffer[:count])
                    at += count
        finally:
            os.close(handle)

    # --- fetching ------------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        handle = self.partial.open(os.O_WRONLY)  # its own: the job may end while this thread still waits
        attempt = links = before = 0
        segment: Segment | None = None
        try:
            while True:
                segment = self._next()
                if segment is None:
                    return
                error: TransferError | None = None
                try:
                    self._bring(segment, handle)
                except TransferError as exc:
                    error = exc
                with self._lock:
                    if self._stop.is_set() or segment.dropped:
                        return
                    start, end = self._plan.give_back(segment)
                    self.partial.journal.add((start, end))
                    if self._plan.size is not None and self._plan.contiguous(0) == self._plan.size:
                        self._all_there = True
                    self._lock.notify_all()
                if error is None:
                    attempt = links = 0
                    continue
                if end > start:
                    attempt = links = 0  # it moves: the line is bad, not dead
                if self.gained != before:  # while anything moves on any connection, the line is bad, not dead
                    attempt, before = 0, self.gained
                if isinstance(error, Refused) and error.expired:
                    links += 1
                wait = self._judge(error, attempt, links)
                if wait is None or self._stop.wait(wait):
                    return
                attempt += 1
        finally:
            os.close(handle)
            with self._lock:
                if segment is None or not segment.dropped:
                    self._alive -= 1
                self._lock.notify_all()

    def _next(self) -> Segment | None:
        with self._lock:
            while not self._stop.is_set() and not self._all_there:
                if self._alone or self._plan.size is None:
                    # the first request asks for a part: the answer tells the size, and whether there are parts at all
                    if self._alone and self._alive > 1:
                        return None
                    if self._alone:
                        return self._plan.alone()
                    start = self._plan.contiguous(0)
                    first = Segment(start, start + LARGEST)
                    self._plan.active.append(first)
                    return first
                segment = self._plan.take() or self._plan.split()
                if segment is not None:
                    return segment
                if self._alive > 1 and len(self._plan.active) < 2:
                    return None
                self._lock.wait(0.2)  # something may come back from a connection that breaks
        return None

    def _judge(self, error: TransferError, attempt: int, links: int) -> float | None:
        """Seconds until this connection tries again; None when it ends, with or without the whole job.

        ``attempt`` and ``links``: its failures since anything arrived on any connection, and those of fresh links.
        """
        with self._lock:
            if isinstance(error, RangesIgnored):
                self._ignored += 1
                if self.received and self._ignored <= 3:
                    return backoff(attempt)
                self._alone = True  # the others end, the last one takes it all
                return None if self._alive > 1 else 0.0
            if isinstance(error, Refused):
                if error.expired and links <= 2:
                    return 0.0 if links == 1 else backoff(links)
                if self._alive > 1 and self.received:
                    self._most = self._alive - 1  # it wants fewer connections, for some time
                    now = time.monotonic()
                    if now >= self._more_at:  # several are turned away at once
                        self._patience *= 2
                    self._more_at = max(self._more_at, now + max(self._patience, error.wait or 0.0))
                    return None
                passes = not error.expired and (error.status in RETRY or (error.status == 404 and attempt < 2))
            elif isinstance(error, SourceChanged):
                passes = self._hashed and attempt < 2  # one odd answer is no proof
            else:
                passes = not isinstance(error, Final)
            if not passes or attempt >= self.http.retries:
                self._fail(error)
                return None
            return backoff(attempt, getattr(error, "wait", None))

    def _open(self, segment: Segment) -> Any:
        """The answer whose body begins at ``segment.at`` (or at 0, for one stream). Raises TransferError."""
        with self._lock:
            url = self._url
        headers: dict[str, str] = {}
        if not self._alone and segment.end is not None:
            headers["Range"] = "bytes=%d-%d" % (segment.at, segment.end - 1)
        answer, final = self.http.follow("GET", url, headers, stream=True)
        try:
            self._check(answer, segment, url, final, bool(headers))
        except BaseException:
            answer.close()
            raise
        return answer

    def _check(self, answer: Any, segment: Segment, url: str, final: str, ranged: bool) -> None:
        status = answer.status_code
        if status == 416 and ranged:
            total = re.match(r"bytes \*/([0-9]{1,18})$", answer.headers.get("Content-Range", ""))
            told = int(total.group(1)) if total else None
            if told == segment.at and self._plan.size in (None, told):  # an empty file, or nothing left of one
                self._know(told, segment)
                segment.end = segment.at
                return
            if told is None or told == self._plan.size:
                raise Broken(
                    f"{scrub(final)} answered 416 for a part that it has. Run again, or take the file from another address."
                )
            raise SourceChanged(
                f"{scrub(url)} is shorter at its source than when the download began. Run again to get the new file."
            )
        if status not in (200, 206):
            signed = final != self.remote.url
            body = said(answer)
            if signed and status in EXPIRED:
                with self._lock:
                    if self._url == url:
                        self._url = self.remote.url  # ask the source for a new link
            raise Refused(
                "%s answered %d when asked for the file%s. Run again later, or check the address."
                % (scrub(final), status, f": {body}" if body else ""),
                status,
                signed and status in EXPIRED,
                asked_wait(answer),
            )
        if status == 200 and may_be_page(answer, self.remote.filename):
            told = number(answer.headers.get("Content-Length"))
            if answer.headers.get("Content-Encoding") or (self.remote.size and told not in (None, self.remote.size)):
                raise Final(PAGE % scrub(final))
        with self._lock:
            if self._url == self.remote.url:
                self._url = final
            version = version_of(answer.headers)
            if not self._hashed:
                if self._version and version and not same_version(self._version, version):
                    raise SourceChanged(
                        f"{scrub(url)} changed at its source while it was fetched. Run again to get the new file. If that does not help, its "
                        "servers disagree about the file's version (ETag): give its sha256, which decides."
                    )
                self._version = self._version or version
        if status == 206:
            if not ranged:  # else it would be asked for ever
                raise Final(
                    f"{scrub(final)} sends a part of the file (206) where all of it is asked for. Take it from another address."
                )
            span = re.match(
                r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})$", answer.headers.get("Content-Range", "")
            )
            if not span or int(span.group(1)) != segment.at:
                raise RangesIgnored(f"{scrub(final)} answers ranges wrongly. Take the file from another address.")
            self._know(int(span.group(3)), segment)
            return
        length = number(answer.headers.get("Content-Length"))
        if length is not None and self._plan.size is not None:
            self._know(length)  # before it is believed that this server knows no ranges
        if ranged:
            with self._lock:
                whole = segment.at == 0 and segment.end == self._plan.size
                if not whole and (segment.at or self.received or self._alive > 1):
                    raise RangesIgnored(f"{scrub(final)} ignores ranges. Take the file from another address.")
                if not whole:  # here comes everything: take it
                    self._alone = True
                    self._plan.missing = []
                    segment.end = self._plan.size
        if length is not None:
            self._know(length, segment)

    def _know(self, size: int, segment: Segment | None = None) -> None:
        """The server told the size. Raises SourceChanged when it is another than promised, Final when it does not fit."""
        if self._plan.size is None and self.remote.size is None:  # nobody could make sure of the room before
            there = sum(end - start for start, end in self._plan.done)
            try:
                disk.check_space([(os.path.dirname(self.partial.path), size - there)])
            except TransferError as exc:
                raise Final(f"{scrub(self.remote.url)}: {exc}") from None
        with self._lock:
            if self._plan.size is None and self.remote.size is None:
                if self._plan.done and self._plan.done[-1][1] > size:
                    raise SourceChanged(
                        "%s has %d bytes at its source, and more had come before. Run again to get the new file."
                        % (scrub(self.remote.url), size)
                    )
                active, done = self._plan.active, self._plan.done
                self._plan = Plan(size, done, self.connections)
                self._plan.active = active
                if segment is not None:
                    segment.end = min(segment.end or size, size) if not self._alone else size
                    covered = [(segment.start, segment.end), *done]
                    self._plan.missing = [] if self._alone else Plan(size, covered, 1).missing
                self._all_there = size == 0
                self._lock.notify_all()
            elif self._plan.size != size:
                raise SourceChanged(
                    "%s has %d bytes at its source where %s were promised. Run again; if that stays, the mirror is wrong."
                    % (scrub(self.remote.url), size, self._plan.size)
                )

    def _refuse_full_disk(self) -> None:
        """Raise DiskReserveError when only the reserve is left; files of known size were counted before (see check_space)."""
        free = disk.free_bytes(os.path.dirname(self.partial.path))
        if free is not None and free <= RESERVE:
            raise DiskReserveError(self.partial.path, self.remote.url)

    def _bring(self, segment: Segment, handle: int) -> None:
        """Fetch a segment and write it. Raises TransferError; ``segment.at`` tells how far it got."""
        answer = self._open(segment)
        with contextlib.closing(answer):
            skip = segment.at if answer.status_code == 200 else 0  # here comes everything, whatever we had asked for
            reading = self._pieces
            # a part of a page, with the right range, is no login page
            suspect = answer.status_code == 200 and may_be_page(answer, self.remote.filename)
            segment.moved, segment.opened = time.monotonic(), True
            look_at = 0
            while segment.end is None or segment.at < segment.end:
                if segment.end is None and segment.at >= look_at:
                    self._refuse_full_disk()
                    look_at = segment.at + LOOK_EVERY
                begun = time.monotonic()
                wanted = reading if segment.end is None else min(reading, segment.end - segment.at + skip)
                try:
                    data = answer.raw.read(wanted, decode_content=False)
                except Exception as exc:  # urllib3 and http.client have many
                    raise Broken(
                        f"The connection to {scrub(answer.url)} broke off: {cause(exc, self.http.timeout)}. Run again to go on with it."
                    ) from None
                if not data:
                    break
                if suspect and lookalikes.answer(data):
                    raise Final(PAGE % scrub(answer.url))
                suspect = False
                took = time.monotonic() - begun
                if took > 0.5:  # slow lines: smaller pieces, so that one sees them move
                    reading = max(reading // 2, SMALLEST_READ)
                elif took < 0.1:
                    reading = min(reading * 2, CHUNK)
                piece = memoryview(data)
                if skip:
                    dropped = min(skip, len(piece))
                    skip -= dropped
                    piece = piece[dropped:]
                with self._lock:  # from here on these bytes are ours to write, and nobody else's
                    if self._stop.is_set() or segment.dropped:
                        return
                    if segment.end is not None:
                        piece = piece[: max(segment.end - segment.at, 0)]
                    segment.moved = time.monotonic()
                    segment.upto = segment.at + len(piece)
                    self.gained += len(piece)
                while piece:
                    count = os.pwrite(handle, piece, segment.at)
                    piece = piece[count:]
                    segment.at += count
                with self._lock:
                    self.received += len(data)
                    if self.received == len(data):
                        self._lock.notify_all()  # it works: let the other connections come
        if segment.end is not None and segment.at < segment.end:
            raise Broken(
                "%s broke off after %d of %d bytes. Run again to go on with it."
                % (scrub(answer.url), segment.at, segment.end)
            )
        if segment.end is None:
            with self._lock:
                self._plan.size = segment.at
                segment.end = segment.at


class Fetcher:
    """Fetches RemoteFiles over one Http, with up to ``connections`` for each file."""

    def __init__(self, http: Http, connections: int = 8) -> None:
        self.http = http
        self.connections = connections

    def fetch(self, remote: RemoteFile, dest: str, tell: Tell = quiet) -> Fetched:
        """Bring the bytes beside ``dest`` and verify them. Resumes where an earlier try or run was cut.

        Raises TransferError; what was fetched is kept for the next run unless it is wrong.
        """
        partial = Partial(dest, remote)
        job = Job(self.http, remote, partial, self.connections, tell)
        try:
            job.run()
        except DiskReserveError:
            partial.discard()
            raise
        except SourceChanged:
            if not (remote.sha256 or remote.git_sha1):
                partial.discard()
            raise
        finally:
            if job.sha256 is None and not partial.have():
                partial.discard()  # nothing that another run could use
        sha256 = job.sha256 or ""
        wrong = self._wrong(remote, partial, sha256)
        if wrong:
            partial.discard()
            raise TransferError(
                "{} from {} was thrown away: {}. Run again; if that stays, take it from another address.".format(
                    remote.filename or "The file", scrub(remote.url), wrong
                )
            )
        return Fetched(partial, sha256, job.received)

    @staticmethod
    def _wrong(remote: RemoteFile, partial: Partial, sha256: str) -> str | None:
        size = os.path.getsize(partial.path)
        if remote.size is not None and size != remote.size:
            return "it has %d bytes and not %d" % (size, remote.size)
        if remote.sha256:
            return None if sha256 == remote.sha256 else f"its SHA-256 is {sha256} and not {remote.sha256}"
        if remote.sha256_prefix and not sha256.startswith(remote.sha256_prefix):
            return f"its SHA-256 is {sha256} and does not begin with {remote.sha256_prefix}"
        if remote.git_sha1 and git_sha1_of(partial.path) != remote.git_sha1:
            return f"its git blob id is not {remote.git_sha1}"
        return None

# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A batch of models: first everything is asked and planned, then, if the disks have room for all of it, brought."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Iterable, NamedTuple

from ..errors import SdopsError
from ..files import open_regular, refuse_irregular
from ..safety.content import WEIGHTS, ContentError, check, refuse_pickle
from ..safety.lookalikes import is_no_model
from ..safety.names import hex_digits, safe_name
from ..sources import civitai, direct, huggingface, magnet
from ..terminal import printable
from ..transfer.disk import (
    CHUNK,
    check_space,
    copy_hashed,
    existing,
    git_sha1_of,
    is_private,
    left_names,
    link_to,
    locked,
    own_name,
    publish,
    refuse_long_name,
    refuse_unusable_directory,
    sha256_of,
    short_name,
    unlink_all,
)
from ..transfer.fetch import Fetcher, Partial, RemoteFile, SourceChanged
from ..transfer.http import Http, TransferError, scrub
from .layout import path_of, sidecar
from .progress import Line, Progress
from .record import Record, load_single_files, note_single_file
from .spec import Endpoints, ModelSpec, parse_source

ASKING = 8  # sources are asked by so many at once: that is waiting, not bandwidth
# what will be done -> what was done
DONE = {"fetch": "fetched", "adopt": "adopted", "copy": "copied", "from cache": "from cache"}
HEAD = 64 << 10  # bytes of a user's file that are compared with the wanted one before it is fetched
# of a file that stays
APPEARED = "%s came to be there, or was changed, while the wanted file was on its way. It stays. %s"
CHANGED = "%s was changed since it was placed and is another file than the wanted one. It stays. %s"
FOREIGN = "%s exists, was not placed by us and is another file than the wanted one. It stays. %s"
UNKNOWN = (
    "%s exists and was not placed by us, and its source tells neither size nor hash to know it by. It stays. %s With sha256 it is "
    "adopted if it is the one."
)
ABOUT = 1024  # bytes that a size which is only nearly right may be wrong by


class NoRoom(TransferError):
    """The disks are too small for the batch. ``items`` is its plan; nothing was done."""

    def __init__(self, message: str, items: list[Item]) -> None:
        super().__init__(message)
        self.items = items


def explained(exc: Exception, what: str) -> str:
    """A sentence for whatever went wrong. The text of an exception that nobody foresaw stays out: it may hold a URL."""
    if isinstance(exc, SdopsError):
        return str(exc)
    if isinstance(exc, OSError):
        return f"{printable(str(exc.filename or what))}: {exc.strerror or type(exc).__name__}."
    frames = traceback.extract_tb(sys.exc_info()[2])
    where = [frame for frame in frames if "module_utils" in frame.filename][-1]
    return f"{what}: something that nobody foresaw ({type(exc).__name__} in {os.path.basename(where.filename)}, line {where.lineno}). Please report it."


class ContentChangedError(SdopsError):
    """The source gives other content than what was recorded when the model was placed."""


class Wants(NamedTuple):
    """What holds for a whole batch. ``accept_change``: of every model (see ModelSpec)."""

    webui_dir: str
    allow_pickle: bool
    verify: str
    cache_dir: str | None
    huggingface_endpoint: str
    civitai_endpoint: str
    huggingface_token: str | None
    civitai_token: str | None
    connections: int
    proxies: dict[str, str]  # by origin, where it is not the common one
    check_mode: bool
    accept_change: bool = False
    force: bool = False  # whether any file at the path of a single download may be replaced
    state_file: str = ""  # where single downloads are noted: what is as noted may be replaced


class Item:
    """One file of the batch, and what becomes of it.

    ``status``: ok, fetch, adopt, copy, from cache (planned), fetched, adopted, copied, from cache (done), removed, failed, or
    unresolved (in check mode, when the source cannot be asked yet).
    """

    def __init__(self, spec: ModelSpec, line: Line | None = None, beside: str = "") -> None:
        self.spec = spec
        self.beside = beside  # of a sidecar: the model's path
        self.twin: Item | None = None  # an equal wish that came before
        self.planned = 0  # bytes that will come over the network, as far as is known
        self.line = line or Line(spec.name or spec.label)
        self.path = ""  # until it is known
        self.kind = spec.kind
        self.remote = RemoteFile("", spec.label)  # until the source has been asked
        self.sha256: str | None = spec.sha256
        self.size: int | None = None
        self.received = 0
        self.status = "planned"
        self.reason = ""
        self.warnings: list[str] = []
        self.stays = ""  # why what lies at the path must not be replaced, unless the wanted file begins with all of it
        self.there: tuple[int, ...] | None = None  # which file lay at the path when it was decided
        self.advice = "Move it away, or set another name."  # for a file that stays
        self.recorded: set[str] = set()  # hashes that this source gave before, where other content needs a consent
        self.seconds = 0.0

    @contextlib.contextmanager
    def clock(self) -> Any:
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds += time.monotonic() - started

    def settle(self, status: str, sha256: str | None, size: int | None) -> None:
        self.status, self.sha256, self.size = status, sha256, size
        self.line.tell("done", size, size)

    def fail(self, reason: str, status: str = "failed") -> None:
        self.status, self.reason = status, reason
        self.line.tell("failed")

    def warn(self, sentence: str) -> None:
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def result(self) -> dict[str, Any]:
        entry = {
            "name": printable(os.path.basename(self.path) or self.spec.name or self.spec.label),
            "kind": self.kind,
            "path": self.path or None,
            "sha256": self.sha256,
            "bytes": self.size,
            "source": printable(self.spec.label),
            "revision": self.remote.revision and printable(self.remote.revision),
            "status": self.status,
            "seconds": round(self.seconds, 2),
        }
        if self.reason:
            entry["reason"] = printable(self.reason)
        return entry


Note = Callable[[Item, str, str], None]


class Placer:
    """Places models of one batch. The Http is made on first use: a batch with nothing to do needs no library."""

    def __init__(self, wants: Wants, http_options: dict[str, Any], progress: Progress) -> None:
        self.wants = wants
        self.record = Record(wants.webui_dir)
        self.progress = progress
        self._http_options = http_options
        self.space_needed = 0  # bytes that the batch takes on all disks, as far as is known
        self._https: dict[str, Http] = {}
        self._single_files: dict[str, str] = {}  # path to hash of what single downloads have placed, as noted
        self._lock = threading.Lock()

    def http(self, spec: ModelSpec) -> Http:
        """The connection to the model's source: each source may have its own way out."""
        with self._lock:
            proxy = self.wants.proxies.get(spec.origin, self._http_options["proxy"])
            if spec.origin not in self._https:
                # a plain URL never carries a token, wherever it leads
                endpoint, token = {
                    "huggingface": (self.wants.huggingface_endpoint, self.wants.huggingface_token),
                    "civitai": (self.wants.civitai_endpoint, self.wants.civitai_token),
                }.get(spec.origin, ("", None))
                options = {**self._http_options, "proxy": proxy}
                self._https[spec.origin] = Http(tokens={endpoint: token} if token else {}, **options)
            return self._https[spec.origin]

    # --- the batch -----------------------------------------------------------------------------------------------------

    def place_all(self, specs: list[ModelSpec], parallel: int) -> list[Item]:
        """Plan everything; outside check mode bring it. Failures are in the items. Raises NoRoom, with the plan."""
        with self.progress:
            wishes = [(spec, self.progress.line(spec.name or spec.label)) for spec in specs]
            with ThreadPoolExecutor(max_workers=ASKING) as pool:
                items = [item for planned in pool.map(lambda wish: self._plan_model(*wish), wishes) for item in planned]
            self._refuse_twins(items)
            needs: list[tuple[str, int]] = []
            for item in items:
                if item.twin is None:
                    self._try(item, lambda item=item: needs.extend(self._needs(item)))  # type: ignore[misc]
            self.space_needed = sum(size for _, size in needs)
            try:
                check_space((directory, size) for directory, size in needs if directory)
            except TransferError as exc:
                raise NoRoom(str(exc), items) from None
            if not self.wants.check_mode:
                open_ones = [item for item in items if item.status in DONE]
                with ThreadPoolExecutor(max_workers=max(1, parallel)) as pool:
                    list(pool.map(self._guarded, open_ones))
                for item in items:
                    if item.twin is not None:
                        self._as_twin(item, item.twin)
            return items

    def _plan_model(self, spec: ModelSpec, line: Line) -> list[Item]:
        """A model, and its sidecars once it is known where it lies."""
        items = [Item(spec, line)]
        self._try(items[0], lambda: self._plan(items[0]))
        main = items[0]
        for what in ("config", "vae"):
            source = getattr(spec, what)
            if source and main.path and main.status not in ("failed", "unresolved"):
                line_of_it = self.progress.line(f"{what} of {line.name}")
                wish = ModelSpec(
                    source,
                    "",
                    {},
                    kind=what,
                    sha256=getattr(spec, what + "_sha256"),
                    trusted=getattr(spec, what + "_trusted"),
                )
                item = Item(wish, line_of_it, beside=main.path)
                items.append(item)
                self._try(item, lambda item=item: self._plan_sidecar(item))  # type: ignore[misc]
        return items

    def _try(self, item: Item, step: Callable[[], None]) -> None:
        with item.clock():
            try:
                step()
            except Exception as exc:  # whatever it is: the others go on
                unresolved = self.wants.check_mode and isinstance(exc, TransferError)
                item.fail(explained(exc, item.path or item.spec.label), "unresolved" if unresolved else "failed")

    def _guarded(self, item: Item) -> None:
        self._try(item, lambda: self._bring(item))

    @staticmethod
    def _refuse_twins(items: Iterable[Item]) -> None:
        """Two wishes for one path would overwrite each other in every run."""
        first: dict[str, Item] = {}
        for item in items:
            if not item.path or item.status in ("failed", "unresolved"):
                continue
            twin = first.setdefault(item.path, item)
            if twin is item:
                continue
            hashes = {item.sha256, twin.sha256}
            if len(hashes - {None}) > 1 or (None in hashes and item.spec.identity != twin.spec.identity):
                item.fail(
                    f"{item.spec.label} would overwrite the file of {twin.spec.label}. Set name, or the same sha256 for both if they are one file."
                )
            else:
                item.twin = twin
                item.settle("ok", twin.sha256, twin.size)

    @staticmethod
    def _as_twin(item: Item, twin: Item) -> None:
        if twin.status == "failed":
            item.fail(twin.reason)
        else:
            item.settle("ok", twin.sha256, twin.size)

    def _needs(self, item: Item) -> list[tuple[str, int]]:
        """(directory, bytes) that an item will take; notes what of it comes over the network."""
        if item.status == "unresolved":
            item.planned = item.spec.size or 0
            return [("", item.planned)]  # nobody knows yet where
        if item.status not in ("copy", "from cache", "fetch"):
            return []
        here = os.path.dirname(item.path)
        if item.status == "copy":
            return [(here, item.size or 0)]
        size = item.remote.size or item.remote.about or item.spec.size or 0
        cached = self._cached(item.remote)
        kept = [] if cached and _same_disk(cached, here) else [(here, size)]
        if item.status == "from cache":
            return kept
        if cached and not os.access(existing(os.path.dirname(cached)), os.W_OK):
            cached = None
        if item.spec.origin == "magnet":  # comes elsewhere first, and is moved
            work = self._torrent(item)[: -len(".torrent")]
            item.planned = max(size - magnet.fetched(work), 0)
            there = os.path.dirname(cached or item.path)
            return [
                (work, item.planned),
                *([] if _same_disk(work, there) else [(there, size)]),
                *(kept if cached else []),
            ]
        where = cached or item.path
        item.planned = max(size - Partial(where, item.remote).have(), 0)
        return [(os.path.dirname(where), item.planned), *(kept if cached else [])]

    # --- planning one file ---------------------------------------------------------------------------------------------

    def _resolve(self, item: Item) -> RemoteFile:
        """Ask the source. A file on the target is a RemoteFile with a file:// URL. Raises SdopsError."""
        spec, wants = item.spec, self.wants
        item.line.tell("asking")
        if spec.origin == "huggingface":
            remote = huggingface.resolve(
                spec.where, self.http(spec), wants.huggingface_endpoint, bool(wants.huggingface_token)
            )
        elif spec.origin == "civitai":
            remote = self._resolve_civitai(item)
        elif spec.origin == "url":
            remote = direct.resolve(spec.where, self.http(spec))
        elif spec.origin == "magnet":
            remote = magnet.resolve(spec.where, spec.name, self._torrent(item), keep=not wants.check_mode)
        else:
            path = spec.where["path"]
            refuse_irregular(path, follow=True)
            if not os.path.isfile(path):
                raise SdopsError(f"There is no file {path} on the target.")
            remote = RemoteFile("file://" + path, safe_name(os.path.basename(path)), os.path.getsize(path))
        if spec.sha256 and remote.sha256 and spec.sha256.lower() != remote.sha256:
            if spec.origin != "civitai":
                raise SdopsError(
                    f"{spec.label} has SHA-256 {remote.sha256} at its source, but {spec.sha256} is wanted. The source has changed, or the wish is for another file."
                )
            item.warn(
                f"{spec.label}: Civitai lists SHA-256 {remote.sha256} for it, but {spec.sha256} is wanted. Its list has wrong ones, so the file itself decides: it is "
                "taken only if its hash is the wanted one."
            )
        item.remote = remote._replace(sha256=(spec.sha256 or "").lower() or remote.sha256)
        if remote.sha256:  # else it is known when the file is here
            self._compare_recorded(item, remote.sha256)
        return item.remote

    def _resolve_civitai(self, item: Item) -> RemoteFile:
        """Ask Civitai, at the site that the link names if it names one."""
        spec, http = item.spec, self.http(item.spec)
        endpoint = spec.endpoint or self.wants.civitai_endpoint
        with_token = http.sends_token(endpoint)
        if spec.endpoint and self.wants.civitai_token and not with_token:
            item.warn(
                f"{spec.label} is asked for at {endpoint} without the civitai_token, which is for {scrub(self.wants.civitai_endpoint)} alone. If the token is for it too, set "
                f"civitai_endpoint to {endpoint}."
            )
        return civitai.resolve(spec.where, http, endpoint, with_token, (spec.sha256 or "").lower())

    def _compare_recorded(self, item: Item, sha256: str) -> None:
        """Raise ContentChangedError when a source without a ``sha256`` of the user's gives other content than it gave before."""
        spec = item.spec
        if spec.sha256 or not item.recorded or sha256 in item.recorded:
            return
        change = "{} has changed at its source: its SHA-256 is {}, and it was {} when the model was placed.".format(
            spec.label,
            sha256,
            " or ".join(sorted(item.recorded)),
        )
        if not (spec.accept_change or self.wants.accept_change):
            raise ContentChangedError(
                f"{change} The new content was not taken. Set accept_change: true for this model if the change is expected, or give "
                "the sha256 that is wanted."
            )
        item.warn(change)

    def _recorded(self, item: Item) -> bool:
        """Settle an item that was placed before and is still there; costs a stat."""
        spec = item.spec
        if item.beside:
            beside = self.record.beside(item.beside).items()
            found = {p: e for p, e in beside if (e["wish"], e["kind"]) == (spec.wish, spec.kind)}
        else:
            found = self.record.of(spec.wish, spec.kind, spec.name)
        for there, entry in found.items():
            item.recorded.add(entry["sha256"])
            if spec.sha256 in (None, entry["sha256"]) and self.record.get(there):
                if self.wants.verify == "always" and self._sha256(item, there) != entry["sha256"]:
                    continue
                item.path, item.kind = there, entry["kind"]
                item.remote = RemoteFile("", item.spec.label, revision=entry.get("revision"))
                item.settle("ok", entry["sha256"], entry["bytes"])
                return True
        return False

    def _plan(self, item: Item) -> None:
        spec = item.spec
        if spec.problem:
            raise SdopsError(spec.problem)
        if self._recorded(item):
            return
        if spec.name:
            self._refuse_pickle(spec, spec.name)
        remote = self._resolve(item)
        item.kind = spec.kind or remote.kind
        if item.kind is None:
            raise SdopsError(
                f"The kind of {spec.label} is not known; set kind (checkpoint, lora, embedding, vae, ...)."
            )
        item.path = path_of(self.wants.webui_dir, item.kind, spec.name or _told_name(spec, remote, "set name"))
        self._decide(item)

    def _plan_sidecar(self, item: Item) -> None:
        what = item.kind or ""
        parsed = parse_source(item.spec.source, Endpoints(self.wants.huggingface_endpoint, self.wants.civitai_endpoint))
        item.spec = parsed._replace(kind=what, sha256=item.spec.sha256, trusted=item.spec.trusted)
        if self._recorded(item):
            return
        remote = self._resolve(item)
        advice = "take its VAE from another address"
        item.path = sidecar(item.beside, what, "" if what == "config" else _told_name(item.spec, remote, advice))
        self._decide(item)

    def _decide(self, item: Item) -> None:
        """What has to be done, now that source and path are known."""
        item.line.name = os.path.basename(item.path)
        self._refuse_pickle(item.spec, _format_name(item))
        remote = item.remote
        item.size = remote.size if remote.size is not None else remote.about
        item.line.tell("waiting", None, item.size)
        refuse_unusable_directory(os.path.dirname(item.path))
        refuse_long_name(item.path)
        item.there = _identity(item.path)
        if refuse_irregular(item.path, follow=True):
            if self._same(item):
                item.status = "adopt"
                return
            if not self.wants.force and not self._is_ours(item):
                self._refuse_to_overwrite(item)
        if remote.url.startswith("file://"):
            item.status = "copy"
        else:
            cached = self._cached(remote)
            item.status = "from cache" if cached and _is_cached(cached) else "fetch"
        item.sha256 = remote.sha256

    def _is_ours(self, item: Item) -> bool:
        """Whether what lies at the path is what we placed there: by its size and time, or by its hash."""
        noted = self._single_files.get(item.path)
        if noted:
            return noted == self._sha256(item, item.path)
        placed = self.record.placed(item.path)
        if placed is None or self.record.get(item.path):
            return placed is not None
        return bool(placed["bytes"] == os.path.getsize(item.path) and placed["sha256"] == self._sha256(item, item.path))

    def _refuse_to_overwrite(self, item: Item) -> None:
        """Raise SdopsError unless the file at the path is provably nobody's loss: no model at all, or the start of the wanted one.

        What it is good for is not judged: that we cannot read a file does not make it damaged.
        """
        path, remote = item.path, item.remote
        with os.fdopen(open_regular(path, follow=True), "rb") as handle:
            head = handle.read(HEAD)
            size = os.fstat(handle.fileno()).st_size
        if is_no_model(head, path.lower().endswith(WEIGHTS)):
            return
        foreign = FOREIGN if _can_tell(remote) else UNKNOWN
        was_ours = self.record.placed(path) or path in self._single_files
        item.stays = (CHANGED if was_ours else foreign) % (path, item.advice)
        # all of it is compared when the wanted file is here
        if size >= (remote.size or remote.about or 0) or not self._begins_like(item, head):
            raise SdopsError(item.stays)

    def _begins_like(self, item: Item, head: bytes) -> bool:
        """Whether the wanted file begins with ``head``. Where that cannot be asked, it is compared later. Raises TransferError."""
        url = item.remote.url
        cached = self._cached(item.remote)
        here = url[7:] if url.startswith("file://") else cached if cached and _is_cached(cached) else None
        if here:
            with os.fdopen(open_regular(here, follow=True), "rb") as handle:
                return handle.read(len(head)) == head
        if item.spec.origin == "magnet":
            return True
        answer = self.http(item.spec).request("GET", url, {"Range": "bytes=0-%d" % (len(head) - 1)}, stream=True)
        with contextlib.closing(answer):
            return answer.status_code in (200, 206) and answer.raw.read(len(head), decode_content=False) == head

    def _refuse_loss(self, item: Item, sha256: str, whole: str) -> None:
        """Raise SdopsError when the file at the path, which is about to be replaced by ``whole``, would be a loss.

        It is when it was not there before, or when it is to be the start of the wanted one and is not.
        """
        there = _identity(item.path)
        if there and there != item.there and not self.wants.force and self._sha256(item, item.path) != sha256:
            raise SdopsError(APPEARED % (item.path, item.advice))
        if not item.stays or not os.path.isfile(item.path):
            return
        with os.fdopen(open_regular(item.path, follow=True), "rb") as old, os.fdopen(open_regular(whole), "rb") as new:
            for block in iter(lambda: old.read(CHUNK), b""):
                if new.read(len(block)) != block:
                    raise SdopsError(item.stays)

    def _sha256(self, item: Item, path: str) -> str:
        size = os.path.getsize(path)
        return sha256_of(path, lambda count: item.line.tell("verifying", count, size))

    def _same(self, item: Item) -> bool:
        """Whether the file that lies there is the wanted one.

        By its hash; where the source tells none, by the hash that we noted when we placed it, else by its size and structure.
        """
        path, remote = item.path, item.remote
        if not os.path.isfile(path) or (remote.size is not None and os.path.getsize(path) != remote.size):
            return False
        if remote.url.startswith("file://"):
            item.sha256 = self._sha256(item, path)
            return item.sha256 == sha256_of(remote.url[7:])
        if remote.sha256:
            item.sha256 = remote.sha256
            return self._sha256(item, path) == remote.sha256
        if remote.git_sha1:
            return git_sha1_of(path) == remote.git_sha1
        placed = self.record.placed(path)
        if placed is not None and placed["wish"] != item.spec.wish:
            return False
        if placed is None:
            near = remote.size is not None or abs(os.path.getsize(path) - (remote.about or 0)) <= ABOUT
            if not _can_tell(remote) or not (near or remote.sha256_prefix):
                return False
            try:
                self._check(item, path, "")
            except ContentError:
                return False
        item.sha256 = self._sha256(item, path)
        return item.sha256.startswith(placed["sha256"] if placed else remote.sha256_prefix or "")

    def _cached(self, remote: RemoteFile) -> str | None:
        sha256 = hex_digits(remote.sha256, 64)
        if not self.wants.cache_dir or sha256 is None or remote.url.startswith("file://"):
            return None
        path = self.wants.cache_dir
        for name in ("sha256", sha256[:2]):
            path = os.path.join(path, name)
            if os.path.islink(path) and os.lstat(path).st_uid not in (0, os.geteuid()):
                raise SdopsError(
                    f"{path} is a symbolic link of another user, so the cache is not used. Remove it, or set another cache_dir."
                )
        return os.path.join(path, sha256)

    def _refuse_pickle(self, spec: ModelSpec, name: str) -> None:
        refuse_pickle(name, self.wants.allow_pickle or spec.trusted)

    def _check(self, item: Item, path: str, sha256: str) -> None:
        """Judge a file by its content, under the name that it will have; a trusted one by nothing but its hash."""
        if item.spec.trusted and sha256 == item.spec.sha256:
            return
        check(path, _format_name(item), self.wants.allow_pickle)

    # --- bringing one file ---------------------------------------------------------------------------------------------

    def _bring(self, item: Item) -> None:
        key = hashlib.sha256(os.path.relpath(item.path, self.wants.webui_dir).encode()).hexdigest()[:16]
        with locked(os.path.join(self.wants.webui_dir, ".sdops", "locks", key)) as held:
            if item.status != "adopt" and os.path.exists(item.path) and self._same(item):
                item.status = "adopt"  # another run was faster
            sha256 = self._act(item, held, self._note)
            if self.record.get(item.path) is None:  # adopted, or a file system that changes times behind our back
                self._note(item, sha256, item.path)
        item.settle(DONE[item.status], sha256, os.path.getsize(item.path))

    def _note(self, item: Item, sha256: str, stand_in: str) -> None:
        """Record a file, before it gets its name: a kill in between must not leave one that we do not know as ours."""
        self._refuse_loss(item, sha256, stand_in)
        self.record.put(
            item.path,
            stand_in,
            beside=item.beside,
            wish=item.spec.wish,
            source=item.spec.label,
            kind=item.kind,
            sha256=sha256,
            revision=item.remote.revision,
            own_name=item.remote.filename,
            own_kind=item.remote.kind,
        )

    def _act(self, item: Item, held: bool, note: Note) -> str:
        """Do what was planned; the file's SHA-256. ``held``: under a lock; ``note`` is called before the file gets its name."""
        os.makedirs(os.path.dirname(item.path), exist_ok=True)
        if item.status == "adopt":
            sha256 = item.sha256 or self._sha256(item, item.path)
            self._check(item, item.path, sha256)
            return sha256
        if item.status == "copy":
            return self._copy(item, item.remote.url[7:], item.path, held, note)
        try:
            return self._fetch(item, held, note)
        except SourceChanged:
            self._resolve(item)  # once: what is there now
            return self._fetch(item, held, note)

    def _fetch(self, item: Item, held: bool, note: Note) -> str:
        """Bring a file from the cache or over the network."""
        item.status = "fetch"
        cached = self._cached(item.remote)
        if cached is None:
            return self._download(item, item.path, held, note)
        if not _writable(os.path.dirname(cached)):
            sha256 = self._from_cache(item, cached, held, note)
            return sha256 or self._download(item, item.path, held, note)
        with locked(cached + ".lock") as alone:  # one host downloads, the others wait and take it from here
            sha256 = self._from_cache(item, cached, held, note)
            if sha256:
                return sha256
            unlink_all([cached])  # damaged
            self._download(item, cached, alone, lambda *_: None)
            return self._take(item, cached, held, note, verified=True)

    def _from_cache(self, item: Item, cached: str, held: bool, note: Note) -> str | None:
        """The file's SHA-256 when the cache has it, whole."""
        if _is_cached(cached):
            with contextlib.suppress(TransferError):
                sha256 = self._take(item, cached, held, note)
                item.status = "from cache"
                return sha256
        return None

    def _download(self, item: Item, dest: str, held: bool, note: Note) -> str:
        """Download to ``dest``, verified; its content is judged under the name it will have."""
        if item.spec.origin == "magnet":
            return self._download_torrent(item, dest, held, note)
        name = own_name(dest, held)
        if not held:
            _inherit(dest, name)
        got = Fetcher(self.http(item.spec), self.wants.connections).fetch(item.remote, name, item.line.tell)
        item.received += got.received
        try:
            self._compare_recorded(item, got.sha256)
            self._check(item, got.partial.path, got.sha256)
        except SdopsError:
            got.partial.discard()
            raise
        note(item, got.sha256, got.partial.path)
        got.partial.publish(dest)
        return got.sha256

    def _torrent(self, item: Item) -> str:
        """Where the metadata of a magnet link's torrent is kept until its file is here; what comes lies in a directory beside it.

        Each model has its own: two files of one torrent would be in each other's way.
        """
        spec = item.spec
        key = "\0".join([spec.wish, spec.kind or "", spec.name or "", spec.where.get("file", ""), item.beside])
        name = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16] + ".torrent"
        return os.path.join(self.wants.webui_dir, ".sdops", "magnet", name)

    def _download_torrent(self, item: Item, dest: str, held: bool, note: Note) -> str:
        torrent = self._torrent(item)
        work = own_name(torrent[: -len(".torrent")], held)
        wanted = (item.spec.where.get("file"), item.spec.name or item.remote.filename)
        found = magnet.fetch(
            item.remote, torrent, wanted, work, lambda count: item.line.tell("fetching", count, item.remote.size)
        )
        item.received += os.path.getsize(found)
        if _same_disk(found, os.path.dirname(dest)):
            sha256 = self._sha256(item, found)
            self._accept(item, found, found, sha256)
            note(item, sha256, found)
            publish(found, dest)
        else:
            sha256 = self._copy(item, found, dest, held, note)
        shutil.rmtree(work, ignore_errors=True)
        unlink_all([torrent])
        return sha256

    def _take(self, item: Item, cached: str, held: bool, note: Note, verified: bool = False) -> str:
        """From the cache: a second name for the same bytes where the disk is the same, else a copy.

        A file that another user owns or may write is copied: by its second name the model could be changed later.
        """
        sha256 = item.remote.sha256 or ""
        link = _temporary(item.path, held)
        if not is_private(cached, links=None) or not link_to(cached, link):
            return self._copy(item, cached, item.path, held, note)
        try:
            if not verified and self._sha256(item, link) != sha256:
                raise TransferError(f"{cached} in the cache is damaged.")
            self._check(item, link, sha256)
            note(item, sha256, link)
            publish(link, item.path)
        finally:
            # renaming one name of a file onto another name of it does nothing
            unlink_all([link])
        return sha256

    def _copy(self, item: Item, source: str, dest: str, held: bool, note: Note) -> str:
        size = os.path.getsize(source)
        tell = item.line.tell
        temporary = _temporary(dest, held)
        have = copy_hashed(source, temporary, lambda count: tell("verifying", count, size))
        try:
            self._accept(item, source, temporary, have)
            note(item, have, temporary)
            publish(temporary, dest)
        except BaseException:
            unlink_all([temporary])
            raise
        return have

    def _accept(self, item: Item, source: str, path: str, sha256: str) -> None:
        """Raise SdopsError when the content of ``source``, which lies at ``path``, is not to be used."""
        wanted = item.remote.sha256 or item.spec.sha256
        if wanted and sha256 != wanted:
            raise TransferError(f"{source} has SHA-256 {sha256} and not {wanted}; it was not used.")
        self._compare_recorded(item, sha256)
        self._check(item, path, sha256)

    # --- one file, judged by its hash ------------------------------------------------------------------------------------

    def place_at(self, spec: ModelSpec, dest: str) -> Item:
        """Bring one file to ``dest``, a path or a directory (one that exists, or with a slash at its end).

        It is noted nowhere but in the state file, if there is one. Raises SdopsError.
        """
        item = Item(spec)
        item.advice = "Move it away, choose another dest, or set force: true to have it replaced."
        with item.clock():
            try:
                self._place_at(item, dest)
                if self.wants.state_file and not self.wants.check_mode and item.sha256:
                    if self._single_files.get(item.path) != item.sha256:
                        note_single_file(self.wants.state_file, item.path, item.sha256)
            except SdopsError:
                raise
            except Exception as exc:
                raise SdopsError(explained(exc, item.path or spec.label)) from exc
        return item

    def _place_at(self, item: Item, dest: str) -> None:
        spec = item.spec
        into = dest.endswith("/") or os.path.isdir(dest)
        if not into:
            self._refuse_pickle(spec, dest)
        remote = self._resolve(item)
        item.path = os.path.abspath(dest)
        self._single_files = load_single_files(self.wants.state_file) if self.wants.state_file else {}
        if into:
            item.path = os.path.join(item.path, _told_name(spec, remote, "give dest with a file name"))
        self._decide(item)
        if item.status == "adopt":
            item.settle("ok", item.sha256, os.path.getsize(item.path))
            return
        check_space(self._needs(item))
        if self.wants.check_mode:
            return
        directory = os.path.dirname(item.path)
        os.makedirs(directory, exist_ok=True)
        with locked(directory) as held:  # itself: a lock file would be left lying about in somebody's directory
            sha256 = self._act(item, held, self._refuse_loss)
        item.settle("fetched", sha256, os.path.getsize(item.path))

    # --- removal -------------------------------------------------------------------------------------------------------

    def remove(self, spec: ModelSpec) -> list[Item]:
        """Remove what we placed for this wish and beside it, and nothing else: what was changed since is not ours any more.

        Failures are in the items.
        """
        items = []
        if spec.problem:
            items.append(Item(spec))
            items[0].fail(spec.problem)
            return items
        placed = self.record.of(spec.wish, spec.kind, spec.name)
        for path in [side for main in placed for side in (*self.record.beside(main), main)]:
            item = Item(spec)
            item.path = path
            self._try(item, lambda item=item: self._remove(item))  # type: ignore[misc]
            items.append(item)
        if not placed:
            item = Item(spec)
            self._try(item, lambda: self._remove_part(item))
            items += [item] if item.status != "planned" else []
        return items

    def _remove_part(self, item: Item) -> None:
        """What a run that was cut left of a model that was never placed, if its path can be told without its source."""
        spec = item.spec
        name = spec.name or (os.path.basename(spec.where["file"]) if spec.origin == "huggingface" else "")
        if not spec.kind or not name:
            return
        path = path_of(self.wants.webui_dir, spec.kind, safe_name(name))
        part = Partial(path, item.remote)
        if self.record.placed(path) or not os.path.exists(part.path):
            return
        if not self.wants.check_mode:
            part.discard()
        item.path = part.path
        item.settle("removed", None, None)

    def _remove(self, item: Item) -> None:
        path = item.path
        entry = self.record.placed(path) or {}
        item.kind = entry["kind"]
        if os.path.exists(path) and self.record.get(path) is None:
            raise SdopsError(f"{path} was changed since it was placed; it stays. Remove it by hand if you mean it.")
        if not self.wants.check_mode:
            # a part that a killed run left goes too
            Partial(path, item.remote).discard()
            unlink_all([path])
            self.record.drop(path)
        item.settle("removed", entry["sha256"], entry["bytes"])


def _identity(path: str) -> tuple[int, ...] | None:
    """What changes when another file takes a path or when it is written to; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _format_name(item: Item) -> str:
    """The name that tells a file's format: its own, or its source's where its own has no extension."""
    name = os.path.basename(item.path)
    return name if os.path.splitext(name)[1] else item.remote.filename or name


def _told_name(spec: ModelSpec, remote: RemoteFile, advice: str) -> str:
    """The name that the source gives. Raises SdopsError when it gives none."""
    if not remote.filename:
        raise SdopsError(f"The source of {spec.label} tells no file name that can be used; {advice}.")
    return remote.filename


def _can_tell(remote: RemoteFile) -> bool:
    """Whether the source tells enough to know its file by."""
    told = (remote.sha256, remote.sha256_prefix, remote.git_sha1, remote.size, remote.about)
    return any(one is not None for one in told)


def _temporary(dest: str, held: bool) -> str:
    """Where a file lies until it is called ``dest``: always the same place, so that kills leave one at most."""
    head, name = os.path.split(own_name(dest, held))
    return os.path.join(head, f".{short_name(name)}.new")


def _inherit(dest: str, name: str) -> None:
    """Without locks, what a process that is no more left of ``dest`` goes on as ``name``."""
    mine = Partial(name, RemoteFile("", ""))
    for left in left_names(dest):
        theirs = Partial(left, RemoteFile("", ""))
        whole = os.path.exists(theirs.path) and os.path.exists(theirs.journal.path)
        if whole and not os.path.exists(mine.path):
            unlink_all([mine.journal.path])
            with contextlib.suppress(FileNotFoundError):
                os.replace(theirs.path, mine.path)
                os.replace(theirs.journal.path, mine.journal.path)
        theirs.discard()
        unlink_all([_temporary(left, True)])


def _writable(directory: str) -> bool:
    """A cache that cannot be written is no reason to fail."""
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError:
        return False
    return os.access(directory, os.W_OK)


def _is_cached(path: str) -> bool:
    """Whether a file lies in the cache; a link there counts as damage. Raises FileTypeError for a directory, a FIFO, ..."""
    return not os.path.islink(path) and refuse_irregular(path) is not None


def _same_disk(one: str, other: str) -> bool:
    return os.stat(existing(one)).st_dev == os.stat(existing(other)).st_dev

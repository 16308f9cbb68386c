# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A batch of models: first everything is asked and planned, then, if the disks have room for all of it, brought."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Tuple

from ..errors import SdopsError
from ..safety.content import ContentError, check, refuse_pickle
from ..safety.names import safe_name
from ..sources import civitai, direct, huggingface, magnet
from ..transfer.disk import (
    check_space,
    copy_hashed,
    existing,
    git_sha1_of,
    link_beside,
    locked,
    publish,
    sha256_of,
    unlink_all,
)
from ..transfer.fetch import Fetcher, Partial, RemoteFile, SourceChanged
from ..transfer.http import Http, TransferError
from .layout import path_of, sidecar
from .progress import Line, Progress
from .record import Record
from .spec import ModelSpec, parse_source

ASKING = 8  # sources are asked by so many at once: that is waiting, not bandwidth
# what will be done -> what was done
DONE = {"fetch": "fetched", "adopt": "adopted", "copy": "copied", "from cache": "from cache"}


class Wants(NamedTuple):
    """What holds for a whole batch."""

    webui_dir: str
    allow_pickle: bool
    verify: str
    cache_dir: Optional[str]
    huggingface_endpoint: str
    civitai_endpoint: str
    huggingface_token: Optional[str]
    civitai_token: Optional[str]
    connections: int
    proxies: Dict[str, str]  # by origin, where it is not the common one
    check_mode: bool


class Item:
    """One file of the batch, and what becomes of it.

    ``status``: ok, fetch, adopt, copy, from cache (planned), fetched, adopted, copied, from cache (done), removed, failed, or
    unresolved (in check mode, when the source cannot be asked yet).
    """

    def __init__(self, spec: ModelSpec, line: Optional[Line] = None) -> None:
        self.spec = spec
        self.line = line or Line(spec.name or spec.label)
        self.path = ""  # until it is known
        self.kind = spec.kind
        self.remote = RemoteFile("", spec.label)  # until the source has been asked
        self.sha256: Optional[str] = spec.sha256
        self.size: Optional[int] = None
        self.received = 0
        self.status = "planned"
        self.reason = ""
        self.seconds = 0.0

    @contextlib.contextmanager
    def clock(self) -> Any:
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds += time.monotonic() - started

    def settle(self, status: str, sha256: Optional[str], size: Optional[int]) -> None:
        self.status, self.sha256, self.size = status, sha256, size
        self.line.tell("done", size, size)

    def fail(self, reason: str, status: str = "failed") -> None:
        self.status, self.reason = status, reason
        self.line.tell("failed")

    def result(self) -> Dict[str, Any]:
        entry = {
            "name": os.path.basename(self.path) or self.spec.name or self.spec.label,
            "kind": self.kind,
            "path": self.path or None,
            "sha256": self.sha256,
            "bytes": self.size,
            "source": self.spec.label,
            "revision": self.remote.revision,
            "status": self.status,
            "seconds": round(self.seconds, 2),
        }
        if self.reason:
            entry["reason"] = self.reason
        return entry


class Placer:
    """Places models of one batch. The Http is made on first use: a batch with nothing to do needs no library."""

    def __init__(self, wants: Wants, http_options: Dict[str, Any], progress: Progress) -> None:
        self.wants = wants
        self.record = Record(wants.webui_dir)
        self.progress = progress
        self._http_options = http_options
        self._https: Dict[str, Http] = {}
        self._lock = threading.Lock()

    def http(self, spec: ModelSpec) -> Http:
        """The connection to the model's source: each source may have its own way out."""
        with self._lock:
            proxy = self.wants.proxies.get(spec.origin, self._http_options["proxy"])
            if spec.origin not in self._https:
                tokens = {
                    self.wants.huggingface_endpoint: self.wants.huggingface_token,
                    self.wants.civitai_endpoint: self.wants.civitai_token,
                }
                options = {**self._http_options, "proxy": proxy}
                self._https[spec.origin] = Http(tokens={k: v for k, v in tokens.items() if v}, **options)
            return self._https[spec.origin]

    # --- the batch -----------------------------------------------------------------------------------------------------

    def place_all(self, specs: List[ModelSpec], parallel: int) -> List[Item]:
        """Plan everything; outside check mode bring it. Failures are in the items. Raises TransferError without room."""
        with self.progress:
            wishes = [(spec, self.progress.line(spec.name or spec.label)) for spec in specs]
            with ThreadPoolExecutor(max_workers=ASKING) as pool:
                items = [item for planned in pool.map(lambda wish: self._plan_model(*wish), wishes) for item in planned]
            self._refuse_twins(items)
            open_ones = [item for item in items if item.status in DONE]
            check_space(need for item in open_ones for need in self._needs(item))
            if not self.wants.check_mode:
                with ThreadPoolExecutor(max_workers=max(1, parallel)) as pool:
                    list(pool.map(self._guarded, open_ones))
            return items

    def _plan_model(self, spec: ModelSpec, line: Line) -> List[Item]:
        """A model, and its sidecars once it is known where it lies."""
        items = [Item(spec, line)]
        self._try(items[0], lambda: self._plan(items[0]))
        main = items[0]
        for what in ("config", "vae"):
            source = getattr(spec, what)
            if source and main.path and main.status not in ("failed", "unresolved"):
                item = Item(
                    ModelSpec(str(source), "", {}, kind=what), self.progress.line("%s of %s" % (what, line.name))
                )
                items.append(item)
                self._try(item, lambda item=item: self._plan_sidecar(item, main.path))  # type: ignore[misc]
        return items

    def _try(self, item: Item, step: Callable[[], None]) -> None:
        with item.clock():
            try:
                step()
            except SdopsError as exc:
                unresolved = self.wants.check_mode and isinstance(exc, TransferError)
                item.fail(str(exc), "unresolved" if unresolved else "failed")
            except OSError as exc:
                item.fail("%s: %s." % (exc.filename or item.path or item.spec.label, exc.strerror or exc))

    def _guarded(self, item: Item) -> None:
        self._try(item, lambda: self._bring(item))

    @staticmethod
    def _refuse_twins(items: Iterable[Item]) -> None:
        """Two wishes for one path would overwrite each other in every run."""
        first: Dict[str, Item] = {}
        for item in items:
            if not item.path or item.status in ("failed", "unresolved"):
                continue
            twin = first.setdefault(item.path, item)
            if twin is not item and twin.spec.source != item.spec.source:
                item.fail("%s would overwrite the file of %s. Set name." % (item.spec.label, twin.spec.label))
            elif twin is not item:
                item.settle("ok", twin.sha256, twin.size)

    def _needs(self, item: Item) -> List[Tuple[str, int]]:
        """(directory, bytes) that an item will take."""
        here = os.path.dirname(item.path)
        if item.status == "adopt":
            return []
        if item.status == "copy":
            return [(here, item.size or 0)]
        size = item.remote.size or item.remote.about or item.spec.size or 0
        cached = self._cached(item.remote)
        if item.status == "from cache":
            return [(here, size)]
        where = cached or item.path
        needs = [(os.path.dirname(where), size - Partial(where, item.remote).have())]
        if cached and not _same_disk(cached, here):
            needs.append((here, size))
        return needs

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
            remote = civitai.resolve(spec.where, self.http(spec), wants.civitai_endpoint, bool(wants.civitai_token))
        elif spec.origin == "url":
            remote = direct.resolve(spec.where, self.http(spec))
        elif spec.origin == "magnet":
            remote = magnet.resolve(spec.where)
        else:
            path = spec.where["path"]
            if not os.path.isfile(path):
                raise SdopsError("There is no file %s on the target." % path)
            remote = RemoteFile("file://" + path, safe_name(os.path.basename(path)), os.path.getsize(path))
        if spec.sha256 and remote.sha256 and spec.sha256.lower() != remote.sha256:
            raise SdopsError(
                "%s has SHA-256 %s at its source, but %s is wanted. The source has changed, or the wish is for another file."
                % (spec.label, remote.sha256, spec.sha256)
            )
        item.remote = remote._replace(sha256=(spec.sha256 or "").lower() or remote.sha256)
        return item.remote

    def _recorded(self, item: Item, path: Optional[str] = None) -> bool:
        """Settle an item that was placed before and is still there; costs a stat."""
        spec = item.spec
        for there, entry in self.record.by_wish(spec.wish).items():
            fits = (
                path in (None, there) and spec.kind in (None, entry["kind"]) and spec.sha256 in (None, entry["sha256"])
            )
            if fits and (path or spec.name is None or os.path.basename(there) == spec.name) and self.record.get(there):
                if self.wants.verify == "always" and self._sha256(item, there) != entry["sha256"]:
                    continue
                item.path, item.kind = there, entry["kind"]
                item.remote = RemoteFile("", item.spec.label, revision=entry.get("revision"))
                item.settle("ok", entry["sha256"], entry["bytes"])
                return True
        return False

    def _plan(self, item: Item) -> None:
        if self._recorded(item):
            return
        spec = item.spec
        if spec.name:
            self._refuse_pickle(spec, spec.name)
        remote = self._resolve(item)
        item.kind = spec.kind or remote.kind
        if item.kind is None:
            raise SdopsError(
                "The kind of %s is not known; set kind (checkpoint, lora, embedding, vae, ...)." % spec.label
            )
        item.path = path_of(self.wants.webui_dir, item.kind, spec.name or remote.filename)
        self._decide(item)

    def _plan_sidecar(self, item: Item, beside: str) -> None:
        what = item.kind or ""
        item.spec = parse_source(item.spec.source)._replace(kind=what)
        if self._recorded(item):
            return
        remote = self._resolve(item)
        item.path = sidecar(beside, what, remote.filename)
        self._decide(item)

    def _decide(self, item: Item, ours: bool = False) -> None:
        """What has to be done, now that source and path are known. ``ours``: whatever lies there may be replaced."""
        item.line.name = os.path.basename(item.path)
        self._refuse_pickle(item.spec, item.path)
        remote = item.remote
        item.size = remote.size if remote.size is not None else remote.about
        item.line.tell("waiting", None, item.size)
        if os.path.lexists(item.path):
            if self._same(item):
                item.status = "adopt"
                return
            if not ours and not self.record.knows(item.path):
                self._refuse_to_overwrite(item.path)
        if remote.url.startswith("file://"):
            item.status = "copy"
        else:
            cached = self._cached(remote)
            item.status = "from cache" if cached and os.path.exists(cached) else "fetch"
        item.sha256 = remote.sha256

    def _refuse_to_overwrite(self, path: str) -> None:
        """A whole file of somebody else stays; a damaged one (a web page, cut off) is nobody's loss."""
        try:
            check(path, os.path.basename(path), True)
        except (ContentError, OSError):
            return
        raise SdopsError(
            "%s exists, was not placed by us and is another file than the wanted one. Move it away, or set another name."
            % path
        )

    def _sha256(self, item: Item, path: str) -> str:
        size = os.path.getsize(path)
        return sha256_of(path, lambda count: item.line.tell("verifying", count, size))

    def _same(self, item: Item) -> bool:
        """Whether the file that lies there is the wanted one."""
        path, remote = item.path, item.remote
        if not os.path.isfile(path) or (remote.size is not None and os.path.getsize(path) != remote.size):
            return False
        if remote.url.startswith("file://"):
            item.sha256 = self._sha256(item, path)
            return item.sha256 == sha256_of(remote.url[7:])
        if remote.sha256:
            item.sha256 = remote.sha256
            return self._sha256(item, path) == remote.sha256
        return bool(remote.git_sha1) and git_sha1_of(path) == remote.git_sha1

    def _cached(self, remote: RemoteFile) -> Optional[str]:
        if not self.wants.cache_dir or not remote.sha256 or remote.url.startswith("file://"):
            return None
        return os.path.join(self.wants.cache_dir, "sha256", remote.sha256[:2], remote.sha256)

    def _refuse_pickle(self, spec: ModelSpec, name: str) -> None:
        refuse_pickle(name, self.wants.allow_pickle or spec.trusted)

    def _check(self, item: Item, path: str, sha256: str) -> None:
        """Judge a file by its content, under the name that it will have; a trusted one by nothing but its hash."""
        if item.spec.trusted and sha256 == item.spec.sha256:
            return
        check(path, os.path.basename(item.path), self.wants.allow_pickle)

    # --- bringing one file ---------------------------------------------------------------------------------------------

    def _bring(self, item: Item) -> None:
        key = hashlib.sha256(os.path.relpath(item.path, self.wants.webui_dir).encode()).hexdigest()[:16]
        with locked(os.path.join(self.wants.webui_dir, ".sdops", "locks", key)):
            if item.status != "adopt" and os.path.exists(item.path) and self._same(item):
                item.status = "adopt"  # another run was faster
            sha256 = self._act(item)
            self.record.put(
                item.path,
                wish=item.spec.wish,
                source=item.spec.label,
                kind=item.kind,
                sha256=sha256,
                revision=item.remote.revision,
            )
        item.settle(DONE[item.status], sha256, os.path.getsize(item.path))

    def _act(self, item: Item) -> str:
        """Do what was planned; the file's SHA-256."""
        os.makedirs(os.path.dirname(item.path), exist_ok=True)
        if item.status == "adopt":
            sha256 = item.sha256 or self._sha256(item, item.path)
            self._check(item, item.path, sha256)
            return sha256
        if item.status == "copy":
            return self._copy(item, item.remote.url[7:], item.path)
        cached = self._cached(item.remote)
        if cached is None or not _writable(os.path.dirname(cached)):
            item.status = "fetch"
            return self._fetch(item, item.path)
        with locked(cached + ".lock"):  # one host downloads, the others wait and take it from here
            item.status = "fetch"
            if os.path.exists(cached):
                with contextlib.suppress(TransferError):
                    sha256 = self._take(item, cached)
                    item.status = "from cache"
                    return sha256
                os.unlink(cached)  # damaged
            self._fetch(item, cached)
            return self._take(item, cached, verified=True)

    def _fetch(self, item: Item, dest: str) -> str:
        """Download to ``dest``, verified; its content is judged under the name it will have."""
        if item.remote.url.startswith("magnet:"):
            return self._fetch_magnet(item, dest)
        fetcher = Fetcher(self.http(item.spec), self.wants.connections)
        try:
            got = fetcher.fetch(item.remote, dest, item.line.tell)
        except SourceChanged:
            got = fetcher.fetch(self._resolve(item), dest, item.line.tell)  # once: what is there now
        item.received += got.received
        try:
            self._check(item, got.partial.path, got.sha256)
        except SdopsError:
            got.partial.discard()
            raise
        got.partial.publish(dest)
        return got.sha256

    def _fetch_magnet(self, item: Item, dest: str) -> str:
        work = os.path.join(self.wants.webui_dir, ".sdops", "magnet", str(item.remote.etag))
        wanted = item.spec.where.get("file") or os.path.basename(item.path)
        found = magnet.fetch(item.remote, wanted, work, lambda count: item.line.tell("fetching", count))
        sha256 = self._copy(item, found, dest)
        item.received += os.path.getsize(dest)
        shutil.rmtree(work, ignore_errors=True)
        return sha256

    def _take(self, item: Item, cached: str, verified: bool = False) -> str:
        """From the cache: a second name for the same bytes where the disk is the same, else a copy."""
        sha256 = item.remote.sha256 or ""
        link = link_beside(cached, os.path.dirname(item.path))
        if link is None:
            return self._copy(item, cached, item.path)
        try:
            if not verified and self._sha256(item, link) != sha256:
                raise TransferError("%s in the cache is damaged." % cached)
            self._check(item, link, sha256)
            publish(link, item.path)
        finally:
            # renaming one name of a file onto another name of it does nothing
            unlink_all([link])
        return sha256

    def _copy(self, item: Item, source: str, path: str) -> str:
        size = os.path.getsize(source)
        tell = item.line.tell
        temporary, have = copy_hashed(source, os.path.dirname(path), lambda count: tell("verifying", count, size))
        try:
            wanted = item.remote.sha256 or item.spec.sha256
            if wanted and have != wanted:
                raise TransferError("%s has SHA-256 %s and not %s; it was not used." % (source, have, wanted))
            self._check(item, temporary, have)
            publish(temporary, path)
        except BaseException:
            unlink_all([temporary])
            raise
        return have

    # --- one file, without a record ------------------------------------------------------------------------------------

    def place_at(self, spec: ModelSpec, dest: str) -> Item:
        """Bring one file to ``dest``, a path or an existing directory; what lies there is judged by its hash."""
        item = Item(spec)
        with item.clock():
            if spec.name or not os.path.isdir(dest):
                self._refuse_pickle(spec, dest)
            remote = self._resolve(item)
            item.path = (
                os.path.join(dest, spec.name or remote.filename) if os.path.isdir(dest) else os.path.abspath(dest)
            )
            self._decide(item, ours=True)
            if item.status == "adopt":
                item.settle("ok", item.sha256, os.path.getsize(item.path))
            elif self.wants.check_mode:
                check_space(self._needs(item))
            else:
                check_space(self._needs(item))
                directory = os.path.dirname(item.path)
                os.makedirs(directory, exist_ok=True)
                with locked(directory):  # itself: a lock file would be left lying about in somebody's directory
                    sha256 = self._act(item)
                item.settle("fetched", sha256, os.path.getsize(item.path))
        return item

    # --- removal -------------------------------------------------------------------------------------------------------

    def remove(self, spec: ModelSpec) -> List[Item]:
        """Remove what we placed for this wish, and nothing else: a file that was changed since is not ours any more."""
        items = []
        for source in [spec.source] + [s for s in (spec.config, spec.vae) if s]:
            for path, entry in self.record.by_wish(parse_source(source).wish).items():
                item = Item(spec)
                item.path, item.kind = path, entry["kind"]
                if os.path.exists(path) and self.record.get(path) is None:
                    item.fail("%s was changed since it was placed; it stays. Remove it by hand if you mean it." % path)
                else:
                    if not self.wants.check_mode:
                        with contextlib.suppress(FileNotFoundError):
                            os.unlink(path)
                        self.record.drop(path)
                    item.settle("removed", entry["sha256"], entry["bytes"])
                items.append(item)
        return items


def _writable(directory: str) -> bool:
    """A cache that cannot be written is no reason to fail."""
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError:
        return False
    return os.access(directory, os.W_OK)


def _same_disk(one: str, other: str) -> bool:
    return os.stat(existing(one)).st_dev == os.stat(existing(other)).st_dev

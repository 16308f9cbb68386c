# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From wanted models to files in place: resolve, adopt or fetch, verify, publish, record."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, NamedTuple, Optional

from ..errors import SdopsError
from ..files import write_atomic
from ..safety.content import check, refuse_pickle
from ..sources import civitai, direct, huggingface
from ..transfer.fetch import Fetcher, RemoteFile, check_space, git_sha1_of, locked, sha256_of
from ..transfer.http import Http, TransferError
from .layout import path_of, sidecar
from .record import Record
from .spec import ModelSpec, parse_source


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
    check_mode: bool


class Progress:
    """Bytes by file, written to a JSON file about once a second for whoever wants to watch."""

    def __init__(self, path: Optional[str]) -> None:
        self.path = path
        self.files: Dict[str, Dict[str, Any]] = {}
        self._started = time.time()
        self._lock = threading.Lock()
        self._written = 0.0
        self._seen: Dict[str, "tuple[float, int]"] = {}

    def state(self, name: str, state: str) -> None:
        with self._lock:
            entry = self.files.setdefault(name, {"name": name, "done": 0, "total": None, "speed": 0.0})
            entry["state"] = state
            if state != "fetching":
                entry["speed"] = 0.0
            self.write()

    def of(self, name: str) -> Any:
        self.state(name, "fetching")

        def tell(done: int, total: Optional[int]) -> None:
            with self._lock:
                now = time.monotonic()
                since, before = self._seen.setdefault(name, (now, done))
                speed = (done - before) / (now - since) if now > since else 0.0
                self.files[name].update(done=done, total=total, speed=max(0.0, speed))
                if now - self._written > 1:
                    self.write()

        return tell

    def write(self, state: str = "running") -> None:
        if not self.path:
            return
        self._written = time.monotonic()
        files = list(self.files.values())
        totals = [f["total"] for f in files]
        total = None if None in totals else sum(totals)
        done, speed = sum(f["done"] for f in files), sum(f["speed"] for f in files)
        data = {
            "pid": os.getpid(),
            "started": self._started,
            "time": time.time(),
            "state": state,
            "files": files,
            "done": done,
            "total": total,
            "speed": speed,
            "eta": (total - done) / speed if speed and total is not None else None,
        }
        write_atomic(self.path, json.dumps(data).encode())


def resolve(spec: ModelSpec, http: Http, wants: Wants) -> RemoteFile:
    """Ask the source. A file on the target is a RemoteFile with a file:// URL. Raises SdopsError."""
    if spec.origin == "huggingface":
        return huggingface.resolve(spec.where, http, wants.huggingface_endpoint, bool(wants.huggingface_token))
    if spec.origin == "civitai":
        return civitai.resolve(spec.where, http, wants.civitai_endpoint, bool(wants.civitai_token))
    if spec.origin == "url":
        return direct.resolve(spec.where, http)
    path = spec.where["path"]
    if not os.path.isfile(path):
        raise TransferError("There is no file %s on the target." % path)
    return RemoteFile(url="file://" + path, filename=os.path.basename(path), size=os.path.getsize(path), sha256=None)


class Placer:
    """Places models of one batch. ``http`` is made on first use, so that a batch with nothing to do needs no library."""

    def __init__(self, wants: Wants, http_options: Dict[str, Any], progress: Progress) -> None:
        self.wants = wants
        self.record = Record(wants.webui_dir)
        self.progress = progress
        self._http_options = http_options
        self._http: Optional[Http] = None
        self._lock = threading.Lock()

    @property
    def http(self) -> Http:
        with self._lock:
            if self._http is None:
                tokens = {
                    self.wants.huggingface_endpoint: self.wants.huggingface_token,
                    self.wants.civitai_endpoint: self.wants.civitai_token,
                }
                self._http = Http(tokens={k: v for k, v in tokens.items() if v}, **self._http_options)
            return self._http

    # --- one file -----------------------------------------------------------------------------------------------------

    def _recorded(self, spec: ModelSpec) -> Optional[str]:
        """Path of this very wish if it was placed before and is still there; costs a stat."""
        for path, entry in self.record.by_source(spec.source).items():
            fits = (spec.name is None or os.path.basename(path) == spec.name) and (spec.kind in (None, entry["kind"]))
            if fits and (spec.sha256 in (None, entry["sha256"])) and self.record.get(path):
                if self.wants.verify == "recorded" or sha256_of(path) == entry["sha256"]:
                    return path
        return None

    def place(self, spec: ModelSpec, path: Optional[str] = None) -> Dict[str, Any]:
        """Bring one file to its place (``path``, or where its kind belongs); the result entry of the module."""
        started = time.monotonic()
        recorded = self._recorded(spec)
        if recorded and (path is None or recorded == path):
            entry = self.record.get(recorded) or {}
            return self._result(
                spec, recorded, "ok", entry["kind"], entry["sha256"], entry["bytes"], started, entry.get("revision")
            )
        if spec.name:
            refuse_pickle(spec.name, self.wants.allow_pickle)
        remote = resolve(spec, self.http, self.wants)
        name = spec.name or remote.filename
        kind = spec.kind or remote.kind
        if path is None:
            if kind is None:
                raise SdopsError(
                    "The kind of %s is not known; set kind (checkpoint, lora, embedding, vae, ...)." % spec.source
                )
            path = path_of(self.wants.webui_dir, kind, name)
        refuse_pickle(path, self.wants.allow_pickle)
        remote = self._expected(spec, remote)
        if self.wants.check_mode:
            adopt = os.path.exists(path) and self._same(path, remote)
            return self._result(
                spec, path, "adopt" if adopt else "fetch", kind, remote.sha256, remote.size, started, remote.revision
            )
        with locked(os.path.join(self.wants.webui_dir, ".sdops", "locks", os.path.basename(path) + ".lock")):
            if os.path.exists(path) and self._same(path, remote):
                check(path, os.path.basename(path), self.wants.allow_pickle)
                status, sha256 = "adopted", sha256_of(path)
            else:
                status, sha256 = self._bring(remote, path)
        with self._lock:
            self.record.put(path, source=spec.source, kind=kind, sha256=sha256, revision=remote.revision)
        return self._result(spec, path, status, kind, sha256, os.path.getsize(path), started, remote.revision)

    def place_at(self, spec: ModelSpec, dest: str) -> Dict[str, Any]:
        """Bring one file to ``dest`` (or into that directory), without a record."""
        started = time.monotonic()
        remote = resolve(spec, self.http, self.wants)
        path = os.path.join(dest, spec.name or remote.filename) if os.path.isdir(dest) else dest
        remote = self._expected(spec, remote)
        refuse_pickle(path, self.wants.allow_pickle)
        if os.path.exists(path) and self._same(path, remote):
            size = os.path.getsize(path)
            return self._result(spec, path, "ok", None, remote.sha256, size, started, remote.revision)
        if self.wants.check_mode:
            return self._result(spec, path, "fetch", None, remote.sha256, remote.size, started, remote.revision)
        directory = os.path.dirname(os.path.abspath(path))
        os.makedirs(directory, exist_ok=True)
        with locked(directory):  # itself: a lock file would be left lying about in somebody's directory
            sha256 = self._download(remote, path)
        return self._result(spec, path, "fetched", None, sha256, os.path.getsize(path), started, remote.revision)

    @staticmethod
    def _expected(spec: ModelSpec, remote: RemoteFile) -> RemoteFile:
        """``remote`` with the hash that the user wants; raises TransferError when the source has another one."""
        if spec.sha256 and remote.sha256 and spec.sha256.lower() != remote.sha256:
            raise TransferError(
                "%s has SHA-256 %s at its source, but %s is wanted. The source has changed, or the wish is for another file."
                % (spec.source, remote.sha256, spec.sha256)
            )
        return remote._replace(sha256=(spec.sha256 or "").lower() or remote.sha256)

    def _same(self, path: str, remote: RemoteFile) -> bool:
        """Whether the file that lies there is the wanted one."""
        if remote.size is not None and os.path.getsize(path) != remote.size:
            return False
        if remote.url.startswith("file://"):
            return sha256_of(path) == sha256_of(remote.url[7:])
        if remote.sha256:
            return sha256_of(path) == remote.sha256
        return bool(remote.git_sha1) and git_sha1_of(path) == remote.git_sha1

    def _bring(self, remote: RemoteFile, path: str) -> "tuple[str, str]":
        """From the target's own disk, the shared cache or the network; (status, sha256)."""
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if remote.url.startswith("file://"):
            return "copied", self._copy(remote.url[7:], path, remote.sha256)
        cache = self.wants.cache_dir
        if not cache or not remote.sha256:
            return "fetched", self._download(remote, path)
        cached = os.path.join(cache, "sha256", remote.sha256[:2], remote.sha256)
        with locked(cached + ".lock"):  # one host downloads, the others wait and take it from here
            if os.path.exists(cached):
                with contextlib.suppress(SdopsError):
                    return "from cache", self._copy(cached, path, remote.sha256)
                os.unlink(cached)  # damaged
            sha256 = self._download(remote, path)
            with contextlib.suppress(OSError):  # a full or read-only cache is no reason to fail
                self._copy(path, cached, sha256)
            return "fetched", sha256

    def _download(self, remote: RemoteFile, path: str) -> str:
        name = os.path.basename(path)
        try:
            partial, sha256 = Fetcher(self.http).fetch(remote, path, self.progress.of(name))
        except SdopsError:
            self.progress.state(name, "failed")
            raise
        self.progress.state(name, "verifying")
        try:
            check(partial.path, name, self.wants.allow_pickle)
        except SdopsError:
            partial.discard()
            self.progress.state(name, "failed")
            raise
        partial.publish(path)
        self.progress.state(name, "done")
        return sha256

    def _copy(self, source: str, path: str, sha256: Optional[str]) -> str:
        """Copy with verification, atomically."""
        check_space(os.path.dirname(path), os.path.getsize(source))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".copy-", dir=os.path.dirname(path))
        os.close(handle)
        try:
            shutil.copyfile(source, temporary)
            have = sha256_of(temporary)
            if sha256 and have != sha256:
                raise TransferError("%s has SHA-256 %s and not %s; it was not used." % (source, have, sha256))
            if not path.endswith(have):  # the cache's own files have no extension to judge by
                check(temporary, os.path.basename(path), self.wants.allow_pickle)
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        return have

    @staticmethod
    def _result(
        spec: ModelSpec,
        path: str,
        status: str,
        kind: Optional[str],
        sha256: Optional[str],
        size: Optional[int],
        started: float,
        revision: Optional[str] = None,
    ) -> Dict[str, Any]:
        return {
            "name": os.path.basename(path),
            "kind": kind,
            "path": path,
            "sha256": sha256,
            "bytes": size,
            "source": spec.source,
            "revision": revision,
            "status": status,
            "seconds": round(time.monotonic() - started, 2),
        }

    # --- a batch ------------------------------------------------------------------------------------------------------

    def _one(self, spec: ModelSpec) -> List[Dict[str, Any]]:
        """A model with its sidecars; a failure becomes an entry with status failed (or unresolved in check mode)."""
        results: List[Dict[str, Any]] = []
        current = spec
        try:
            results.append(self.place(spec))
            for what in ("config", "vae"):
                source = getattr(spec, what)
                if source:
                    current = parse_source(source)._replace(kind=what)
                    guess = (
                        current.where.get("file")
                        or current.where.get("path")
                        or current.where.get("url", "x.safetensors")
                    )
                    results.append(self.place(current, sidecar(results[0]["path"], what, guess.split("?")[0])))
        except SdopsError as exc:
            results.append(
                {
                    **self._result(
                        current, current.name or current.source, "failed", current.kind, None, None, time.monotonic()
                    ),
                    "status": "unresolved" if self.wants.check_mode and isinstance(exc, TransferError) else "failed",
                    "reason": str(exc),
                }
            )
        return results

    def place_all(self, specs: List[ModelSpec], parallel: int) -> List[Dict[str, Any]]:
        with ThreadPoolExecutor(max_workers=max(1, parallel)) as pool:
            return [entry for entries in pool.map(self._one, specs) for entry in entries]

    def remove(self, spec: ModelSpec) -> List[Dict[str, Any]]:
        """Remove what we placed for this wish, and nothing else."""
        results = []
        for source in [spec.source] + [s for s in (spec.config, spec.vae) if s]:
            for path, entry in self.record.by_source(source).items():
                if not self.wants.check_mode:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(path)
                    self.record.drop(path)
                results.append(
                    self._result(
                        spec, path, "removed", entry["kind"], entry["sha256"], entry["bytes"], time.monotonic()
                    )
                )
        return results

# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install one file: from the source, the cache or the target itself, verified before it gets its name."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from typing import Callable

from ..errors import SdopsError, SourceChangedError, TransferError
from ..filesystem import copy_hashed, hard_link, is_private, locked, publish, unlink_all
from ..sources import magnet
from ..transfer.download import Downloader
from ..transfer.partial import PartialFile
from ..transfer.remote_file import RemoteFile
from ..transfer.temp_names import find_orphaned_bases, shorten_name, temp_base
from .download_cache import ensure_writable, find_cache_path, is_cached
from .existing_file import ExistingFileCheck, hash_file
from .model_file import COMPLETED, FileStatus, ModelFile
from .options import BatchOptions
from .plan import is_same_disk
from .prefetch import PrefetchDirectory
from .record import ModelRecord
from .source_query import SourceQuery

# called before a file gets its name: the file, its SHA-256, where it lies until then
BeforePublish = Callable[[ModelFile, str, str], None]


class FileInstaller:
    """Does for a file what was planned."""

    def __init__(
        self, options: BatchOptions, record: ModelRecord, query: SourceQuery, existing_files: ExistingFileCheck
    ) -> None:
        self.options = options
        self.record = record
        self.query = query
        self.existing_files = existing_files

    def install(self, file: ModelFile) -> None:
        """Install a file of a batch and record it. Raises whatever goes wrong."""
        key = hashlib.sha256(os.path.relpath(file.path, self.options.webui_dir).encode()).hexdigest()[:16]
        with locked(os.path.join(self.options.webui_dir, ".sdops", "locks", key)) as is_locked:
            exists = file.status is not FileStatus.ADOPT and os.path.exists(file.path)
            if exists and self.existing_files.matches_existing(file):
                file.status = FileStatus.ADOPT  # another run was faster
            sha256 = self.perform(file, is_locked, self._record)
            if self.record.get(file.path) is None:  # adopted, or a file system that changes times by itself
                self._record(file, sha256, file.path)
        file.mark_done(COMPLETED[file.status], sha256, os.path.getsize(file.path))

    def _record(self, file: ModelFile, sha256: str, temp_path: str) -> None:
        """Record a file, before it gets its name: a kill in between must not leave one that nobody knows as installed."""
        self.existing_files.reject_loss(file, sha256, temp_path)
        self.record.put(
            file.path,
            temp_path,
            sidecar_of=file.sidecar_of,
            adopted=file.status is FileStatus.ADOPT,
            source_id=file.spec.source_id,
            source=file.spec.label,
            kind=file.kind,
            sha256=sha256,
            revision=file.remote.revision,
            source_name=file.remote.filename,
            source_kind=file.remote.kind,
        )

    def perform(self, file: ModelFile, is_locked: bool, before_publish: BeforePublish) -> str:
        """Do what was planned; the file's SHA-256. ``is_locked``: whether no other run can be at the same path."""
        os.makedirs(os.path.dirname(file.path), exist_ok=True)
        if file.status is FileStatus.ADOPT:
            sha256 = file.sha256 or hash_file(file, file.path)
            self.existing_files.check_content(file, file.path, sha256)
            return sha256
        if file.status is FileStatus.COPY:
            return self._copy(file, file.remote.url[7:], file.path, is_locked, before_publish)
        try:
            return self._fetch(file, is_locked, before_publish)
        except SourceChangedError:
            self.query.resolve(file)  # once: what is there now
            return self._fetch(file, is_locked, before_publish)

    def _fetch(self, file: ModelFile, is_locked: bool, before_publish: BeforePublish) -> str:
        """Take a file from the cache, from what came in the background, or over the network."""
        file.status = FileStatus.FETCH
        cached = find_cache_path(self.options.cache_dir, file.remote)
        if cached is None:
            return self._fetch_without_cache(file, is_locked, before_publish)
        if not ensure_writable(os.path.dirname(cached)):
            sha256 = self._try_cache(file, cached, is_locked, before_publish)
            return sha256 or self._download(file, file.path, is_locked, before_publish)
        with locked(cached + ".lock") as is_cache_locked:  # one host downloads, the others wait and take it from here
            sha256 = self._try_cache(file, cached, is_locked, before_publish)
            if sha256:
                return sha256
            unlink_all([cached])  # damaged
            self._download(file, cached, is_cache_locked, lambda *_: None)
            return self._install_from_cache(file, cached, is_locked, before_publish, verified=True)

    def _fetch_without_cache(self, file: ModelFile, is_locked: bool, before_publish: BeforePublish) -> str:
        """Resume what a download in the background has left; else download to the path itself."""
        prefetch = self.options.prefetch_dir
        path = prefetch.find(file.remote) if prefetch else None
        if prefetch is None or path is None:
            return self._download(file, file.path, is_locked, before_publish)
        with locked(path + ".lock") as is_path_locked:
            if is_cached(path) and not prefetch.is_verified(path) and hash_file(file, path) != file.remote.sha256:
                unlink_all([path])
            if is_cached(path):
                file.received += os.path.getsize(path)
            else:
                self._download(file, path, is_path_locked, lambda *_: None)
            sha256 = self._install_from_cache(file, path, is_locked, before_publish, verified=True)
            prefetch.discard(path)
            return sha256

    def prefetch(self, file: ModelFile, directory: PrefetchDirectory) -> None:
        """Download a file that is to be fetched and whose hash is known into the cache, else into ``directory``.

        Raises whatever goes wrong.
        """
        is_private = find_cache_path(self.options.cache_dir, file.remote) is None
        path = find_cache_path(self.options.cache_dir or directory.path, file.remote)
        if path is None or file.status is not FileStatus.FETCH or file.spec.origin == "magnet":
            return
        if not ensure_writable(os.path.dirname(path)):
            return
        with locked(path + ".lock") as is_path_locked:
            if not is_cached(path):
                self._download(file, path, is_path_locked, lambda *_: None)
                if is_private:
                    directory.record_verified(path)

    def _try_cache(self, file: ModelFile, cached: str, is_locked: bool, before_publish: BeforePublish) -> str | None:
        """The file's SHA-256 when the cache has it, whole."""
        if is_cached(cached):
            with contextlib.suppress(TransferError):
                sha256 = self._install_from_cache(file, cached, is_locked, before_publish)
                file.status = FileStatus.FROM_CACHE
                return sha256
        return None

    def _download(self, file: ModelFile, dest: str, is_locked: bool, before_publish: BeforePublish) -> str:
        """Download to ``dest``, verified; its content is scanned under the name it will have."""
        if file.spec.origin == "magnet":
            return self._download_torrent(file, dest, is_locked, before_publish)
        base = temp_base(dest, is_locked)
        if not is_locked:
            adopt_orphaned_partial(dest, base)
        downloader = Downloader(self.query.http(file.spec), self.options.connections)
        result = downloader.download(file.remote, base, file.progress.update)
        file.received += result.received
        try:
            self.query.reject_changed_content(file, result.sha256)
            self.existing_files.check_content(file, result.partial.path, result.sha256)
        except SdopsError:
            result.partial.discard()
            raise
        before_publish(file, result.sha256, result.partial.path)
        result.partial.publish(dest)
        return result.sha256

    def _download_torrent(self, file: ModelFile, dest: str, is_locked: bool, before_publish: BeforePublish) -> str:
        torrent = self.query.torrent_path(file)
        work = temp_base(torrent[: -len(".torrent")], is_locked)
        expected = (file.spec.locator.get("file"), file.spec.name or file.remote.filename)
        found = magnet.download_torrent_file(
            file.remote,
            torrent,
            expected,
            work,
            lambda count: file.progress.update("fetching", count, file.remote.size),
        )
        file.received += os.path.getsize(found)
        if is_same_disk(found, os.path.dirname(dest)):
            sha256 = hash_file(file, found)
            self._check_copy(file, found, found, sha256)
            before_publish(file, sha256, found)
            publish(found, dest)
        else:
            sha256 = self._copy(file, found, dest, is_locked, before_publish)
        shutil.rmtree(work, ignore_errors=True)
        unlink_all([torrent])
        return sha256

    def _install_from_cache(
        self, file: ModelFile, cached: str, is_locked: bool, before_publish: BeforePublish, verified: bool = False
    ) -> str:
        """From the cache: a second name for the same bytes where the disk is the same, else a copy.

        A file that another user owns or may write is copied: by its second name the model could be changed later.
        """
        sha256 = file.remote.sha256 or ""
        link = temp_path(file.path, is_locked)
        if not is_private(cached, links=None) or not hard_link(cached, link):
            return self._copy(file, cached, file.path, is_locked, before_publish)
        try:
            if not verified and hash_file(file, link) != sha256:
                raise TransferError(f"{cached} in the cache is damaged.")
            self.existing_files.check_content(file, link, sha256)
            before_publish(file, sha256, link)
            publish(link, file.path)
        finally:
            # renaming one name of a file onto another name of it does nothing
            unlink_all([link])
        return sha256

    def _copy(self, file: ModelFile, source: str, dest: str, is_locked: bool, before_publish: BeforePublish) -> str:
        size = os.path.getsize(source)
        temporary = temp_path(dest, is_locked)
        sha256 = copy_hashed(source, temporary, lambda count: file.progress.update("verifying", count, size))
        try:
            self._check_copy(file, source, temporary, sha256)
            before_publish(file, sha256, temporary)
            publish(temporary, dest)
        except BaseException:
            unlink_all([temporary])
            raise
        return sha256

    def _check_copy(self, file: ModelFile, source: str, path: str, sha256: str) -> None:
        """Raise SdopsError when the content of ``source``, which lies at ``path``, is not to be used."""
        expected = file.remote.sha256 or file.spec.sha256
        if expected and sha256 != expected:
            raise TransferError(f"{source} has SHA-256 {sha256} and not {expected}; it was not used.")
        self.query.reject_changed_content(file, sha256)
        self.existing_files.check_content(file, path, sha256)


def temp_path(dest: str, is_locked: bool) -> str:
    """Where a file lies until it is called ``dest``: always the same place, so that kills leave one at most."""
    head, name = os.path.split(temp_base(dest, is_locked))
    return os.path.join(head, f".{shorten_name(name)}.new")


def adopt_orphaned_partial(dest: str, base: str) -> None:
    """Without locks: what a process that is no more left of ``dest`` is resumed as ``base``."""
    mine = PartialFile(base, RemoteFile("", ""))
    for orphaned_base in find_orphaned_bases(dest):
        orphan = PartialFile(orphaned_base, RemoteFile("", ""))
        whole = os.path.exists(orphan.path) and os.path.exists(orphan.journal.path)
        if whole and not os.path.exists(mine.path):
            unlink_all([mine.journal.path])
            with contextlib.suppress(FileNotFoundError):
                os.replace(orphan.path, mine.path)
                os.replace(orphan.journal.path, mine.journal.path)
        orphan.discard()
        unlink_all([temp_path(orphaned_base, True)])

# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies at a model's path already: is it the wanted file, was it installed here, and may it be replaced?"""

from __future__ import annotations

import contextlib
import os

from ..content_scan.file_formats import is_no_model
from ..content_scan.scan import WEIGHT_EXTENSIONS, reject_pickle_name, scan_file
from ..errors import ContentError, SdopsError
from ..filesystem import CHUNK, git_sha1_of, open_regular, sha256_of
from ..transfer.remote_file import RemoteFile
from .download_cache import is_cached
from .model_file import ModelFile, identify_file
from .options import BatchOptions
from .record import ModelRecord
from .source_query import SourceQuery
from .spec import ModelSpec

HEAD_SIZE = 64 << 10  # bytes of a user's file that are compared with the wanted one before it is fetched
SIZE_TOLERANCE = 1024  # bytes that an approximate size may be wrong by
# of a file that stays
APPEARED = "{} came to be there, or was changed, while the wanted file was on its way. It stays. {}"
CHANGED = "{} was changed since it was placed and is another file than the wanted one. It stays. {}"
UNMANAGED = "{} exists, was not placed by us and is another file than the wanted one. It stays. {}"
UNKNOWN = (
    "{} exists and was not placed by us, and its source reports neither size nor hash to know it by. It stays. {} With sha256 it is "
    "adopted if it is the one."
)


def hash_file(file: ModelFile, path: str) -> str:
    """The SHA-256 of ``path``, with progress as that of ``file``."""
    size = os.path.getsize(path)
    return sha256_of(path, lambda count: file.progress.update("verifying", count, size))


def is_identifiable(remote: RemoteFile) -> bool:
    """Whether the source reports enough to know its file by."""
    marks = (remote.sha256, remote.sha256_prefix, remote.git_sha1, remote.size, remote.approximate_size)
    return any(mark is not None for mark in marks)


class ExistingFileCheck:
    """Compares what lies at a path with the wanted file. ``single_files``: path to hash of what single downloads have installed."""

    def __init__(self, options: BatchOptions, record: ModelRecord, query: SourceQuery) -> None:
        self.options = options
        self.record = record
        self.query = query
        self.single_files: dict[str, str] = {}

    def matches_existing(self, file: ModelFile) -> bool:
        """Whether the file that lies there is the wanted one.

        By its hash; where the source reports none, by the hash that was recorded when it was installed, else by its size and structure.
        """
        path, remote = file.path, file.remote
        if not os.path.isfile(path) or (remote.size is not None and os.path.getsize(path) != remote.size):
            return False
        if remote.url.startswith("file://"):
            file.sha256 = hash_file(file, path)
            return file.sha256 == sha256_of(remote.url[7:])
        if remote.sha256:
            file.sha256 = remote.sha256
            return hash_file(file, path) == remote.sha256
        if remote.git_sha1:
            return git_sha1_of(path) == remote.git_sha1
        recorded = self.record.get_recorded(path)
        if recorded is not None and recorded["source_id"] != file.spec.source_id:
            return False
        if recorded is None:
            difference = abs(os.path.getsize(path) - (remote.approximate_size or 0))
            size_fits = remote.size is not None or difference <= SIZE_TOLERANCE
            if not is_identifiable(remote) or not (size_fits or remote.sha256_prefix):
                return False
            try:
                self.check_content(file, path, "")
            except ContentError:
                return False
        file.sha256 = hash_file(file, path)
        return file.sha256.startswith(recorded["sha256"] if recorded else remote.sha256_prefix or "")

    def is_managed(self, file: ModelFile) -> bool:
        """Whether what lies at the path is what was installed there: by its size and time, or by its hash."""
        single = self.single_files.get(file.path)
        if single:
            return single == hash_file(file, file.path)
        recorded = self.record.get_recorded(file.path)
        if recorded is None or self.record.get(file.path):
            return recorded is not None
        same_size = recorded["bytes"] == os.path.getsize(file.path)
        return bool(same_size and recorded["sha256"] == hash_file(file, file.path))

    def reject_overwrite(self, file: ModelFile) -> None:
        """Raise SdopsError unless the file at the path is provably nobody's loss: no model at all, or the start of the wanted one.

        What it is good for is not checked: that it cannot be read here does not make it damaged.
        """
        path, remote = file.path, file.remote
        with os.fdopen(open_regular(path, follow=True), "rb") as handle:
            head = handle.read(HEAD_SIZE)
            size = os.fstat(handle.fileno()).st_size
        if is_no_model(head, path.lower().endswith(WEIGHT_EXTENSIONS)):
            return
        if self.record.get_recorded(path) or path in self.single_files:
            reason = CHANGED
        else:
            reason = UNMANAGED if is_identifiable(remote) else UNKNOWN
        file.keep_reason = reason.format(path, file.advice)
        # all of it is compared when the wanted file is here
        if size >= (remote.size or remote.approximate_size or 0) or not self._begins_with(file, head):
            raise SdopsError(file.keep_reason)

    def _begins_with(self, file: ModelFile, head: bytes) -> bool:
        """Whether the wanted file begins with ``head``. Where that cannot be asked, it is compared later. Raises TransferError."""
        url = file.remote.url
        cached = self.options.cached_path(file.remote)
        local = url[7:] if url.startswith("file://") else cached if cached and is_cached(cached) else None
        if local:
            with os.fdopen(open_regular(local, follow=True), "rb") as handle:
                return handle.read(len(head)) == head
        if file.spec.origin == "magnet":
            return True
        headers = {"Range": f"bytes=0-{len(head) - 1}"}
        response = self.query.http(file.spec).request("GET", url, headers, stream=True)
        with contextlib.closing(response):
            return response.status_code in (200, 206) and response.raw.read(len(head), decode_content=False) == head

    def reject_loss(self, file: ModelFile, sha256: str, whole: str) -> None:
        """Raise SdopsError when the file at the path, which is about to be replaced by ``whole``, would be a loss.

        It is when it was not there before, or when it is to be the start of the wanted one and is not.
        """
        identity = identify_file(file.path)
        appeared = identity and identity != file.identity
        if appeared and not self.options.force and hash_file(file, file.path) != sha256:
            raise SdopsError(APPEARED.format(file.path, file.advice))
        if not file.keep_reason or not os.path.isfile(file.path):
            return
        with os.fdopen(open_regular(file.path, follow=True), "rb") as old, os.fdopen(open_regular(whole), "rb") as new:
            for block in iter(lambda: old.read(CHUNK), b""):
                if new.read(len(block)) != block:
                    raise SdopsError(file.keep_reason)

    def reject_pickle(self, spec: ModelSpec, name: str) -> None:
        """Raise ContentError for a pickle that is not allowed, by its name."""
        reject_pickle_name(name, self.options.allow_pickle or spec.trusted)

    def check_content(self, file: ModelFile, path: str, sha256: str) -> None:
        """Scan a file's content, under the name that it will have; a trusted one is verified by nothing but its hash."""
        if file.spec.trusted and sha256 == file.spec.sha256:
            return
        scan_file(path, file.format_name, self.options.allow_pickle)

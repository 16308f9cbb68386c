# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A download that is not whole yet, on the disk."""

from __future__ import annotations

import os

from ..errors import TransferError
from ..filesystem import is_private, open_regular, publish, reject_irregular, unlink_all
from .journal import DownloadJournal
from .remote_file import RemoteFile
from .temp_names import shorten_name


class PartialFile:
    """A download in progress: ``.NAME.part`` beside the target (see shorten_name), and the journal that says what is in it.

    The directory may be shared with other users and hosts: a part or a journal that is a link, that another user owns or may
    write, or that has a second name, is replaced and neither read nor written through.
    """

    def __init__(self, dest: str, remote: RemoteFile) -> None:
        head, name = os.path.split(dest)
        self.path = os.path.join(head, f".{shorten_name(name)}.part")
        identity = {"size": remote.size, "sha256": remote.sha256, "git_sha1": remote.git_sha1, "etag": remote.etag}
        self.journal = DownloadJournal(self.path + ".journal", identity)

    def resume(self) -> list[tuple[int, int]]:
        """Open both files; the spans that are there from an earlier try."""
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        self._reject_irregular()
        private = all(is_private(path) for path in (self.path, self.journal.path))
        spans = self.journal.load() if private else None
        if not spans or max(end for _start, end in spans) > os.path.getsize(self.path):
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

    def resumable_bytes(self) -> int:
        """Bytes that a resume would find, for planning. Raises FileTypeError when neither file nor link lies there."""
        self._reject_irregular()
        regular = os.path.isfile(self.path) and not os.path.islink(self.path)
        spans = self.journal.load() if regular else None
        return sum(end - start for start, end in spans or [])

    def open(self, flags: int) -> int:
        return open_regular(self.path, flags)

    def _reject_irregular(self) -> None:
        for path in (self.path, self.journal.path):
            if not os.path.islink(path):  # a link is replaced
                reject_irregular(path)

    def discard(self) -> None:
        """Raises FileTypeError when a directory lies in its place, and OSError where somebody else's file may not be removed."""
        self.journal.discard()
        unlink_all([self.path])

    def publish(self, dest: str) -> None:
        publish(self.path, dest)
        self.journal.discard()

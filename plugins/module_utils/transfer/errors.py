# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a transfer raises. All of it is a TransferError."""

from __future__ import annotations

from ..errors import SdopsError


class TransferError(SdopsError):
    """Bytes could not be got, or are not the right ones."""


class ConnectionFailedError(TransferError):
    """A connection that could not be made, fell silent or ended early: worth another try."""


class RequestsMissingError(TransferError):
    """The HTTP library is not there (yet)."""


class PermanentError(TransferError):
    """Asking again will not help."""


class SourceChangedError(TransferError):
    """The answer belongs to another file than the one that was begun: it changed at its source, or the server is confused."""


class HttpStatusError(TransferError):
    """An error status. ``expired``: a signed link gave it, a new link may help. ``wait``: seconds the server asks for."""

    def __init__(self, message: str, status: int, expired: bool, wait: float | None) -> None:
        super().__init__(message)
        self.status = status
        self.expired = expired
        self.wait = wait


class RangesIgnoredError(TransferError):
    """The server sends everything where a part was asked for."""

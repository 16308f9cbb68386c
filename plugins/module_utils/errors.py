# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every error that the collection raises on purpose. Each has the base SdopsError."""

from __future__ import annotations

from typing import Any

from .terminal import printable


class SdopsError(Exception):
    """A failure we can explain: a full sentence naming the object, the cause and what to do next.

    Packages under ``module_utils`` raise subclasses; each module's ``main()`` catches this class once and
    turns it into ``fail_json``. Anything else that escapes is a defect and keeps its traceback.

    Servers and files have a say in most messages, so ``str()`` gives one line without anything that a terminal acts upon.
    ``details`` (the end of a log, for instance) follow it, each line indented, so that none can pass for a line of Ansible's.
    """

    def __init__(self, message: str = "", details: str = "") -> None:
        super().__init__(message)
        self.details = details

    def __str__(self) -> str:
        return "\n    ".join([printable(super().__str__()), *map(printable, self.details.splitlines())])


# ---- the host: programs, files, environments


class ProcessError(SdopsError):
    """A program could not be started, did not end in time, or printed without end."""


class FileTypeError(SdopsError):
    """Something else lies where a regular file belongs. ``path`` is where."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(
            f"{path} is {what} where a regular file is expected; nothing was read from it or written to it. Remove it or move it "
            "away, then run again."
        )
        self.path = path


class DirectoryError(SdopsError):
    """A directory that is needed is not there and cannot be made, or cannot be written."""


class SnapshotError(SdopsError):
    """A tree cannot be saved or restored: it is missing, or the disks do not allow it."""


class GitError(SdopsError):
    """A checkout cannot be moved to its pin."""


class CondaError(SdopsError):
    """An environment cannot be made or is not what is wanted."""


class PythonEnvError(SdopsError):
    """An interpreter or its packages are not what is wanted."""


class UvMissingError(PythonEnvError):
    """The program that installs packages is not there (yet): it comes with the toolbox."""


class ToolboxError(SdopsError):
    """The toolbox cannot be made."""


class SupervisorError(SdopsError):
    """supervisord does not answer, or a program does not run."""


# ---- the network


class RouteError(SdopsError):
    """A route is requested that does not exist."""


class LoginError(SdopsError):
    """A login that cannot be handed over."""


class ShareLinkError(SdopsError):
    """A share link that cannot be used; the sentence names the part and what is wrong with its form, never its value."""


class ProxyError(SdopsError):
    """No request gets through the proxy."""


class XrayClientError(SdopsError):
    """A config that Xray does not take."""


class ClientConfigError(SdopsError):
    """A client config that cannot stand in for the rendered one."""


class XrayError(SdopsError):
    """Xray-core cannot be got, is not what it should be, or does not run."""


# ---- transfers


class TransferError(SdopsError):
    """Bytes could not be got, or are not the right ones."""


class ConnectionFailedError(TransferError):
    """A connection that could not be made, fell silent or ended early: worth another try."""


class RequestsMissingError(TransferError):
    """The HTTP library is not there (yet)."""


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


class PermanentError(TransferError):
    """A retry will not help."""


class DiskReserveError(PermanentError):
    """A file of unknown size does not fit: its source may never stop sending, so nothing of it is kept.

    ``url`` as it may be shown, ``reserve`` in bytes.
    """

    def __init__(self, directory: str, url: str, reserve: int) -> None:
        super().__init__(
            f"{url} does not report how large its file is, and the disk of {directory} has no more than the "
            f"reserve of {reserve >> 20} MiB left. The download was stopped and what had come was removed. Free space, point the "
            "directory at a bigger disk, or take the file from an address that reports its size."
        )


class InsufficientSpaceError(TransferError):
    """The disks are too small for the batch. ``files`` is its plan; nothing was done."""

    def __init__(self, message: str, files: list[Any]) -> None:
        super().__init__(message)
        self.files = files


class NoPeersError(TransferError):
    """No peer has the metadata of a torrent, or its data."""


# ---- models and their sources


class PrefetchError(SdopsError):
    """A download in the background cannot be started."""


class PrefetchStoppedError(SdopsError):
    """A download in the background was asked to end; what it has is kept."""


class SpecError(SdopsError):
    """A model entry that cannot be understood."""


class ArgumentError(SdopsError):
    """An option that cannot be used."""


class CatalogError(SdopsError):
    """A name that the catalog does not have."""


class LayoutError(SdopsError):
    """A file that does not belong where it is wanted."""


class ContentChangedError(SdopsError):
    """The source gives other content than what was recorded when the model was installed."""


class UrlError(SdopsError):
    """A URL does not give the file."""


class HubError(SdopsError):
    """The Hub does not give the file."""


class CivitaiError(SdopsError):
    """Civitai does not give the file."""


class MagnetError(SdopsError):
    """A magnet link does not give the file."""


class ContentError(SdopsError):
    """A file whose content must not be used."""


class UnsafeError(ContentError):
    """One that may be whole, and even wanted by whoever put it there."""


class NotAPickleError(ContentError):
    """Bytes over which every loader of pickles stumbles."""


# ---- the WebUI and what belongs to it


class NoTorchBuildError(SdopsError):
    """No build of the table can be used with these GPUs and this driver."""


class BuildError(SdopsError):
    """The build cannot begin, or went wrong."""


class WheelChangedError(SdopsError):
    """A wheel in a cache is another one than this host has used before."""


class ExtensionError(SdopsError):
    """An extension that cannot be understood, or does not fit."""


class RoopError(SdopsError):
    """The file is not what can be worked on, or the original is not to be had."""


class WebuiError(SdopsError):
    """The WebUI does not answer, or not with what was asked for."""


class WebuiStatusError(WebuiError):
    """The WebUI answered with an error; ``status`` is that of HTTP."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class PngError(SdopsError):
    """Bytes that are no complete PNG."""


# ---- the controller


class UntrustedPathError(SdopsError):
    """A path from a target that must not be used on the controller."""


class FetchError(SdopsError):
    """A file cannot be fetched."""


class TargetPythonError(SdopsError):
    """A host has no Python that the running ansible-core can use, and none can be made."""


class DetachedModuleError(SdopsError):
    """The target gave no usable answer."""


class NotStartedError(SdopsError):
    """The module did not begin; it may be run without detaching."""

# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the source of a model what its file is: each origin by its own rules, over its own connection."""

from __future__ import annotations

import hashlib
import os
import threading
from typing import Any

from ..content_scan.sanitize import sanitize_name
from ..errors import ContentChangedError, SdopsError
from ..filesystem import reject_irregular
from ..sources import civitai, direct, huggingface, magnet
from ..transfer.http import HttpClient
from ..transfer.remote_file import RemoteFile
from ..urls import redact_url
from .model_file import ModelFile
from .options import BatchOptions
from .spec import ModelSpec


class SourceQuery:
    """Asks the sources of a batch. HTTP clients are made on first use: a batch with nothing to do needs no library."""

    def __init__(self, options: BatchOptions, http_options: dict[str, Any]) -> None:
        self.options = options
        self._http_options = http_options
        self._clients: dict[str, HttpClient] = {}
        self._lock = threading.Lock()

    def http(self, spec: ModelSpec) -> HttpClient:
        """The connection to the model's source: each origin may have its own route."""
        with self._lock:
            proxy = self.options.proxies.get(spec.origin, self._http_options["proxy"])
            if spec.origin not in self._clients:
                # a plain URL never carries a token, wherever it leads
                endpoint, token = {
                    "huggingface": (self.options.huggingface_endpoint, self.options.huggingface_token),
                    "civitai": (self.options.civitai_endpoint, self.options.civitai_token),
                }.get(spec.origin, ("", None))
                options = {**self._http_options, "proxy": proxy}
                self._clients[spec.origin] = HttpClient(tokens={endpoint: token} if token else {}, **options)
            return self._clients[spec.origin]

    def resolve(self, file: ModelFile) -> RemoteFile:
        """Ask the source. A file on the target is a RemoteFile with a file:// URL. Raises SdopsError."""
        spec, options = file.spec, self.options
        file.progress.update("asking")
        if spec.origin == "huggingface":
            remote = huggingface.resolve_hub_file(
                spec.locator, self.http(spec), options.huggingface_endpoint, bool(options.huggingface_token)
            )
        elif spec.origin == "civitai":
            remote = self._resolve_civitai(file)
        elif spec.origin == "url":
            remote = direct.resolve_url(spec.locator, self.http(spec))
        elif spec.origin == "magnet":
            keep_torrent = not options.check_mode
            remote = magnet.resolve_magnet(spec.locator, spec.name, self.torrent_path(file), keep_torrent=keep_torrent)
        else:
            path = spec.locator["path"]
            reject_irregular(path, follow=True)
            if not os.path.isfile(path):
                raise SdopsError(f"There is no file {path} on the target.")
            remote = RemoteFile("file://" + path, sanitize_name(os.path.basename(path)), os.path.getsize(path))
        if spec.sha256 and remote.sha256 and spec.sha256.lower() != remote.sha256:
            if spec.origin != "civitai":
                raise SdopsError(
                    f"{spec.label} has SHA-256 {remote.sha256} at its source, but {spec.sha256} is wanted. The source has changed, or the "
                    "entry is for another file."
                )
            file.warn(
                f"{spec.label}: Civitai lists SHA-256 {remote.sha256} for it, but {spec.sha256} is wanted. Its list has wrong ones, so the "
                "file itself decides: it is taken only if its hash is the wanted one."
            )
        file.remote = remote._replace(sha256=(spec.sha256 or "").lower() or remote.sha256)
        if remote.sha256:  # else it is known when the file is here
            self.reject_changed_content(file, remote.sha256)
        return file.remote

    def _resolve_civitai(self, file: ModelFile) -> RemoteFile:
        """Ask Civitai, at the site that the link names if it names one."""
        spec, http = file.spec, self.http(file.spec)
        endpoint = spec.endpoint or self.options.civitai_endpoint
        with_token = http.sends_token(endpoint)
        if spec.endpoint and self.options.civitai_token and not with_token:
            file.warn(
                f"{spec.label} is asked for at {endpoint} without the model_fetch_civitai_token (civitai_token of a module), which is for "
                f"{redact_url(self.options.civitai_endpoint)} alone. If the token is for it too, set civitai_endpoint to {endpoint}."
            )
        return civitai.resolve_civitai_file(spec.locator, http, endpoint, with_token, (spec.sha256 or "").lower())

    def reject_changed_content(self, file: ModelFile, sha256: str) -> None:
        """Raise ContentChangedError when a source without a ``sha256`` of the user's gives other content than it gave before."""
        spec = file.spec
        if spec.sha256 or not file.recorded_hashes or sha256 in file.recorded_hashes:
            return
        change = "{} has changed at its source: its SHA-256 is {}, and it was {} when the model was placed.".format(
            spec.label, sha256, " or ".join(sorted(file.recorded_hashes))
        )
        if not (spec.accept_change or self.options.accept_change):
            raise ContentChangedError(
                f"{change} The new content was not taken. Set accept_change: true for this model if the change is expected, or give "
                "the sha256 that is wanted."
            )
        file.warn(change)

    def torrent_path(self, file: ModelFile) -> str:
        """Where the metadata of a magnet link's torrent is kept until its file is here; what comes lies in a directory beside it.

        Each model has its own: two files of one torrent would be in each other's way.
        """
        spec = file.spec
        key = "\0".join(
            [spec.source_id, spec.kind or "", spec.name or "", spec.locator.get("file", ""), file.sidecar_of]
        )
        name = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16] + ".torrent"
        return os.path.join(self.options.webui_dir, ".sdops", "magnet", name)

# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be done for each model, and how much of the disks it takes. Nothing is changed."""

from __future__ import annotations

import os
from typing import Callable, Iterable

from ..errors import RequestsMissingError, SdopsError, TransferError
from ..filesystem import nearest_directory, reject_irregular, reject_long_name, reject_unusable_directory
from ..progress import ProgressEntry, ProgressWriter
from ..sources import magnet
from ..transfer.partial import PartialFile
from ..transfer.remote_file import RemoteFile
from .download_cache import is_cached
from .existing_file import ExistingFileCheck, hash_file
from .layout import model_path, sidecar_path
from .model_file import FileStatus, ModelFile, describe_exception, identify_file, name_from_source
from .options import BatchOptions
from .record import ModelRecord
from .source_query import SourceQuery
from .spec import Endpoints, ModelSpec, parse_source

TOOLBOX_PENDING = (
    "That is done when the toolbox is there; what is known of it now is what the entry and the catalog say."
)
PROXY_REFUSES = "the proxy: connection refused"
PROXY_PENDING = "That is done when the proxy runs; what is known of it now is what the entry and the catalog say."


def is_same_disk(one: str, other: str) -> bool:
    return os.stat(nearest_directory(one)).st_dev == os.stat(nearest_directory(other)).st_dev


def run_step(file: ModelFile, step: Callable[[], None], check_mode: bool) -> None:
    """Do something for ``file``; whatever goes wrong is its failure alone. Without a network, a plan may be unresolved."""
    with file.timed():
        try:
            step()
        except Exception as exc:  # whatever it is: the others go on
            unresolved = check_mode and isinstance(exc, TransferError)
            status = FileStatus.UNRESOLVED if unresolved else FileStatus.FAILED
            reason = describe_exception(exc, file.path or file.spec.label)
            if unresolved:  # what comes with the run itself is nobody's mistake
                reason = TOOLBOX_PENDING if isinstance(exc, RequestsMissingError) else reason
                reason = PROXY_PENDING if PROXY_REFUSES in reason else reason
            file.fail(reason, status)


def reject_conflicts(files: Iterable[ModelFile]) -> None:
    """Two entries for one path would overwrite each other in every run: they are duplicates, or the second one fails."""
    first_at: dict[str, ModelFile] = {}
    for file in files:
        if not file.path or file.is_settled:
            continue
        first = first_at.setdefault(file.path, file)
        if first is file:
            continue
        hashes = {file.sha256, first.sha256}
        if len(hashes - {None}) > 1 or (None in hashes and file.spec.identity != first.spec.identity):
            file.fail(
                f"{file.spec.label} would overwrite the file of {first.spec.label}. Set name, or the same sha256 for both if they are one "
                "file."
            )
        else:
            file.duplicate_of = first
            file.mark_done(FileStatus.OK, first.sha256, first.size)


class ModelPlanner:
    """Plans the files of a batch: asks sources, chooses paths and actions, adds up the space."""

    def __init__(
        self,
        options: BatchOptions,
        record: ModelRecord,
        query: SourceQuery,
        existing_files: ExistingFileCheck,
        progress: ProgressWriter,
    ) -> None:
        self.options = options
        self.record = record
        self.query = query
        self.existing_files = existing_files
        self.progress = progress

    def plan_model(self, spec: ModelSpec, progress: ProgressEntry) -> list[ModelFile]:
        """A model, and its sidecars once it is known where it lies. Failures are in the files."""
        main = ModelFile(spec, progress)
        files = [main]
        run_step(main, lambda: self._plan(main), self.options.check_mode)
        for kind in ("config", "vae"):
            source = getattr(spec, kind)
            if not source or not main.path or main.is_settled:
                continue
            sidecar_spec = ModelSpec(
                source,
                "",
                {},
                kind=kind,
                sha256=getattr(spec, kind + "_sha256"),
                trusted=getattr(spec, kind + "_trusted"),
            )
            entry = self.progress.add_entry(f"{kind} of {progress.name}")
            sidecar = ModelFile(sidecar_spec, entry, sidecar_of=main.path)
            files.append(sidecar)
            run_step(sidecar, lambda sidecar=sidecar: self._plan_sidecar(sidecar), self.options.check_mode)  # type: ignore[misc]
        return files

    def _plan(self, file: ModelFile) -> None:
        spec = file.spec
        if spec.problem:
            raise SdopsError(spec.problem)
        if self._restore_from_record(file):
            return
        if spec.name:
            self.existing_files.reject_pickle(spec, spec.name)
        remote = self.query.resolve(file)
        file.kind = spec.kind or remote.kind
        if file.kind is None:
            raise SdopsError(
                f"The kind of {spec.label} is not known; set kind (checkpoint, lora, embedding, vae, ...)."
            )
        name = spec.name or name_from_source(spec, remote, "set name")
        file.path = model_path(self.options.webui_dir, file.kind, name)
        self.choose_action(file)

    def _plan_sidecar(self, file: ModelFile) -> None:
        kind = file.kind or ""
        endpoints = Endpoints(self.options.huggingface_endpoint, self.options.civitai_endpoint)
        parsed = parse_source(file.spec.source, endpoints)
        file.spec = parsed._replace(kind=kind, sha256=file.spec.sha256, trusted=file.spec.trusted)
        if self._restore_from_record(file):
            return
        remote = self.query.resolve(file)
        advice = "take its VAE from another address"
        name = "" if kind == "config" else name_from_source(file.spec, remote, advice)
        file.path = sidecar_path(file.sidecar_of, kind, name)
        self.choose_action(file)

    def _restore_from_record(self, file: ModelFile) -> bool:
        """Mark a file as done that was installed before and is still there; costs a stat."""
        spec = file.spec
        if file.sidecar_of:
            sidecars = self.record.sidecars_of(file.sidecar_of).items()
            found = {p: e for p, e in sidecars if (e["source_id"], e["kind"]) == (spec.source_id, spec.kind)}
        else:
            found = self.record.find_by_source(spec.source_id, spec.kind, spec.name)
        for path, entry in found.items():
            file.recorded_hashes.add(entry["sha256"])
            if spec.sha256 in (None, entry["sha256"]) and self.record.get(path):
                if self.options.verify == "always" and hash_file(file, path) != entry["sha256"]:
                    continue
                file.path, file.kind = path, entry["kind"]
                file.remote = RemoteFile("", file.spec.label, revision=entry.get("revision"))
                self.existing_files.reject_pickle(spec, file.format_name)  # allowed when it came, and no longer
                file.mark_done(FileStatus.OK, entry["sha256"], entry["bytes"])
                return True
        return False

    def choose_action(self, file: ModelFile) -> None:
        """Set what has to be done, now that source and path are known. Raises SdopsError."""
        file.progress.name = os.path.basename(file.path)
        self.existing_files.reject_pickle(file.spec, file.format_name)
        remote = file.remote
        file.size = remote.size if remote.size is not None else remote.approximate_size
        file.progress.update("waiting", None, file.size)
        reject_unusable_directory(os.path.dirname(file.path))
        reject_long_name(file.path)
        file.identity = identify_file(file.path)
        if reject_irregular(file.path, follow=True):
            if self.existing_files.matches_existing(file):
                file.status = FileStatus.ADOPT
                return
            if not self.options.force and not self.existing_files.is_managed(file):
                self.existing_files.reject_overwrite(file)
        if remote.url.startswith("file://"):
            file.status = FileStatus.COPY
        else:
            cached = self.options.cached_path(remote)
            file.status = FileStatus.FROM_CACHE if cached and is_cached(cached) else FileStatus.FETCH
        file.sha256 = remote.sha256

    def required_space(self, file: ModelFile) -> list[tuple[str, int]]:
        """(directory, bytes) that a file will take; notes what of it comes over the network."""
        if file.status is FileStatus.UNRESOLVED:
            file.bytes_planned = file.spec.size or 0
            return [("", file.bytes_planned)]  # nobody knows yet where
        if file.status not in (FileStatus.COPY, FileStatus.FROM_CACHE, FileStatus.FETCH):
            return []
        directory = os.path.dirname(file.path)
        if file.status is FileStatus.COPY:
            return [(directory, file.size or 0)]
        size = file.remote.size or file.remote.approximate_size or file.spec.size or 0
        cached = self.options.cached_path(file.remote)
        copy = [] if cached and is_same_disk(cached, directory) else [(directory, size)]
        if file.status is FileStatus.FROM_CACHE:
            return copy
        if cached and not os.access(nearest_directory(os.path.dirname(cached)), os.W_OK):
            cached = None
        dest = cached or file.path
        if file.spec.origin == "magnet":  # comes elsewhere first, and is moved
            work = self.query.torrent_path(file)[: -len(".torrent")]
            file.bytes_planned = max(size - magnet.count_downloaded_bytes(work), 0)
            moved = [] if is_same_disk(work, os.path.dirname(dest)) else [(os.path.dirname(dest), size)]
            return [(work, file.bytes_planned), *moved, *(copy if cached else [])]
        file.bytes_planned = max(size - PartialFile(dest, file.remote).resumable_bytes(), 0)
        return [(os.path.dirname(dest), file.bytes_planned), *(copy if cached else [])]

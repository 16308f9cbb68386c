# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A batch of models: first everything is asked and planned, then, if the disks have space for all of it, installed."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Iterable

from ..errors import InsufficientSpaceError, SdopsError, TransferError
from ..filesystem import locked
from ..progress import ProgressWriter
from ..transfer.disk_space import check_space
from .existing_file import ExistingFileCheck
from .expected import expected_path
from .model_file import COMPLETED, FileStatus, ModelFile, describe_exception, name_from_source
from .options import BatchOptions
from .place import FileInstaller
from .plan import ModelPlanner, reject_conflicts, run_step
from .prefetch import PrefetchDirectory
from .record import ModelRecord, load_single_files, record_single_file
from .removal import ModelRemover
from .source_query import SourceQuery
from .spec import ModelSpec

MAX_QUERIES = 8  # sources are asked by so many threads at once: that is waiting, not bandwidth

INSTALLATION_SPACE = 12 << 30  # bytes of an environment with torch, its downloads and the checkouts


class ModelInstaller:
    """Installs and removes the models of one batch, or a single file."""

    def __init__(self, options: BatchOptions, http_options: dict[str, Any], progress: ProgressWriter) -> None:
        self.options = options
        self.record = ModelRecord(options.webui_dir)
        self.progress = progress
        self.query = SourceQuery(options, http_options)
        self.existing_files = ExistingFileCheck(options, self.record, self.query)
        self.planner = ModelPlanner(options, self.record, self.query, self.existing_files, progress)
        self.file_installer = FileInstaller(options, self.record, self.query, self.existing_files)
        self.remover = ModelRemover(options, self.record)
        self.warnings: list[str] = []
        self.space_needed = 0  # bytes that the batch takes on all disks, as far as is known

    def install_all(self, specs: list[ModelSpec], parallel: int, prune: bool = False) -> list[ModelFile]:
        """Plan everything; outside check mode remove what is to be absent, and install the rest. Failures are in the files.

        ``prune``: remove what this list had installed before and no longer wants, when all that it wants is there. Raises
        InsufficientSpaceError, with the plan.
        """
        if self.options.prefetch_dir and not self.options.check_mode:
            self.options.prefetch_dir.stop_job()  # what it has is resumed here
        with self.progress:
            files = self._plan_all([spec for spec in specs if not spec.absent])
            wanted = self._list_wanted(files)
            removed = [file for spec in specs if spec.absent for file in self.remover.remove(spec, wanted)]
            try:
                self._check_space(files, freed=removed)
            except InsufficientSpaceError as exc:
                raise InsufficientSpaceError(str(exc), files + removed) from None
            if not self.options.check_mode:
                open_files = [file for file in files if file.status in COMPLETED]
                with ThreadPoolExecutor(max_workers=max(1, parallel)) as pool:
                    list(pool.map(self._install, open_files))
                for file in files:
                    if file.duplicate_of is not None:
                        self._copy_outcome(file, file.duplicate_of)
                installed = [file.path for file in files if file.path and not file.is_settled]
                if self.options.list_name:
                    self.record.set_lists(installed, self.options.list_name, True)
            return files + removed + (self._prune(files, wanted) if prune else [])

    def _list_wanted(self, files: list[ModelFile]) -> dict[str, ModelSpec]:
        """What the entries want, by its path; of one that cannot be planned, what was installed for it before."""
        wanted: dict[str, ModelSpec] = {}
        for file in files:
            spec = file.spec
            known = [*self.record.find_by_source(spec.source_id, spec.kind, spec.name)] if file.is_settled else []
            known += [path for main in known for path in self.record.sidecars_of(main)]
            planned = file.path or ("" if file.sidecar_of else expected_path(spec, self.options.webui_dir))
            for path in filter(None, [planned, *known]):
                wanted.setdefault(path, spec)
        return wanted

    def _prune(self, files: list[ModelFile], wanted: dict[str, ModelSpec]) -> list[ModelFile]:
        """Nothing is pruned where an entry fails: nobody knows what it means, or its source has to come back first."""
        missing = [file.spec.label for file in files if file.is_settled]
        if missing:
            names = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
            self.warnings.append(
                f"Nothing was pruned, since not all that is wanted is there: {names} cannot be installed."
            )
            return []
        pruned, sentences = self.remover.prune(wanted)
        self.warnings += sentences
        return pruned

    def _plan_all(self, specs: list[ModelSpec]) -> list[ModelFile]:
        entries = [(spec, self.progress.add_entry(spec.name or spec.label)) for spec in specs]
        with ThreadPoolExecutor(max_workers=MAX_QUERIES) as pool:
            plans = pool.map(lambda entry: self.planner.plan_model(*entry), entries)
            files = [file for plan in plans for file in plan]
        reject_conflicts(files)
        return files

    def prefetch_all(self, specs: list[ModelSpec], parallel: int, directory: PrefetchDirectory) -> None:
        """Download what the models lack into the cache or ``directory``, as far as hashes are known. Failures are for install_all.

        Nothing is downloaded where it would take the space that the WebUI's own installation needs. Raises InsufficientSpaceError,
        and what the check of the progress raises.
        """
        files = self._plan_all(specs)
        if all(file.status is not FileStatus.FAILED for file in files):
            directory.keep_only({file.remote.sha256 for file in files if file.remote.sha256})
        self._check_space(files, INSTALLATION_SPACE)
        with ThreadPoolExecutor(max_workers=max(1, parallel)) as pool:
            list(pool.map(lambda file: self._prefetch(file, directory), files))

    def _prefetch(self, file: ModelFile, directory: PrefetchDirectory) -> None:
        run_step(file, lambda: self.file_installer.prefetch(file, directory), self.options.check_mode)

    def _check_space(self, files: list[ModelFile], reserve: int = 0, freed: Iterable[ModelFile] = ()) -> None:
        """``reserve``: bytes that shall be left besides; ``freed``: files that are removed. Raises InsufficientSpaceError."""
        needs: list[tuple[str, int]] = []
        for file in files:
            if file.duplicate_of is None:
                run_step(
                    file,
                    lambda file=file: needs.extend(self.planner.required_space(file)),  # type: ignore[misc]
                    self.options.check_mode,
                )
        self.space_needed = sum(size for _directory, size in needs)
        try:
            reserved = [(self.options.webui_dir, reserve)] if reserve and needs else []
            if self.options.check_mode:  # they are still there
                reserved += [(os.path.dirname(file.path), -_bytes_freed(file)) for file in freed]
            check_space([(directory, size) for directory, size in needs if directory] + reserved)
        except TransferError as exc:
            raise InsufficientSpaceError(str(exc), files) from None

    def _install(self, file: ModelFile) -> None:
        run_step(file, lambda: self.file_installer.install(file), self.options.check_mode)

    @staticmethod
    def _copy_outcome(file: ModelFile, original: ModelFile) -> None:
        if original.status is FileStatus.FAILED:
            file.fail(original.reason)
        else:
            file.mark_done(FileStatus.OK, original.sha256, original.size)

    def install_at(self, spec: ModelSpec, dest: str) -> ModelFile:
        """Install one file at ``dest``, a path or a directory (one that exists, or with a slash at its end).

        What lies there is verified by its hash each time; it is recorded in the state file alone, if there is one. Raises SdopsError.
        """
        file = ModelFile(spec)
        file.advice = "Move it away, choose another dest, or set force: true to have it replaced."
        state_file = self.options.state_file
        with file.timed():
            try:
                self._install_at(file, dest)
                if state_file and not self.options.check_mode and file.sha256:
                    if self.existing_files.single_files.get(file.path) != file.sha256:
                        record_single_file(state_file, file.path, file.sha256)
            except SdopsError:
                raise
            except Exception as exc:
                raise SdopsError(describe_exception(exc, file.path or spec.label)) from exc
        return file

    def _install_at(self, file: ModelFile, dest: str) -> None:
        spec, state_file = file.spec, self.options.state_file
        is_directory = dest.endswith("/") or os.path.isdir(dest)
        if not is_directory:
            self.existing_files.reject_pickle(spec, dest)
        remote = self.query.resolve(file)
        file.path = os.path.abspath(dest)
        self.existing_files.single_files = load_single_files(state_file) if state_file else {}
        if is_directory:
            file.path = os.path.join(file.path, name_from_source(spec, remote, "give dest with a file name"))
        self.planner.choose_action(file)
        if file.status is FileStatus.ADOPT:
            file.mark_done(FileStatus.OK, file.sha256, os.path.getsize(file.path))
            return
        check_space(self.planner.required_space(file))
        if self.options.check_mode:
            return
        directory = os.path.dirname(file.path)
        os.makedirs(directory, exist_ok=True)
        with locked(directory) as is_locked:  # itself: a lock file would be left lying about in somebody's directory
            sha256 = self.file_installer.perform(file, is_locked, self.existing_files.reject_loss)
        file.mark_done(FileStatus.FETCHED, sha256, os.path.getsize(file.path))

    def remove(self, spec: ModelSpec) -> list[ModelFile]:
        """Remove what was installed for ``spec``, and its sidecars. Failures are in the files."""
        return self.remover.remove(spec, {})


def _bytes_freed(file: ModelFile) -> int:
    """Bytes that the disk gets when a file is removed: none while it has another name, in the cache say."""
    try:
        found = os.lstat(file.path)
    except OSError:
        return 0
    return found.st_size if file.status is FileStatus.REMOVED and found.st_nlink == 1 else 0

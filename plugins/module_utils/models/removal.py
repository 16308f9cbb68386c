# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove what was installed for an entry, or what a list no longer wants, and nothing else: a file that was changed since stays."""

from __future__ import annotations

import os
from typing import Mapping

from ..errors import SdopsError
from ..filesystem import unlink_all
from ..transfer.partial import PartialFile
from .expected import expected_path
from .model_file import FileStatus, ModelFile
from .options import BatchOptions
from .plan import run_step
from .record import ModelRecord
from .spec import Endpoints, ModelSpec, parse_source

FOREIGN = "{} was not placed by us, so it stays. Remove it by hand if you mean it, or take the entry away."
MODIFIED = "{} was changed since it was placed; it stays. Remove it by hand if you mean it."
ADOPTED = "{} lay there before it was listed, so it is not pruned. Give its entry state: absent, or remove it by hand."
SHARED = "{} is wanted by {} too, so it stays. Take it away there, or take this entry away."
CONTRADICTION = "{} is listed twice, with state: absent and without. Take one of the entries away."


class ModelRemover:
    """Removes models and their sidecars by the record of what was installed."""

    def __init__(self, options: BatchOptions, record: ModelRecord) -> None:
        self.options = options
        self.record = record
        self.endpoints = Endpoints(options.huggingface_endpoint, options.civitai_endpoint)

    def remove(self, spec: ModelSpec, wanted: Mapping[str, ModelSpec]) -> list[ModelFile]:
        """The files that were installed for ``spec``, removed. Failures are in the files.

        ``wanted``: what else is to be there, by its path; it stays.
        """
        file = ModelFile(spec)
        if spec.problem:
            file.fail(spec.problem)
            return [file]
        installed = self._find_installed(spec)
        for path in [path for path in installed if path in wanted]:
            installed.remove(path)
            if wanted[path].identity == spec.identity:
                file.fail(CONTRADICTION.format(spec.label))
                return [file]
        files = []
        for path in [each for main in installed for each in (*self.record.sidecars_of(main), main)]:
            if path not in wanted:
                file = ModelFile(spec)
                file.path = path
                run_step(file, lambda file=file: self._remove_file(file), self.options.check_mode)  # type: ignore[misc]
                files.append(file)
        if not files:
            file = ModelFile(spec)
            run_step(file, lambda: self._remove_unrecorded(file, wanted), self.options.check_mode)
            files += [file] if file.status is not FileStatus.NEW else []
        return files

    def _find_installed(self, spec: ModelSpec) -> list[str]:
        """Paths of what was installed from the source of ``spec``, however it was written then, or lies where its file would."""
        ids = {spec.source_id, *(e["source_id"] for e in self.record.entries.values() if self._is_same_source(e, spec))}
        found = [path for each in sorted(ids) for path in self.record.find_by_source(each, spec.kind, spec.name)]
        path = expected_path(spec, self.options.webui_dir)
        recorded = self.record.get_recorded(path) if path else None
        if recorded and not recorded.get("sidecar_of"):
            found.append(path)
        return list(dict.fromkeys(found))

    def _is_same_source(self, entry: dict, spec: ModelSpec) -> bool:
        """Whether a recorded file came from the source of ``spec``, by its label, unless something is masked in that."""
        source = str(entry.get("source") or "")
        if ModelSpec(source, "", {}).source_id != entry["source_id"]:
            return False
        try:
            return parse_source(source, self.endpoints).identity == spec.identity
        except SdopsError:
            return False

    def prune(self, wanted: Mapping[str, ModelSpec]) -> tuple[list[ModelFile], list[str]]:
        """What this list had installed and no longer wants, removed, and sentences on what of that stays. Failures are in the files."""
        files, sentences, released = [], [], []
        for key, entry in sorted(self.record.entries.items()):
            path = os.path.join(self.record.root, key)
            if path in wanted or self.options.list_name not in self.record.lists_of(path):
                continue
            if len(self.record.lists_of(path)) > 1:
                released.append(path)
            elif entry.get("adopted"):
                sentences += [ADOPTED.format(path)] if os.path.exists(path) else []
            elif self.record.get(path):
                file = ModelFile(ModelSpec(str(entry.get("source") or path), "", {}))
                file.path = path
                run_step(file, lambda file=file: self._remove_file(file), self.options.check_mode)  # type: ignore[misc]
                files.append(file)
            elif os.path.exists(path):
                sentences.append(MODIFIED.format(path))
        if not self.options.check_mode:
            self.record.set_lists(released, self.options.list_name, False)
        return files, sentences

    def _remove_unrecorded(self, file: ModelFile, wanted: Mapping[str, ModelSpec]) -> None:
        """What an interrupted run left of a model that was never installed, if its path is known without its source."""
        path = expected_path(file.spec, self.options.webui_dir)
        if not path or path in wanted or self.record.get_recorded(path):
            return
        partial = PartialFile(path, file.remote)
        if os.path.exists(partial.path):
            if not self.options.check_mode:
                partial.discard()
            file.path = partial.path
            file.mark_done(FileStatus.REMOVED, None, None)
        elif os.path.lexists(path):
            file.path = path
            raise SdopsError(FOREIGN.format(path))

    def _remove_file(self, file: ModelFile) -> None:
        path = file.path
        entry = self.record.get_recorded(path) or {}
        file.kind = entry["kind"]
        if os.path.exists(path) and self.record.get(path) is None:
            raise SdopsError(MODIFIED.format(path))
        others = [name for name in self.record.lists_of(path) if name != self.options.list_name]
        if others and self.options.list_name:
            raise SdopsError(SHARED.format(path, " and ".join(others)))
        if not self.options.check_mode:
            # a part that a killed run left goes too
            PartialFile(path, file.remote).discard()
            unlink_all([path])
            self.record.drop(path)
        file.mark_done(FileStatus.REMOVED, entry["sha256"], entry["bytes"])

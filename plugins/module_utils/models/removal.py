# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove what was installed for an entry, and nothing else: a file that was changed since stays."""

from __future__ import annotations

import os

from ..content_scan.sanitize import sanitize_name
from ..errors import SdopsError
from ..filesystem import unlink_all
from ..transfer.partial import PartialFile
from .layout import model_path
from .model_file import FileStatus, ModelFile
from .options import BatchOptions
from .plan import run_step
from .record import ModelRecord
from .spec import ModelSpec


class ModelRemover:
    """Removes models and their sidecars by the record of what was installed."""

    def __init__(self, options: BatchOptions, record: ModelRecord) -> None:
        self.options = options
        self.record = record

    def remove(self, spec: ModelSpec) -> list[ModelFile]:
        """The files that were installed for ``spec``, removed. Failures are in the files."""
        if spec.problem:
            file = ModelFile(spec)
            file.fail(spec.problem)
            return [file]
        files = []
        installed = self.record.find_by_source(spec.source_id, spec.kind, spec.name)
        for path in [each for main in installed for each in (*self.record.sidecars_of(main), main)]:
            file = ModelFile(spec)
            file.path = path
            run_step(file, lambda file=file: self._remove_file(file), self.options.check_mode)  # type: ignore[misc]
            files.append(file)
        if not installed:
            file = ModelFile(spec)
            run_step(file, lambda: self._remove_partial(file), self.options.check_mode)
            files += [file] if file.status is not FileStatus.NEW else []
        return files

    def _remove_partial(self, file: ModelFile) -> None:
        """What an interrupted run left of a model that was never installed, if its path is known without its source."""
        spec = file.spec
        name = spec.name or (os.path.basename(spec.locator["file"]) if spec.origin == "huggingface" else "")
        if not spec.kind or not name:
            return
        path = model_path(self.options.webui_dir, spec.kind, sanitize_name(name))
        partial = PartialFile(path, file.remote)
        if self.record.get_recorded(path) or not os.path.exists(partial.path):
            return
        if not self.options.check_mode:
            partial.discard()
        file.path = partial.path
        file.mark_done(FileStatus.REMOVED, None, None)

    def _remove_file(self, file: ModelFile) -> None:
        path = file.path
        entry = self.record.get_recorded(path) or {}
        file.kind = entry["kind"]
        if os.path.exists(path) and self.record.get(path) is None:
            raise SdopsError(f"{path} was changed since it was placed; it stays. Remove it by hand if you mean it.")
        if not self.options.check_mode:
            # a part that a killed run left goes too
            PartialFile(path, file.remote).discard()
            unlink_all([path])
            self.record.drop(path)
        file.mark_done(FileStatus.REMOVED, entry["sha256"], entry["bytes"])

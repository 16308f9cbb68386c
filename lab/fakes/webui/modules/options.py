"""Settings: config.json, and the rules of the real program for changing them (its carelessness about types included)."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, Callable

from modules import errors
from modules.option_table import SECTIONS
from modules.paths_internal import script_path

RESTRICTED = {  # frozen by --hide-ui-dir-config
    "clean_temp_dir_at_start",
    "directories_filename_pattern",
    "outdir_extras_samples",
    "outdir_grids",
    "outdir_img2img_samples",
    "outdir_init_images",
    "outdir_samples",
    "outdir_save",
    "outdir_txt2img_grids",
    "outdir_txt2img_samples",
    "samples_filename_pattern",
    "temp_dir",
}


class OptionInfo:
    """One setting: default, section and what runs after a change."""

    def __init__(self, default: Any = None, label: str = "", *unused: Any, section: Any = None, **more: Any) -> None:
        self.default = default
        self.label = label
        self.section = section[0] if isinstance(section, tuple) else section
        self.onchange: Callable[[], None] | None = None


class Options:
    """``data`` holds what has been set or loaded; every other known setting has its default."""

    def __init__(self, cmd_opts) -> None:
        self.cmd_opts = cmd_opts
        self.data: dict[str, Any] = {}
        self.data_labels: dict[str, OptionInfo] = {
            name: OptionInfo(default, name, section=section)
            for section, entries in SECTIONS.items()
            for name, default in entries.items()
        }

    def __getattr__(self, name: str) -> Any:
        if name in self.__dict__.get("data", {}):
            return self.data[name]
        if name in self.__dict__.get("data_labels", {}):
            return self.data_labels[name].default
        raise AttributeError(name)

    def add_option(self, name: str, info: OptionInfo) -> None:
        self.data_labels[name] = info

    def _assign(self, name: str, value: Any) -> None:
        frozen = self.cmd_opts
        assert not frozen.freeze_settings, "changing settings is disabled"
        section = self.data_labels[name].section
        if frozen.freeze_settings_in_sections is not None:
            sections = [part.strip() for part in frozen.freeze_settings_in_sections.split(",")]
            assert section not in sections, f"not possible to set '{name}': section {section} is frozen"
        if frozen.freeze_specific_settings is not None:
            names = [part.strip() for part in frozen.freeze_specific_settings.split(",")]
            assert name not in names, f"not possible to set '{name}': this setting is frozen"
        if frozen.hide_ui_dir_config and name in RESTRICTED:
            raise RuntimeError(f"not possible to set '{name}' because it is restricted with --hide_ui_dir_config")
        self.data[name] = value

    def set(self, name: str, value: Any, run_callbacks: bool = True) -> bool:
        """Set one setting; False when nothing changed.

        Values are stored unchecked. When the callback of a setting fails, the former value comes back without an error to
        the caller (a setting that had none comes back as null). An unknown name raises KeyError, but only if it would change.
        """
        old = self.data.get(name)
        if old == value:
            return False
        info = self.data_labels[name]
        try:
            self._assign(name, value)
        except RuntimeError:
            return False
        if run_callbacks and info.onchange is not None:
            try:
                info.onchange()
            except Exception as exc:
                errors.display(exc, f"changing setting {name} to {value}")
                self._assign(name, old)
                return False
        return True

    def save(self, filename: str) -> None:
        assert not self.cmd_opts.freeze_settings, "saving settings is disabled"
        with open(filename, "w", encoding="utf8") as file:
            json.dump(self.data, file, indent=4, ensure_ascii=False)

    def load(self, filename: str) -> None:
        try:
            with open(filename, encoding="utf8") as file:
                self.data = json.load(file)
        except FileNotFoundError:
            self.data = {}
        except Exception:
            errors.report(f'Could not load settings from "{filename}"; it is moved to tmp/config.json', exc_info=True)
            os.makedirs(os.path.join(script_path, "tmp"), exist_ok=True)
            os.replace(filename, os.path.join(script_path, "tmp", "config.json"))
            self.data = {}
        bad = [name for name, value in self.data.items() if not self._same_type(name, value)]
        for name in bad:
            value, expected = self.data[name], type(self.data_labels[name].default).__name__
            print(
                f"Warning: bad setting value: {name}: {value} ({type(value).__name__}; expected {expected})",
                file=sys.stderr,
            )
        if bad:
            print(f"The program is likely to not work with bad settings.\nSettings file: {filename}", file=sys.stderr)

    def _same_type(self, name: str, value: Any) -> bool:
        default = self.data_labels[name].default if name in self.data_labels else None
        if default is None or value is None:
            return True
        kinds = [float if type(item) is int else type(item) for item in (default, value)]
        return kinds[0] is kinds[1]

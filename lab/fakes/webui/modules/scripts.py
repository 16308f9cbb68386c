"""Scripts of extensions: the part of the real interface that lab extensions need."""

from __future__ import annotations

import inspect
import os
import sys
from typing import Any

from modules import errors, script_loading
from modules.timer import startup_timer

AlwaysVisible = object()


class Script:
    """Base class of a script, found by subclassing it in an extension's ``scripts/*.py``."""

    alwayson = False

    def title(self) -> str:
        raise NotImplementedError

    def show(self, is_img2img: bool) -> Any:
        return True

    def process(self, p: Any, *args: Any) -> None:
        """Called before a picture is drawn; may add to ``p.extra_generation_params``."""

    @property
    def name(self) -> str:
        return self.title().lower()


loaded: list[Script] = []


def load_scripts(extensions: list[Any]) -> None:
    """Load ``scripts/*.py`` of the active extensions; a file that fails is reported and passed over."""
    loaded.clear()
    for extension in extensions:
        folder = os.path.join(extension.path, "scripts")
        for filename in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            if not filename.endswith(".py"):
                continue
            path = list(sys.path)
            sys.path.insert(0, extension.path)
            try:
                module = script_loading.load_module(os.path.join(folder, filename))
                for item in list(vars(module).values()):
                    if inspect.isclass(item) and issubclass(item, Script) and item is not Script:
                        script = item()
                        script.alwayson = script.show(False) is AlwaysVisible
                        loaded.append(script)
            except Exception:
                errors.report(f"Error loading script: {filename}", exc_info=True)
            finally:
                sys.path[:] = path
                startup_timer.record(filename)


def find(name: str) -> Script | None:
    return next((script for script in loaded if script.name == name.lower()), None)


def run(p: Any, arguments: dict[str, list]) -> None:
    """``process`` of every always-on script, with the request's arguments for it; failures are reported only."""
    for script in loaded:
        if script.alwayson:
            try:
                script.process(p, *arguments.get(script.name, []))
            except Exception:
                errors.report(f"Error running process: {script.title()}", exc_info=True)

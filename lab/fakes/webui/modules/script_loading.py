"""Python files of extensions."""

from __future__ import annotations

import importlib.util
import os
from types import ModuleType
from typing import Iterable

from modules import errors


def load_module(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(os.path.basename(path), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def preload_extensions(directory: str, parser, extension_list: Iterable[str] | None = None) -> None:
    """Let each extension's preload.py add its flags to ``parser``; a failing one is reported and passed over."""
    if not os.path.isdir(directory):
        return
    for name in sorted(os.listdir(directory) if extension_list is None else extension_list):
        path = os.path.join(directory, name, "preload.py")
        if not os.path.isfile(path):
            continue
        try:
            module = load_module(path)
            if hasattr(module, "preload"):
                module.preload(parser)
        except Exception:
            errors.report(f"Error running preload() for {path}", exc_info=True)

# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps compiled what Python imports out of a zip file. Python itself does so for other files only (``__pycache__``).

Ansible sends a module as a zip file with about 80 source files, and zipimport compiles most of them twice: for each task that is a
third of what the module costs on the target. A copy of this file lies in the environment that ``install`` was called for.
Standard library only.
"""

from __future__ import annotations

import _imp
import marshal
import os
import sys
import zipimport

TYPE_CHECKING = False
if TYPE_CHECKING:  # every start of the environment's Python would import it
    from types import CodeType
    from typing import Callable

CODE_CACHE_NAME = "sdops_zip_code_cache"
CODE_CACHE_DIRECTORY = "zip-code-cache"
HASH_SIZE = 8  # bytes, of importlib.util.source_hash


def install(packages: str, prefix: str, source: str) -> None:
    """Have the environment at ``prefix``, whose site-packages are ``packages``, keep compiled code. ``source``: the text of this file."""
    os.makedirs(os.path.join(prefix, CODE_CACHE_DIRECTORY), mode=0o700, exist_ok=True)
    for name, text in (
        (CODE_CACHE_NAME + ".py", source),
        (CODE_CACHE_NAME + ".pth", f"import {CODE_CACHE_NAME}; {CODE_CACHE_NAME}.enable()\n"),
    ):
        with open(os.path.join(packages, name), "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())  # nothing else would see that a power cut has damaged them


def enable(directory: str = "") -> None:
    """Make zipimport read from ``directory`` and write to it, by default that of this environment. Does nothing where it cannot."""
    directory = directory or os.path.join(sys.prefix, CODE_CACHE_DIRECTORY)
    compile_source = getattr(zipimport, "_compile_source", None)
    if compile_source is None or not os.access(directory, os.R_OK | os.W_OK):
        return
    suffix = f".{sys.implementation.cache_tag}-{sys.flags.optimize}"
    in_memory: dict[str, CodeType] = {}

    def compile_once(path: str, source: bytes) -> CodeType:
        _archive, is_zip, name = path.rpartition(".zip" + os.sep)
        if not is_zip:
            return compile_source(path, source)
        if path not in in_memory:
            file = os.path.join(directory, name.replace(os.sep, ".") + suffix)
            in_memory[path] = cached_code(file, path, source, compile_source)
        return in_memory[path]

    zipimport._compile_source = compile_once  # type: ignore[attr-defined]


def cached_code(file: str, path: str, source: bytes, compile_source: Callable[[str, bytes], CodeType]) -> CodeType:
    """The code of ``source``, which lies at ``path``: from ``file`` where that is whole and of the same source, else compiled.

    ``file`` begins with the hash of the source and that of the code, for a power cut leaves files of zeros.
    """
    from importlib.util import source_hash  # Ansible has imported it by then, and others never come here

    digest = source_hash(source)
    try:
        with open(file, "rb") as handle:
            stored = handle.read()
        payload = stored[2 * HASH_SIZE :]
        if stored[: 2 * HASH_SIZE] == digest + source_hash(payload):
            code = marshal.loads(payload)
            _imp._fix_co_filename(code, path)  # type: ignore[attr-defined]  # for tracebacks
            return code
    except (OSError, ValueError, EOFError, TypeError):
        pass
    code = compile_source(path, source)
    payload = marshal.dumps(code)
    temporary = f"{file}.{os.getpid()}"
    try:
        with open(temporary, "wb") as handle:
            handle.write(digest + source_hash(payload) + payload)
        os.replace(temporary, file)
    except OSError:  # a full disk: it is a cache
        try:
            os.unlink(temporary)
        except OSError:
            pass
    return code

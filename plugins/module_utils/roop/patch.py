# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What roop's safety check is on disk, and the way to the one that is wanted. There is no way to none."""

from __future__ import annotations

import ast
import hashlib
import os
import re
from typing import List, NamedTuple, Optional, Sequence

from ..errors import SdopsError
from ..files import write_atomic
from ..process import run
from .hardened import MARK, render

MOST = 0.7  # upstream's own threshold: a higher one would let more through
# SHA-256 of scripts/cimage.py in the extension's history that swapper.py works with (June 2023 until today)
UPSTREAM = ("90154d98e0cc4729f50d900ede0fae9c0f2e50f016142a397a260ae69814a237",)
BACKUP = ".before-sdops"  # behind the name: the WebUI loads whatever ends in .py


class RoopError(SdopsError):
    """The file is not what can be worked on, or the original is not to be had."""


class Found(NamedTuple):
    """``status`` is upstream, hardened, bypassed or unknown; ``threshold`` of hardened; ``reason`` of the last two."""

    status: str
    threshold: Optional[float] = None
    reason: str = ""


def check_threshold(threshold: float) -> float:
    """Raises RoopError for one that lets more through than upstream's."""
    if not 0 < threshold <= MOST:
        raise RoopError(
            "threshold is %s; it must be above 0 and at most %s. A lower one is stricter; none turns the check off."
            % (threshold, MOST)
        )
    return threshold


def classify(data: bytes) -> Found:
    """What the bytes of a ``scripts/cimage.py`` are."""
    if hashlib.sha256(data).hexdigest() in UPSTREAM:
        return Found("upstream")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return Found("unknown", reason="it is no text")
    if text.startswith(MARK):
        head = text[len(MARK) :].split("\n", 1)[0]
        if re.match(r"^0\.\d+$", head) and 0 < float(head) <= MOST and text == render(float(head)):
            return Found("hardened", float(head))
        return Found("bypassed", reason="the hardened check was edited")
    try:
        tree = ast.parse(text)
    except SyntaxError as exc:
        return Found("unknown", reason="it is no Python (line %s)" % exc.lineno)
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "convert_to_sd"]
    if len(functions) != 1:
        return Found("unknown", reason="it has %d functions convert_to_sd and not one" % len(functions))
    return _judge(tree, functions[0])


def _judge(tree: ast.Module, function: ast.FunctionDef) -> Found:
    """Whether the function is upstream's in meaning, or one whose check leads nowhere."""
    returns = [n.value for n in ast.walk(function) if isinstance(n, ast.Return)]
    firsts = [v.elts[0] for v in returns if isinstance(v, (ast.List, ast.Tuple)) and len(v.elts) == 2]
    if len(firsts) != len(returns) or not firsts:
        return Found("unknown", reason="convert_to_sd does not return a verdict and a file")
    if not any(_calls(n, "detect") for n in ast.walk(function)):
        return Found("bypassed", reason="the detector is not asked")
    if any(isinstance(first, ast.Constant) and not first.value for first in firsts):
        return Found("bypassed", reason="the verdict is always the same")
    bounds = _bounds(function)
    if any(bound > MOST for bound in bounds):
        return Found("bypassed", reason="it looks at scores above %s only" % max(bounds))
    if _stands_in(tree):
        return Found("bypassed", reason="detect is not the detector's")
    appended = [n.args[0] for n in ast.walk(function) if isinstance(n, ast.Call) and _is_append(n) and n.args]
    if appended and all(isinstance(value, ast.Constant) and not value.value for value in appended):
        return Found("bypassed", reason="nothing is ever noted")
    return Found("unknown", reason="it is neither the original nor a check that we know")


def _calls(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _is_append(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Attribute) and node.func.attr == "append"


def _bounds(function: ast.FunctionDef) -> List[float]:
    """The numbers that something is compared with."""
    found: List[float] = []
    for node in ast.walk(function):
        if isinstance(node, ast.Compare):
            sides: Sequence[ast.expr] = [node.left, *node.comparators]
            found += [s.value for s in sides if isinstance(s, ast.Constant) and isinstance(s.value, (int, float))]
    return found


def _stands_in(tree: ast.Module) -> bool:
    """Whether ``detect`` is made here instead of being imported from ifnude."""
    made = any(isinstance(n, (ast.FunctionDef, ast.Lambda)) and getattr(n, "name", "") == "detect" for n in tree.body)
    assigned = any(
        isinstance(n, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "detect" for t in n.targets)
        for n in tree.body
    )
    return made or assigned


class Patch:
    """The check of the extension at ``path`` (its directory, or the file itself)."""

    def __init__(self, path: str) -> None:
        self.file = os.path.join(path, "scripts", "cimage.py") if os.path.isdir(path) else path

    @property
    def backup(self) -> str:
        return self.file + BACKUP

    def read(self) -> bytes:
        """Raises RoopError when there is no such file."""
        try:
            with open(self.file, "rb") as handle:
                return handle.read()
        except OSError as exc:
            raise RoopError(
                "%s cannot be read: %s. Install the extension first, and give its directory."
                % (self.file, exc.strerror)
            ) from exc

    def look(self) -> Found:
        found = classify(self.read())
        if found.status == "unknown":
            raise RoopError(
                "%s is left as it is: %s. Check it out again at a commit that the catalog names, then run again."
                % (self.file, found.reason)
            )
        return found

    def original(self) -> bytes:
        """Upstream's bytes: from the backup, else from the extension's git objects. Raises RoopError."""
        try:
            with open(self.backup, "rb") as handle:
                kept = handle.read()
            if classify(kept).status == "upstream":
                return kept
        except OSError:
            pass
        top = os.path.dirname(os.path.dirname(os.path.abspath(self.file)))
        if os.path.isdir(os.path.join(top, ".git")):
            for commit in ("HEAD", "868f7d1bdd0e1dd6656b06d650fd16a7d414892b"):
                done = run(["git", "-c", "safe.directory=" + top, "-C", top, "show", commit + ":scripts/cimage.py"])
                if done.rc == 0 and classify(done.out.encode()).status == "upstream":
                    return done.out.encode()
        raise RoopError(
            "The original of %s is neither in its backup nor in the extension's git history. Check the extension out again."
            % self.file
        )

    def wanted(self, state: str, threshold: float) -> bytes:
        return render(check_threshold(threshold)).encode() if state == "hardened" else self.original()

    def write(self, data: bytes) -> None:
        """Replace the file. What was there is kept once; a bypassed one is not worth keeping."""
        mode = os.stat(self.file).st_mode & 0o7777
        before = self.read()
        if classify(before).status == "upstream" and not os.path.exists(self.backup):
            write_atomic(self.backup, before, mode)
        write_atomic(self.file, data, mode)

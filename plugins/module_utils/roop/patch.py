# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What roop's safety check is on disk, and the change to the requested one. Nothing here removes it."""

from __future__ import annotations

import ast
import hashlib
import os
import re
from typing import Any, NamedTuple, Sequence

from ..errors import RoopError
from ..filesystem import read_regular, write_atomic
from ..git.command import Git
from .hardened import HARDENED_HEADER, render_hardened

MAX_THRESHOLD = 0.7  # upstream's own threshold: a higher one would let more through
# SHA-256 of scripts/cimage.py in the extension's history that swapper.py works with (June 2023 until today)
UPSTREAM_SHA256 = ("90154d98e0cc4729f50d900ede0fae9c0f2e50f016142a397a260ae69814a237",)
# the hardened check as former versions of the collection wrote it, with T for the threshold
PREVIOUS_HEADER = re.compile(r"^# sdops\.webui: hardened safety check, version 1, threshold (0\.\d{1,16})\n")
PREVIOUS_SHA256 = ("bdaea02a98c574cf5d98b3cc9310326b0b0c11a3ddf47d2c4cc86765a8789187",)
BACKUP_SUFFIX = ".before-sdops"  # behind the name: the WebUI loads whatever ends in .py


class CheckStatus(NamedTuple):
    """``status`` is upstream, hardened, bypassed or unknown; ``threshold`` of hardened; ``reason`` of the last two."""

    status: str
    threshold: float | None = None
    reason: str = ""


def check_threshold(threshold: float) -> float:
    """Raises RoopError for one that lets more through than upstream's."""
    if not 0 < threshold <= MAX_THRESHOLD:
        raise RoopError(
            f"threshold is {threshold}; it must be above 0 and at most {MAX_THRESHOLD}. A lower one is stricter; none turns the check off."
        )
    return threshold


def classify_check(data: bytes) -> CheckStatus:
    """What the bytes of a ``scripts/cimage.py`` are."""
    if hashlib.sha256(data).hexdigest() in UPSTREAM_SHA256:
        return CheckStatus("upstream")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return CheckStatus("unknown", reason="it is no text")
    older = PREVIOUS_HEADER.match(text)
    if (
        older
        and hashlib.sha256(text[older.end() :].replace(older.group(1), "T", 1).encode()).hexdigest() in PREVIOUS_SHA256
    ):
        return CheckStatus("hardened", float(older.group(1)))
    if text.startswith(HARDENED_HEADER):
        head = text[len(HARDENED_HEADER) :].split("\n", 1)[0]
        if re.match(r"^0\.\d+$", head) and 0 < float(head) <= MAX_THRESHOLD and text == render_hardened(float(head)):
            return CheckStatus("hardened", float(head))
        return CheckStatus("bypassed", reason="the hardened check was edited")
    try:
        tree = ast.parse(text)
    except SyntaxError as exc:
        return CheckStatus("unknown", reason=f"it is no Python (line {exc.lineno})")
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "convert_to_sd"]
    if len(functions) != 1:
        return CheckStatus("unknown", reason=f"it has {len(functions)} functions convert_to_sd and not one")
    return _classify_function(tree, functions[0])


def _classify_function(tree: ast.Module, function: ast.FunctionDef) -> CheckStatus:
    """Whether the function is upstream's in meaning, or one whose check leads nowhere."""
    returns = [n.value for n in ast.walk(function) if isinstance(n, ast.Return)]
    firsts = [v.elts[0] for v in returns if isinstance(v, (ast.List, ast.Tuple)) and len(v.elts) == 2]
    if len(firsts) != len(returns) or not firsts:
        return CheckStatus("unknown", reason="convert_to_sd does not return a result and a file")
    if not any(_is_call_of(n, "detect") for n in ast.walk(function)):
        return CheckStatus("bypassed", reason="the detector is not asked")
    if any(isinstance(first, ast.Constant) and not first.value for first in firsts):
        return CheckStatus("bypassed", reason="the result is always the same")
    bounds = _compared_numbers(function)
    if any(bound > MAX_THRESHOLD for bound in bounds):
        return CheckStatus("bypassed", reason=f"it looks at scores above {max(bounds)} only")
    if _is_detect_replaced(tree):
        return CheckStatus("bypassed", reason="detect is not the detector's")
    appended = [n.args[0] for n in ast.walk(function) if isinstance(n, ast.Call) and _is_append(n) and n.args]
    if appended and all(isinstance(value, ast.Constant) and not value.value for value in appended):
        return CheckStatus("bypassed", reason="nothing is ever noted")
    return CheckStatus("unknown", reason="it is neither the original nor a check that we know")


# what swap_face may call without having asked the check
PLAIN_CALLS = {"convert_to_sd", "ImageResult", "save", "copy", "debug", "info", "warning", "error", "print"}


def classify_swapper(data: bytes) -> CheckStatus:
    """Whether ``scripts/swapper.py`` swaps nothing unless ``convert_to_sd`` lets it: ``upstream`` when it does, else why not.

    ``swap_face`` has to take the result of ``scripts.cimage`` and do its work below ``if ... and not RESULT``, as all of the
    extension's versions do. Whatever is written otherwise is unknown.
    """
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError):
        return CheckStatus("unknown", reason="it is no Python")
    sources = [
        n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and "convert_to_sd" in _imported_names(n)
    ]
    if sources != ["scripts.cimage"] or _is_rebound(tree, "convert_to_sd"):
        return CheckStatus("bypassed", reason="convert_to_sd is not the one of scripts/cimage.py")
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "swap_face"]
    if (
        len(functions) != 1
        or functions[0] not in tree.body
        or functions[0].decorator_list
        or _is_rebound(tree, "swap_face", 1)
    ):
        return CheckStatus("unknown", reason="it has not one plain function swap_face")
    function = functions[0]
    if not any(_is_call_of(n, "convert_to_sd") for n in ast.walk(function)):
        return CheckStatus("bypassed", reason="swap_face does not ask convert_to_sd")
    results = _result_names(function)
    guarded = {
        inner
        for n in ast.walk(function)
        if isinstance(n, ast.If) and any(_is_negated_result(test, results) for test in _conjuncts(n.test))
        for statement in n.body
        for inner in ast.walk(statement)
    }
    loose = sorted(
        {_called_name(n) for n in ast.walk(function) if isinstance(n, ast.Call) and n not in guarded} - PLAIN_CALLS
    )
    if loose:
        return CheckStatus("bypassed", reason="swap_face calls {} whatever the result is".format(", ".join(loose)))
    outside = [
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.Call) and _called_name(n) == "getFaceSwapModel" and n not in guarded
    ]
    if outside:
        return CheckStatus("bypassed", reason="the model that swaps is used in other places than behind the check")
    return CheckStatus("upstream")


def _imported_names(node: ast.ImportFrom) -> list[str]:
    return [alias.asname or alias.name for alias in node.names]


def _is_rebound(tree: ast.AST, name: str, definitions: int = 0) -> bool:
    """Whether ``name`` gets another meaning than the one it was imported or defined with."""
    made = sum(
        isinstance(n, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)) and n.name == name for n in ast.walk(tree)
    )
    stored = any(isinstance(n, ast.Name) and n.id == name and not isinstance(n.ctx, ast.Load) for n in ast.walk(tree))
    named = any(isinstance(n, ast.arg) and n.arg == name for n in ast.walk(tree))
    return made != definitions or stored or named


def _result_names(function: ast.FunctionDef) -> list[str]:
    """Names that hold the result and nothing else: ``x = convert_to_sd(..)[0]``, also by way of a name for both."""
    values: dict[str, list[ast.expr]] = {}  # name -> all expressions that it is given; None for what is not known
    for node in ast.walk(function):
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            if (
                isinstance(target, ast.Tuple)
                and isinstance(node.value, ast.Tuple)
                and len(target.elts) == len(node.value.elts)
            ):
                pairs = list(zip(target.elts, node.value.elts))
            elif isinstance(target, ast.Tuple) and _is_call_of(node.value, "convert_to_sd") and len(target.elts) == 2:
                pairs = [(target.elts[0], ast.Subscript(value=node.value, slice=ast.Constant(value=0), ctx=ast.Load()))]
            else:
                pairs = [(target, node.value)]
            for left, right in pairs:
                if isinstance(left, ast.Name):
                    values.setdefault(left.id, []).append(right)
    stores: dict[str, int] = {}
    for node in ast.walk(function):
        part = isinstance(node, (ast.Subscript, ast.Attribute))
        stored: Any = node.value if part else node  # type: ignore[attr-defined]
        if isinstance(stored, ast.Name) and not isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
            stores[stored.id] = stores.get(stored.id, 0) + 1
    once = {
        name: expressions[0] for name, expressions in values.items() if len(expressions) == 1 and stores.get(name) == 1
    }
    both = [name for name, value in once.items() if _is_call_of(value, "convert_to_sd")]
    return [name for name, value in once.items() if _is_first_item(value, both)]


def _is_first_item(node: ast.AST, both: Sequence[str]) -> bool:
    """``convert_to_sd(..)[0]``, or ``name[0]`` of a name that holds its answer."""
    if not isinstance(node, ast.Subscript):
        return False
    index: Any = getattr(node.slice, "value", node.slice)  # before Python 3.9 there was an Index around it
    index = getattr(index, "value", index)
    is_result = isinstance(node.value, ast.Name) and node.value.id in both
    return index == 0 and not isinstance(index, bool) and (is_result or _is_call_of(node.value, "convert_to_sd"))


def _conjuncts(test: ast.expr) -> list[ast.expr]:
    return list(test.values) if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) else [test]


def _is_negated_result(test: ast.expr, results: Sequence[str]) -> bool:
    """``not RESULT``"""
    if not isinstance(test, ast.UnaryOp) or not isinstance(test.op, ast.Not):
        return False
    is_result = isinstance(test.operand, ast.Name) and test.operand.id in results
    return is_result or _is_first_item(test.operand, ())


def _called_name(node: ast.Call) -> str:
    return getattr(node.func, "id", None) or getattr(node.func, "attr", None) or "something"


def _is_call_of(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _is_append(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Attribute) and node.func.attr == "append"


def _compared_numbers(function: ast.FunctionDef) -> list[float]:
    """The numbers that something is compared with."""
    found: list[float] = []
    for node in ast.walk(function):
        if isinstance(node, ast.Compare):
            sides: Sequence[ast.expr] = [node.left, *node.comparators]
            found += [s.value for s in sides if isinstance(s, ast.Constant) and isinstance(s.value, (int, float))]
    return found


def _is_detect_replaced(tree: ast.Module) -> bool:
    """Whether ``detect`` is made here instead of being imported from ifnude."""
    made = any(isinstance(n, (ast.FunctionDef, ast.Lambda)) and getattr(n, "name", "") == "detect" for n in tree.body)
    assigned = any(
        isinstance(n, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "detect" for t in n.targets)
        for n in tree.body
    )
    return made or assigned


class SafetyCheckPatch:
    """The check of the extension at ``path`` (its directory, or the file itself)."""

    def __init__(self, path: str) -> None:
        self.file = os.path.join(path, "scripts", "cimage.py") if os.path.isdir(path) else path

    @property
    def backup(self) -> str:
        return self.file + BACKUP_SUFFIX

    def read(self) -> bytes:
        """Raises RoopError when there is no such file."""
        try:
            return read_regular(self.file, follow=True)
        except OSError as exc:
            raise RoopError(
                f"{self.file} cannot be read: {exc.strerror}. Install the extension first, and give its directory."
            ) from exc

    def inspect(self) -> CheckStatus:
        found = classify_check(self.read())
        if found.status == "unknown":
            raise RoopError(
                f"{self.file} is left as it is: {found.reason}. Check it out again at a commit that the catalog names, then run again."
            )
        return found

    def require_checked_swapper(self) -> None:
        """Raises RoopError unless the file beside it swaps nothing without asking the check."""
        swapper = os.path.join(os.path.dirname(self.file), "swapper.py")
        try:
            found = classify_swapper(read_regular(swapper, follow=True))
        except OSError as exc:
            found = CheckStatus("unknown", reason=f"it cannot be read: {exc.strerror}")
        if found.status != "upstream":
            raise RoopError(
                f"{swapper} is {found.status}: {found.reason}. The check beside it would be of no use, so nothing "
                "was changed. Check the extension out again at "
                "a commit that the catalog names, then run again."
            )

    def read_original(self) -> bytes:
        """Upstream's bytes: from the backup, else from the extension's git objects. Raises RoopError."""
        try:
            original = read_regular(self.backup)
            if classify_check(original).status == "upstream":
                return original
        except OSError:
            pass
        top = os.path.dirname(os.path.dirname(os.path.abspath(self.file)))
        if os.path.isdir(os.path.join(top, ".git")):
            with Git([top]) as git:
                for commit in ("HEAD", "868f7d1bdd0e1dd6656b06d650fd16a7d414892b"):
                    original = (git.blob(top, commit + ":scripts/cimage.py") if git.program else None) or b""
                    if classify_check(original).status == "upstream":
                        return original
        raise RoopError(
            f"The original of {self.file} is neither in its backup nor in the extension's git history. Check the extension out again."
        )

    def target_content(self, state: str, threshold: float) -> bytes:
        return render_hardened(check_threshold(threshold)).encode() if state == "hardened" else self.read_original()

    def write(self, data: bytes) -> None:
        """Replace the file. What was there is kept once; a bypassed one is not worth keeping."""
        mode = os.stat(self.file).st_mode & 0o7777
        before = self.read()
        if classify_check(before).status == "upstream" and not os.path.exists(self.backup):
            write_atomic(self.backup, before, mode)
        write_atomic(self.file, data, mode)

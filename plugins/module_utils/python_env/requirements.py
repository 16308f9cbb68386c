# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide, without network, whether requirements are met by what is installed."""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple
from urllib.parse import unquote

from ..errors import PythonEnvError
from ..urls import without_user
from .names import normalize_name

try:
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.version import InvalidVersion

    HAS_PACKAGING = True
except ImportError:
    HAS_PACKAGING = False


class RequirementLines(NamedTuple):
    """The content of a requirements file: requirement lines, and constraints files that it names."""

    requirements: list[str]
    constraints: list[str]


def read_requirements(path: str) -> RequirementLines:
    """Requirement lines of a file, those of files it names with ``-r`` included; comments and index options left out.

    Raises PythonEnvError when one cannot be read.
    """
    found = RequirementLines([], [])
    _read(path, found, [])
    return found


def _read(path: str, found: RequirementLines, stack: list[str]) -> None:
    if path in stack:
        return
    try:
        with open(path, encoding="utf-8-sig") as handle:
            lines = handle.read().replace("\\\n", " ").splitlines()
    except OSError as exc:
        raise PythonEnvError(f"The requirements file {path} cannot be read: {exc.strerror}.") from exc
    except ValueError as exc:
        raise PythonEnvError(f"The requirements file {path} is no UTF-8 text: {exc}.") from exc
    for line in lines:
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        named = re.match(r"^(-r|--requirement|-c|--constraint)(?:\s*=\s*|\s*)(\S+)$", line)
        if named:
            other = os.path.normpath(os.path.join(os.path.dirname(path), named.group(2)))
            if named.group(1) in ("-r", "--requirement"):
                _read(other, found, [*stack, path])
            else:
                found.constraints.append(other)
        elif line and (not line.startswith("-") or re.match(r"^(-e|--editable)\b", line)):
            found.requirements.append(re.sub(r"\s+--(hash|config-settings|global-option)\b.*$", "", line))


def _comparable_url(url: str) -> str:
    """``url`` without credentials; where it names a commit also without the host, because a mirror has the same."""
    url = without_user(url)
    return re.sub(r"^.*://[^/]+/", "", url) if re.search(r"[/@][0-9a-f]{40}\b", url) else url


def _is_same_source(url: str, entry: dict[str, Any]) -> bool:
    """Whether a distribution was installed from ``url`` (PEP 610). A directory may have changed since: never."""
    direct = entry.get("direct_url")
    if not direct or "dir_info" in direct:
        return False
    url, have = url.split("#")[0], str(direct.get("url", ""))
    vcs = direct.get("vcs_info")
    if vcs:
        # without a revision, or with a branch, it may have moved on: only a commit is certain
        have = "{}+{}@{}".format(vcs.get("vcs"), have, vcs.get("commit_id"))
        if not url.startswith("{}+".format(vcs.get("vcs"))):
            return False
    return _comparable_url(unquote(url)) == _comparable_url(unquote(have))


def _strip_login(text: str) -> str | None:
    """URL of a requirement that is nothing but a URL or a path."""
    if "://" in text and " " not in text:
        return text
    return "file://" + text if os.path.isabs(text) and " " not in text else None


class RequirementChecker:
    """Checks requirements against a state (see ``inspect_environment``), under constraints and overrides as uv understands them.

    A direct requirement must hold to the letter. What it depends on must be there and satisfy the constraints; its version
    is not checked again, because environments are changed on purpose (``no_deps``, overrides) and must stay as they are.
    Whatever cannot be decided for certain counts as not met: uv decides.
    """

    def __init__(self, state: dict[str, Any], constraints: list[str], overrides: list[str]) -> None:
        self.state = state
        self.unknown = not HAS_PACKAGING
        self.overrides: dict[str, list[Any]] = {}
        self.constraints: dict[str, list[Any]] = {}
        if HAS_PACKAGING:
            for path in overrides:
                for line in read_requirements(path).requirements:
                    self._add(self.overrides, line)
            for path in constraints:
                self._constrain(path, [])

    def _constrain(self, path: str, stack: list[str]) -> None:
        lines = read_requirements(path)
        for line in lines.requirements:
            self._add(self.constraints, line)
        for other in lines.constraints:
            if other not in stack:
                self._constrain(other, [*stack, path])

    def _add(self, table: dict[str, list[Any]], line: str) -> None:
        parsed = self._parse(line)
        if parsed is None:
            self.unknown = True
        elif self._applies(parsed.marker):
            table.setdefault(normalize_name(parsed.name), []).append(parsed)

    @staticmethod
    def _parse(text: str) -> Any:
        try:
            return Requirement(text)
        except InvalidRequirement:
            return None

    def _applies(self, marker: Any, extras: Any = None) -> bool:
        environment = self.state["markers"]
        return marker is None or any(marker.evaluate({**environment, "extra": e}) for e in (extras or {""}))

    def _is_satisfied(self, parsed: Any, entry: dict[str, Any]) -> bool:
        if parsed.url:
            return _is_same_source(parsed.url, entry)
        try:
            return bool(parsed.specifier.contains(entry["version"], prereleases=True))
        except InvalidVersion:
            return False

    def _usable(self, name: str) -> dict[str, Any] | None:
        """The installed distribution, when it satisfies constraints and overrides."""
        entry: dict[str, Any] | None = self.state["distributions"].get(name)
        rules = self.constraints.get(name, []) + self.overrides.get(name, [])
        return entry if entry and entry["complete"] and all(self._is_satisfied(rule, entry) for rule in rules) else None

    def is_met(self, text: str, depends: bool = True) -> bool:
        """Whether requirement ``text`` holds; with ``depends`` also that what it depends on is there, transitively."""
        if self.unknown:
            return False
        parsed = self._parse(text)
        if parsed is None:
            url = _strip_login(text)
            found = [n for n, e in self.state["distributions"].items() if url and _is_same_source(url, e)]
            if not found or not self._usable(found[0]):
                return False
            return not depends or self._are_dependencies_met(found[0], set())
        if not self._applies(parsed.marker):
            return True
        name = normalize_name(parsed.name)
        entry = self._usable(name)
        # an override replaces what is asked for
        if entry is None or (name not in self.overrides and not self._is_satisfied(parsed, entry)):
            return False
        return not depends or self._are_dependencies_met(name, set(parsed.extras))

    def _are_dependencies_met(self, start: str, extras: Any) -> bool:
        seen = set()
        todo = [(start, frozenset(extras))]
        while todo:
            name, active_extras = todo.pop()
            if (name, active_extras) in seen:
                continue
            seen.add((name, active_extras))
            entry = self._usable(name)
            if entry is None:
                return False
            for line in entry["requires"]:
                parsed = self._parse(line)
                if parsed is not None and self._applies(parsed.marker, active_extras):
                    todo.append((normalize_name(parsed.name), frozenset(parsed.extras)))
        return True

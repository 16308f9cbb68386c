# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install packages with uv, only when something is missing, and never past a protected version."""

from __future__ import annotations

import os
import re
import sys
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

from ..process import Completed, run
from .inspect import PythonEnvError, difference, inspect, versions

try:
    from packaging.markers import default_environment
    from packaging.requirements import InvalidRequirement, Requirement

    HAS_PACKAGING = True
except ImportError:
    HAS_PACKAGING = False


class Wish(NamedTuple):
    """What shall be installed, and how: the arguments of one ``uv pip install``. Lists may be empty, strings too."""

    packages: List[str]
    requirements: List[str]
    constraints: List[str]
    overrides: List[str]
    index_url: str
    extra_index_urls: List[str]
    find_links: List[str]
    no_deps: bool
    no_build_isolation: bool


def normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement_lines(path: str) -> Iterator[str]:
    """Requirement strings of a requirements file; comments, options and blank lines are left out. ``-r`` is followed."""
    try:
        with open(path, encoding="utf-8") as handle:
            lines = handle.read().replace("\\\n", " ").splitlines()
    except OSError as exc:
        raise PythonEnvError("The requirements file %s cannot be read: %s." % (path, exc.strerror)) from exc
    for line in lines:
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        nested = re.match(r"^(?:-r|--requirement)[ =]\s*(\S+)$", line)
        if nested:
            yield from requirement_lines(os.path.join(os.path.dirname(path), nested.group(1)))
        elif line and not line.startswith("-"):
            yield line


def met(requirement: str, state: Dict[str, Any], depends: bool = True) -> bool:
    """Whether ``requirement`` holds in ``state`` (see inspect); with ``depends`` its own requirements too, transitively.

    Anything that cannot be judged for certain (a bare URL or path, no ``packaging`` here) counts as not met: uv decides.
    """
    if not HAS_PACKAGING:
        return False
    environment = dict(default_environment())
    environment.update(
        python_version=".".join(state["python"].split(".")[:2]), python_full_version=state["python"], extra=""
    )
    seen = set()
    todo = [(requirement, True)]
    while todo:
        text, direct = todo.pop()
        try:
            wanted = Requirement(text)
        except InvalidRequirement:
            return False
        if wanted.marker and not any(
            wanted.marker.evaluate({**environment, "extra": extra}) for extra in (wanted.extras or {""})
        ):
            continue
        name = normalise(wanted.name)
        have = state["distributions"].get(name)
        if have is None:
            return False
        if wanted.url:
            if have["url"] != wanted.url.split("#")[0]:
                return False
        elif not wanted.specifier.contains(have["version"], prereleases=True):
            return False
        if depends and name not in seen:
            seen.add(name)
            extras = wanted.extras or {""}
            for dependency in have["requires"]:
                try:
                    parsed = Requirement(dependency)
                except InvalidRequirement:
                    continue
                if parsed.marker is None or any(
                    parsed.marker.evaluate({**environment, "extra": extra}) for extra in extras
                ):
                    parsed.marker = None
                    # what is installed may bend a dependency's own bounds (overrides, --no-deps): being there is enough
                    parsed.specifier = type(parsed.specifier)("") if not direct else parsed.specifier
                    todo.append((str(parsed), False))
    return True


def find_uv(wanted: Optional[str]) -> str:
    """Path of uv: the wanted one, the one beside our own interpreter, or the one on PATH."""
    beside = os.path.join(os.path.dirname(sys.executable), "uv")
    candidates = (
        [wanted]
        if wanted
        else [beside] + [os.path.join(d, "uv") for d in os.environ.get("PATH", "").split(os.pathsep) if d]
    )
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            return candidate
    raise PythonEnvError(
        "uv was found neither at %s nor on PATH. Run the role base first, which puts it into the toolbox."
        % candidates[0]
    )


class Installer:
    """Packages of one interpreter's environment."""

    def __init__(self, python: str, uv: Optional[str] = None, cache_dir: Optional[str] = None) -> None:
        self.python = python
        self.uv = find_uv(uv)
        self.environment = {"UV_CACHE_DIR": cache_dir} if cache_dir else {}
        # a private CA is only seen through the platform's store
        if os.environ.get("SSL_CERT_FILE"):
            self.environment["UV_SYSTEM_CERTS"] = "1"
        self.before = inspect(python)

    def unmet(self, wish: Wish) -> List[str]:
        """Requirements of ``wish`` that are not (certainly) met."""
        wanted = list(wish.packages)
        for path in wish.requirements:
            wanted.extend(requirement_lines(path))
        return [r for r in wanted if not met(r, self.before, not wish.no_deps)]

    def _uv(self, wish: Wish, *more: str) -> Completed:
        argv = [self.uv, "pip", "install", "--python", self.python, "--no-progress", "--color", "never"]
        for option, values in (
            ("--requirement", wish.requirements),
            ("--constraint", wish.constraints),
            ("--override", wish.overrides),
            ("--index", wish.extra_index_urls),
            ("--find-links", wish.find_links),
        ):
            for value in values:
                argv += [option, value]
        if wish.index_url:
            argv += ["--default-index", wish.index_url]
        if wish.no_deps:
            argv.append("--no-deps")
        if wish.no_build_isolation:
            argv.append("--no-build-isolation")
        return run(argv + list(more) + wish.packages, env=self.environment)

    def plan(self, wish: Wish) -> List[Dict[str, Any]]:
        """What uv would change, by a dry run: ``[{name, before, after}]``."""
        done = self._uv(wish, "--dry-run")
        if done.rc != 0:
            raise PythonEnvError("uv finds no way to install what is wanted: %s" % done.tail())
        now, after = versions(self.before), versions(self.before)
        for sign, name, version in re.findall(r"(?m)^ ([-+~]) ([^=\s]+)(?:==(\S+)| @ \S+.*)?$", done.err):
            if sign == "-":
                after.pop(normalise(name), None)
        for sign, name, version in re.findall(r"(?m)^ ([-+~]) ([^=\s]+)(?:==(\S+)| @ \S+.*)?$", done.err):
            if sign != "-":
                after[normalise(name)] = version or "(from URL)"
        return difference(now, after)

    def install(self, wish: Wish, protect: List[str]) -> List[Dict[str, Any]]:
        """Install, and return what changed. A protected distribution that changed is put back, and that is an error."""
        now = versions(self.before)
        done = self._uv(wish)
        after = versions(inspect(self.python))
        broken = [c for c in difference(now, after) if c["name"] in map(normalise, protect) and c["before"]]
        if broken:
            old = ["%s==%s" % (c["name"], c["before"]) for c in broken]
            back = self._uv(
                wish._replace(packages=old, requirements=[], constraints=[], overrides=[], no_deps=True), "--reinstall"
            )
            raise PythonEnvError(
                "Installing %s changed %s, which is protected. %s"
                % (
                    ", ".join(wish.packages + wish.requirements),
                    ", ".join("%s from %s to %s" % (c["name"], c["before"], c["after"]) for c in broken),
                    "It was put back; pin the requirement that asks for another version, or leave it out."
                    if back.rc == 0
                    else "Putting it back failed as well: %s" % back.tail(),
                )
            )
        if done.rc != 0:
            raise PythonEnvError(
                "uv could not install %s: %s" % (", ".join(wish.packages + wish.requirements), done.tail())
            )
        return difference(now, after)

# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install packages with uv, only when something is missing, and never past a protected version."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any, NamedTuple

from ..files import parse_json
from ..git.command import redact, secrets_in
from ..process import Completed, run
from .inspect import PythonEnvError, difference, inspect, labels, normalise
from .requirements import HAS_PACKAGING, Judge, read_file


class Wish(NamedTuple):
    """What shall be installed, and how: the arguments of one ``uv pip install``. Lists may be empty, strings too."""

    packages: list[str]
    requirements: list[str]
    constraints: list[str]
    overrides: list[str]
    index_url: str
    extra_index_urls: list[str]
    index_strategy: str | None
    find_links: list[str]
    no_deps: bool
    no_build_isolation: bool
    reinstall: bool
    upgrade: bool
    link_mode: str | None

    def names(self) -> str:
        """For messages."""
        return redact(", ".join(self.packages + self.requirements))


def find_uv(wanted: str | None) -> str:
    """Path of uv: the wanted one, the one beside our own interpreter, or the one on PATH. Raises PythonEnvError."""
    beside = os.path.join(os.path.dirname(sys.executable), "uv")
    path = [os.path.join(d, "uv") for d in os.environ.get("PATH", "").split(os.pathsep) if d]
    candidates = [wanted] if wanted else [beside, *path]
    for candidate in candidates:
        if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):
            return candidate
    raise PythonEnvError(
        f"uv was found neither at {candidates[0]} nor on PATH. Run the role base first, which puts it into the toolbox."
        if not wanted
        else f"uv is not at {wanted}. Correct the path, or leave it out."
    )


class Installer:
    """Packages of one interpreter's environment."""

    def __init__(self, python: str, uv: str | None = None, cache_dir: str | None = None) -> None:
        self.python = python
        self.uv_wanted = uv
        self.environment = {"UV_CACHE_DIR": cache_dir} if cache_dir else {}
        self.environment["UV_PYTHON_DOWNLOADS"] = "never"
        # uv reads SSL_CERT_FILE by itself; its older versions trust a private CA only by this
        if os.environ.get("SSL_CERT_FILE"):
            self.environment["UV_SYSTEM_CERTS"] = "1"
        self.before = inspect(python)

    def unmet(self, wish: Wish) -> list[str]:
        """Requirements of ``wish`` that are not (certainly) met; all of them when it asks for more than that."""
        wanted, constraints = list(wish.packages), list(wish.constraints)
        for path in wish.requirements:
            lines = read_file(path)
            wanted.extend(lines.requirements)
            constraints.extend(lines.constraints)
        if wish.upgrade or wish.reinstall:
            return wanted
        if not HAS_PACKAGING:
            # without the library uv judges, from what is on the disk only
            done = self._uv(wish, *self._again([]), "--dry-run", "--offline", "--output-format", "json")
            return [] if done.rc == 0 and _changes(done.out) == [] else wanted
        judge = Judge(self.before, constraints, wish.overrides)
        return [r for r in wanted if not judge.met(r, not wish.no_deps)]

    def _uv(self, wish: Wish, *more: str) -> Completed:
        argv = [find_uv(self.uv_wanted), "pip", "install", "--python", self.python, "--no-progress", "--color", "never"]
        for option, values in (
            ("--requirement", wish.requirements),
            ("--constraint", wish.constraints),
            ("--override", wish.overrides),
        ):
            for value in values:
                argv += [option, value]
        if wish.index_strategy:
            argv += ["--index-strategy", wish.index_strategy]
        if wish.link_mode:
            argv += ["--link-mode", wish.link_mode]
        for option, on in (
            ("--no-deps", wish.no_deps),
            ("--no-build-isolation", wish.no_build_isolation),
            ("--reinstall", wish.reinstall),
            ("--upgrade", wish.upgrade),
        ):
            if on:
                argv.append(option)
        # whoever is on this host can read arguments, but not the environment or a private file: URLs may hold a login
        environment = dict(self.environment)
        for variable, value in (
            ("UV_INDEX", " ".join(wish.extra_index_urls)),
            ("UV_FIND_LINKS", ",".join(wish.find_links)),
            ("UV_DEFAULT_INDEX", wish.index_url),
        ):
            if value:
                environment[variable] = value
        secret = [package for package in wish.packages if secrets_in(package)]
        if not secret:
            return run([*argv, *more, "--", *wish.packages], env=environment)
        with tempfile.NamedTemporaryFile("w", prefix="sdops-packages-", suffix=".txt", encoding="utf-8") as handle:
            handle.write("\n".join(secret) + "\n")
            handle.flush()
            open_ones = [package for package in wish.packages if package not in secret]
            return run([*argv, "--requirement", handle.name, *more, "--", *open_ones], env=environment)

    def _held(self, wish: Wish, protect: list[str]) -> list[str]:
        """Constraints that hold the protected distributions where they are, so that uv plans around them."""
        if wish.upgrade or wish.reinstall:
            return []  # uv would have to find that very version in an index; what is done is compared afterwards
        found = self.before["distributions"]
        names = [normalise(name) for name in protect]
        # one that was installed from a URL cannot be held by its version: uv would look for it in the index
        return ["{}=={}".format(n, found[n]["version"]) for n in names if n in found and not found[n]["direct_url"]]

    def _again(self, protect: list[str]) -> list[str]:
        """Options for what a cut has left, which uv takes for installed.

        A protected one is left to the task that brings it, with the index that has it.
        """
        kept = [normalise(name) for name in protect]
        half = [n for n, entry in self.before["distributions"].items() if not entry["complete"] and n not in kept]
        return [word for name in half for word in ("--reinstall-package", name)]

    def _uv_held(self, wish: Wish, protect: list[str], *more: str) -> Completed:
        held, more = self._held(wish, protect), (*more, *self._again(protect))
        if not held:
            return self._uv(wish, *more)
        with tempfile.NamedTemporaryFile("w", prefix="sdops-protected-", suffix=".txt", encoding="utf-8") as handle:
            handle.write("\n".join(held) + "\n")
            handle.flush()
            return self._uv(wish._replace(constraints=[*wish.constraints, handle.name]), *more)

    def plan(self, wish: Wish, protect: list[str]) -> list[dict[str, Any]]:
        """What uv would change, by a dry run: ``[{name, before, after}]``. Raises PythonEnvError when it finds no way."""
        done = self._uv_held(wish, protect, "--dry-run", "--output-format", "json")
        changes = _changes(done.out)
        if done.rc != 0 or changes is None:
            raise PythonEnvError(self._failure(wish, protect, done))
        now = labels(self.before)
        after = dict(now)
        for change in changes:
            if change.get("action") == "uninstalled":
                after.pop(normalise(change["name"]), None)
        for change in changes:
            if change.get("action") == "installed":
                # the version of what has to be built is only known then
                after[normalise(change["name"])] = change.get("version") or "(to be built)"
        found = difference(now, after)
        self._refuse(wish, [c for c in found if self._is_protected(c, protect)], "would change")
        return found

    def install(self, wish: Wish, protect: list[str]) -> list[dict[str, Any]]:
        """Install, and return what changed. A protected distribution that changed is put back, and that is an error."""
        now = labels(self.before)
        done = self._uv_held(wish, protect)
        found = difference(now, labels(inspect(self.python)))
        broken = [c for c in found if self._is_protected(c, protect)]
        if broken:
            self._refuse(wish, broken, "changed", self._put_back(wish, broken))
        if done.rc != 0:
            raise PythonEnvError(self._failure(wish, protect, done))
        return found

    def _put_back(self, wish: Wish, broken: list[dict[str, Any]]) -> str:
        """Reinstall protected distributions as they were; what that came to, as a sentence."""
        old = []
        for change in broken:
            entry = self.before["distributions"][change["name"]]
            url = (entry["direct_url"] or {}).get("url")
            old.append(
                "{} @ {}".format(change["name"], url) if url else "{}=={}".format(change["name"], entry["version"])
            )
        only = wish._replace(
            packages=old, requirements=[], constraints=[], overrides=[], no_deps=True, upgrade=False, reinstall=True
        )
        back = self._uv(only)
        if back.rc != 0:
            return f"Putting it back failed as well: {redact(back.tail())}"
        return "It was put back."

    @staticmethod
    def _is_protected(change: dict[str, Any], protect: list[str]) -> bool:
        return bool(change["before"]) and change["name"] in [normalise(name) for name in protect]

    @staticmethod
    def _refuse(wish: Wish, broken: list[dict[str, Any]], verb: str, then: str = "") -> None:
        if broken:
            what = ", ".join("{} from {} to {}".format(c["name"], c["before"], c["after"] or "nothing") for c in broken)
            raise PythonEnvError(
                f"Installing {wish.names()} {verb} {what}, which is protected. {then} Pin the requirement that asks for another version, or leave it out."
            )

    def _failure(self, wish: Wish, protect: list[str], done: Completed) -> str:
        held = [h for h in self._held(wish, protect) if h.split("==")[0] in done.err]
        also = (
            " It must not change {}, which {} protected: pin the requirement that asks for another version, or leave it out.".format(
                ", ".join(held), "is" if len(held) == 1 else "are"
            )
            if held and "satisfi" in done.err
            else " Check the index, the constraints and the connection (proxy, mirror)."
        )
        return "uv cannot install {}.{} uv says: {}".format(
            wish.names(),
            also,
            redact(Completed(done.rc, "", done.err).tail(25)),
        )


def _changes(text: str) -> list[dict[str, Any]] | None:
    """The changes in the JSON of a dry run, None when that is no JSON of this kind."""
    try:
        found = parse_json(text)["changes"]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, list) else None

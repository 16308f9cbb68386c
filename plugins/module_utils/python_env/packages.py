# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install packages with uv, only when something is missing, and never past a protected version."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any, NamedTuple

from ..errors import PythonEnvError, UvMissingError
from ..filesystem import parse_json
from ..process import Completed, run
from ..urls import redact_logins, url_login_secrets
from .cache_lock import package_cache_lock
from .environment import compare_versions, inspect_environment, version_labels
from .names import normalize_name
from .requirements import HAS_PACKAGING, RequirementChecker, read_requirements


class PipRequest(NamedTuple):
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
    no_build_isolation_packages: list[str]
    reinstall: bool
    upgrade: bool
    link_mode: str | None

    def names(self) -> str:
        """For messages."""
        return redact_logins(", ".join(self.packages + self.requirements))


def find_uv(requested: str | None) -> str:
    """Path of uv: the wanted one, the one beside our own interpreter, or the one on PATH. Raises PythonEnvError, UvMissingError."""
    own_uv = os.path.join(os.path.dirname(sys.executable), "uv")
    path = [os.path.join(d, "uv") for d in os.environ.get("PATH", "").split(os.pathsep) if d]
    candidates = [requested] if requested else [own_uv, *path]
    for candidate in candidates:
        if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):
            return candidate
    if requested:
        raise PythonEnvError(f"uv is not at {requested}. Correct the path, or leave it out.")
    raise UvMissingError(
        f"uv was found neither at {candidates[0]} nor on PATH. Run the role base first, which puts it into the toolbox."
    )


class UvInstaller:
    """Packages of one interpreter's environment."""

    def __init__(self, python: str, uv: str | None = None, cache_dir: str | None = None) -> None:
        self.python = python
        self.uv_path = uv
        self.environment = {"UV_CACHE_DIR": cache_dir} if cache_dir else {}
        self.environment["UV_PYTHON_DOWNLOADS"] = "never"
        # uv reads SSL_CERT_FILE by itself; its older versions trust a private CA only by this
        if os.environ.get("SSL_CERT_FILE"):
            self.environment["UV_SYSTEM_CERTS"] = "1"
        self.before = inspect_environment(python)

    def unmet(self, request: PipRequest) -> list[str]:
        """Requirements of ``request`` that are not (certainly) met; all of them when it asks for more than that."""
        requested, constraints = list(request.packages), list(request.constraints)
        for path in request.requirements:
            lines = read_requirements(path)
            requested.extend(lines.requirements)
            constraints.extend(lines.constraints)
        if request.upgrade or request.reinstall:
            return requested
        if not HAS_PACKAGING:
            # without the library uv decides, from what is on the disk only
            try:
                done = self._run_uv(
                    request, *self._reinstall_options([]), "--dry-run", "--offline", "--output-format", "json"
                )
            except UvMissingError:  # a plan for a host without the toolbox, such as after uninstall
                return requested
            return [] if done.rc == 0 and _changes(done.out) == [] else requested
        checker = RequirementChecker(self.before, constraints, request.overrides)
        return [r for r in requested if not checker.is_met(r, not request.no_deps)]

    def _run_uv(self, request: PipRequest, *more: str) -> Completed:
        argv = [find_uv(self.uv_path), "pip", "install", "--python", self.python, "--no-progress", "--color", "never"]
        for option, values in (
            ("--requirement", request.requirements),
            ("--constraint", request.constraints),
            ("--override", request.overrides),
            ("--no-build-isolation-package", request.no_build_isolation_packages),
        ):
            for value in values:
                argv += [option, value]
        if request.index_strategy:
            argv += ["--index-strategy", request.index_strategy]
        if request.link_mode:
            argv += ["--link-mode", request.link_mode]
        for option, is_set in (
            ("--no-deps", request.no_deps),
            ("--no-build-isolation", request.no_build_isolation),
            ("--reinstall", request.reinstall),
            ("--upgrade", request.upgrade),
        ):
            if is_set:
                argv.append(option)
        # whoever is on this host can read arguments, but not the environment or a private file: URLs may hold a login
        environment = dict(self.environment)
        for variable, value in (
            ("UV_INDEX", " ".join(request.extra_index_urls)),
            ("UV_FIND_LINKS", ",".join(request.find_links)),
            ("UV_DEFAULT_INDEX", request.index_url),
        ):
            if value:
                environment[variable] = value
        secret = [package for package in request.packages if url_login_secrets(package)]
        if not secret:
            return run([*argv, *more, "--", *request.packages], env=environment)
        with tempfile.NamedTemporaryFile("w", prefix="sdops-packages-", suffix=".txt", encoding="utf-8") as handle:
            handle.write("\n".join(secret) + "\n")
            handle.flush()
            open_ones = [package for package in request.packages if package not in secret]
            return run([*argv, "--requirement", handle.name, *more, "--", *open_ones], env=environment)

    def _pins(self, request: PipRequest, protect: list[str]) -> list[str]:
        """Constraints that hold the protected distributions where they are, so that uv plans around them."""
        if request.upgrade or request.reinstall:
            return []  # uv would have to find that very version in an index; what is done is compared afterwards
        found = self.before["distributions"]
        names = [normalize_name(name) for name in protect]
        # one that was installed from a URL cannot be held by its version: uv would look for it in the index
        return ["{}=={}".format(n, found[n]["version"]) for n in names if n in found and not found[n]["direct_url"]]

    def _reinstall_options(self, protect: list[str]) -> list[str]:
        """Options for what an interruption has left, which uv takes for installed.

        A protected one is left to the task that installs it, with the index that has it.
        """
        protected = [normalize_name(name) for name in protect]
        incomplete = [
            n for n, entry in self.before["distributions"].items() if not entry["complete"] and n not in protected
        ]
        return [word for name in incomplete for word in ("--reinstall-package", name)]

    def _run_uv_pinned(self, request: PipRequest, protect: list[str], *more: str) -> Completed:
        pinned, more = self._pins(request, protect), (*more, *self._reinstall_options(protect))
        if not pinned:
            return self._run_uv(request, *more)
        with tempfile.NamedTemporaryFile("w", prefix="sdops-protected-", suffix=".txt", encoding="utf-8") as handle:
            handle.write("\n".join(pinned) + "\n")
            handle.flush()
            return self._run_uv(request._replace(constraints=[*request.constraints, handle.name]), *more)

    def plan(self, request: PipRequest, protect: list[str]) -> list[dict[str, Any]]:
        """What uv would change, by a dry run: ``[{name, before, after}]``. Raises PythonEnvError when it finds no solution."""
        done = self._run_uv_pinned(request, protect, "--dry-run", "--output-format", "json")
        changes = _changes(done.out)
        if done.rc != 0 or changes is None:
            raise PythonEnvError(self._failure(request, protect, done))
        before = version_labels(self.before)
        after = dict(before)
        for change in changes:
            if change.get("action") == "uninstalled":
                after.pop(normalize_name(change["name"]), None)
        for change in changes:
            if change.get("action") == "installed":
                # the version of what has to be built is only known then
                after[normalize_name(change["name"])] = change.get("version") or "(to be built)"
        found = compare_versions(before, after)
        self._reject_changes(request, [c for c in found if self._is_protected(c, protect)], "would change")
        return found

    def install(self, request: PipRequest, protect: list[str]) -> list[dict[str, Any]]:
        """Install, and return what changed. A protected distribution that changed is restored, and that is an error."""
        before = version_labels(self.before)
        # hosts that share a cache: one downloads and builds, the others wait and find it there
        with package_cache_lock("UV_CACHE_DIR", self.environment):
            done = self._run_uv_pinned(request, protect)
        found = compare_versions(before, version_labels(inspect_environment(self.python)))
        broken = [c for c in found if self._is_protected(c, protect)]
        if broken:
            self._reject_changes(request, broken, "changed", self._restore(request, broken))
        if done.rc != 0:
            raise PythonEnvError(self._failure(request, protect, done))
        return found

    def _restore(self, request: PipRequest, broken: list[dict[str, Any]]) -> str:
        """Reinstall protected distributions as they were; what that came to, as a sentence."""
        old = []
        for change in broken:
            entry = self.before["distributions"][change["name"]]
            url = (entry["direct_url"] or {}).get("url")
            old.append(
                "{} @ {}".format(change["name"], url) if url else "{}=={}".format(change["name"], entry["version"])
            )
        only = request._replace(
            packages=old, requirements=[], constraints=[], overrides=[], no_deps=True, upgrade=False, reinstall=True
        )
        restored = self._run_uv(only)
        if restored.rc != 0:
            return f"Restoring it failed as well: {redact_logins(restored.tail())}"
        return "It was restored."

    @staticmethod
    def _is_protected(change: dict[str, Any], protect: list[str]) -> bool:
        return bool(change["before"]) and change["name"] in [normalize_name(name) for name in protect]

    @staticmethod
    def _reject_changes(request: PipRequest, broken: list[dict[str, Any]], verb: str, then: str = "") -> None:
        if broken:
            what = ", ".join("{} from {} to {}".format(c["name"], c["before"], c["after"] or "nothing") for c in broken)
            raise PythonEnvError(
                f"Installing {request.names()} {verb} {what}, which is protected. {then} Pin the requirement that asks for another version, or leave it out."
            )

    def _failure(self, request: PipRequest, protect: list[str], done: Completed) -> str:
        pinned = [h for h in self._pins(request, protect) if h.split("==")[0] in done.err]
        also = (
            " It must not change {}, which {} protected: pin the requirement that asks for another version, or leave it out.".format(
                ", ".join(pinned), "is" if len(pinned) == 1 else "are"
            )
            if pinned and "satisfi" in done.err
            else " Check the index, the constraints and the connection (proxy, mirror)."
        )
        return "uv cannot install {}.{} uv says: {}".format(
            request.names(),
            also,
            redact_logins(Completed(done.rc, "", done.err).tail(25)),
        )


def _changes(text: str) -> list[dict[str, Any]] | None:
    """The changes in the JSON of a dry run, None when that is no JSON of this kind."""
    try:
        found = parse_json(text)["changes"]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, list) else None

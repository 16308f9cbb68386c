# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring the WebUI's extensions without letting one of them break the WebUI."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from typing import Any, NamedTuple

from ..errors import ExtensionError, RoopError, SdopsError, SnapshotError
from ..filesystem import load_json, read_regular, write_atomic
from ..git.checkout import Checkout
from ..git.command import Git
from ..git.commit_cache import CommitCache
from ..git.move import CheckoutMover
from ..git.pin import Pin, partial_path
from ..process import run
from ..python_env.environment import compare_versions, inspect_environment, version_labels
from ..python_env.names import normalize_name
from ..python_env.packages import PipRequest, UvInstaller
from ..python_env.requirements import read_requirements
from ..roop.patch import BACKUP_SUFFIX, MAX_THRESHOLD, SafetyCheckPatch
from ..snapshot import Snapshot
from ..urls import redact_logins
from .wheel_builder import built

EMPTY_REQUEST = PipRequest([], [], [], [], "", [], None, [], False, False, [], False, False, None)
# what the WebUI stands on, besides its own requirements
PROTECTED_PACKAGES = ("torch", "torchvision", "torchaudio", "xformers", "numpy", "protobuf")


class InstallOptions(NamedTuple):
    """What holds for all extensions. Paths on the target; ``environment`` for install.py; ``timeout`` of it in seconds."""

    python: str
    webui_dir: str
    data_dir: str
    constraints: list[str]
    requirements: str  # the WebUI's own, whose packages stay as they are
    environment: dict[str, str]
    timeout: float
    check: bool
    wheels: list[str] = []  # directories for wheels that were built here
    commit_cache: str | None = None  # directory of a git.commit_cache.CommitCache
    wheels_state_file: str | None = None  # hashes of those that were used (see wheel_cache.Cache)


class Result:
    """What became of one extension: ``status`` is ok, changed or failed."""

    def __init__(self, name: str, state: str) -> None:
        self.name, self.state, self.status, self.reason = name, state, "ok", ""
        self.actions: list[str] = []
        self.commit: str | None = None

    def act(self, what: str) -> None:
        self.actions.append(what)
        self.status = "changed"

    def as_dict(self) -> dict[str, Any]:
        found = {"name": self.name, "state": self.state, "status": self.status, "commit": self.commit}
        return {**found, "reason": self.reason} if self.reason else found


class ExtensionInstaller:
    """The directory extensions/ of a WebUI and the environment that its extensions share."""

    def __init__(self, options: InstallOptions, git: Git) -> None:
        self.options = options
        self.git = git
        self.prefix = os.path.dirname(os.path.dirname(options.python))
        self.directory = os.path.join(options.data_dir, "extensions")
        self.snapshot = Snapshot(self.prefix + ".extension")
        # in the environment itself: recreated, it has nothing installed
        self.record = os.path.join(self.prefix, ".sdops-extensions.json")

    # --- all of them ---------------------------------------------------------------------------------------------------
    def finish_interrupted_run(self) -> list[str]:
        """Restore the environment as it was before an interrupted installation."""
        if self.snapshot.manifest() is None:
            return []
        if not self.options.check:
            self.snapshot.restore()
        return ["restored the environment, in which an installation was interrupted"]

    def finish(self) -> None:
        """Remove what was kept while extensions were installed."""
        if not self.options.check:
            self.snapshot.delete()

    def find_unmanaged(self, managed: list[str]) -> list[str]:
        """Directories of extensions that are not in the list: the user's own."""
        try:
            found = [e.name for e in os.scandir(self.directory) if e.is_dir() and not e.name.startswith(".")]
        except FileNotFoundError:
            return []
        return sorted(set(found) - set(managed))

    def apply(self, spec: dict[str, Any]) -> Result:
        """Bring one extension to its state. A failure is in the result, and everything else is as it was before."""
        result = Result(spec["name"], spec["state"])
        try:
            if spec["state"] == "absent":
                self._remove(spec, result)
            else:
                self._check_out(spec, result)
                if spec["state"] == "present":
                    self._install(spec, result)
        except (SdopsError, OSError) as exc:
            result.status, result.reason = "failed", str(exc)
        return result

    # --- its files -----------------------------------------------------------------------------------------------------
    def _path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def _checkout(self, spec: dict[str, Any]) -> Checkout:
        path = os.path.realpath(self._path(spec["name"]))
        cache = CommitCache(self.options.commit_cache, self.git) if self.options.commit_cache else None
        return Checkout(Pin(spec["name"], spec["repo"], path, spec["commit"]), self.git, cache=cache)

    def _check_out(self, spec: dict[str, Any], result: Result) -> None:
        checkout = self._checkout(spec)
        if not self.git.program:
            if not self.options.check:
                raise ExtensionError("git is not installed on this host. Run the role base.")
            result.act("clone {} into {}".format(redact_logins(spec["repo"]), self._path(spec["name"])))
            return
        self._set_patch_aside(spec, checkout)
        outcome = CheckoutMover(checkout).apply(self.options.check)
        for action in outcome.actions:
            result.act(action)
        result.commit = outcome.after

    def _set_patch_aside(self, spec: dict[str, Any], checkout: Checkout) -> None:
        """Our own change to roop's check is no local change that a move could lose. roop_nsfw_patch makes it again."""
        patch = SafetyCheckPatch(self._path(spec["name"]))
        try:
            managed = patch.inspect().status in ("hardened", "bypassed")
        except RoopError:
            return
        if managed and (spec["state"] == "absent" or checkout.head() != spec["commit"]):
            checkout.ignored_changes = (os.path.join("scripts", "cimage.py"),)
            if not self.options.check and spec["state"] != "absent":
                patch.write(patch.target_content("upstream", MAX_THRESHOLD))

    def _remove(self, spec: dict[str, Any], result: Result) -> None:
        path = self._path(spec["name"])
        if not os.path.lexists(path):
            return
        if os.path.islink(path) or not os.path.isdir(os.path.join(path, ".git")):
            raise ExtensionError(
                "{}: {} is no checkout, so it is not ours to remove. Remove it by hand.".format(spec["name"], path)
            )
        if not self.git.program:
            raise ExtensionError("git is not installed on this host. Run the role base.")
        checkout = self._checkout(spec)
        self._set_patch_aside(spec, checkout)
        self._reject_local_work(spec["name"], path, checkout)
        result.act(f"remove {path}")
        if not self.options.check:
            trash = partial_path(path) + ".removed"
            shutil.rmtree(trash, ignore_errors=True)
            os.rename(path, trash)  # the WebUI never sees half of one
            shutil.rmtree(trash)

    def _reject_local_work(self, name: str, path: str, checkout: Checkout) -> None:
        """Raise ExtensionError when removing would lose something that is not at the pin."""
        head = checkout.head() or ""
        if not checkout.is_managed():
            raise ExtensionError(
                f"{name}: {path} was cloned by somebody else, so it is not ours to remove. Remove it by hand."
            )
        work = [what for what in checkout.local_changes() + checkout.untracked() if not _made_by_running(what)]
        if checkout.has_unpublished_commits(head):
            work.append("commits of somebody's own")
        if work:
            names = ", ".join(work[:5]) + (f" and {len(work) - 5} more" if len(work) > 5 else "")
            raise ExtensionError(
                f"{name}: {path} holds {names}, which the repository does not give again; nothing was removed. Move that to another place, "
                "or remove the directory by hand."
            )

    # --- its packages --------------------------------------------------------------------------------------------------
    def _install(self, spec: dict[str, Any], result: Result) -> None:
        if not os.path.exists(self.options.python):
            if not self.options.check:
                raise ExtensionError(
                    "{}: there is no Python at {}. Run the role conda_env.".format(spec["name"], self.options.python)
                )
            result.act("install what {} needs".format(spec["name"]))
            return
        request = self._pip_request(spec)
        installer = UvInstaller(self.options.python)
        script, mark = self._script(spec)
        unmet = installer.unmet(request) if request.packages or request.requirements else []
        if not unmet and not script:
            return
        if self.options.check:
            for requirement in unmet:
                result.act(f"install {redact_logins(requirement)}")
            if script:
                result.act(f"run {script}")
            return
        links = [
            built(r, self.options.python, self.options.wheels, self.options.environment, self.options.wheels_state_file)
            for r in spec["build"]
            if r in unmet
        ]
        request = request._replace(find_links=[link for link in links if link])
        before = version_labels(installer.before)
        self.snapshot.create([self.prefix], [])
        try:
            with _Constraints(request, self._pins(spec, installer)) as constrained:
                if unmet:
                    installer.install(constrained, self._guarded())
                if script:
                    self._run(spec, script, constrained)
            changes = compare_versions(before, version_labels(inspect_environment(self.options.python)))
            self._check_changes(spec, changes)
        except BaseException as exc:
            try:
                self.snapshot.restore()
            except SnapshotError as more:
                raise ExtensionError(f"{exc} {more}") from exc
            raise
        if script:
            self._record_script(spec["name"], mark)
        self.snapshot.mark_obsolete()
        for change in changes:
            result.act(
                "install {name} {after}".format(**change)
                if change["after"]
                else "remove {name} {before}".format(**change)
            )
        if script:
            result.act(f"run {script}")

    def _pip_request(self, spec: dict[str, Any]) -> PipRequest:
        path = os.path.join(self._path(spec["name"]), "requirements.txt")
        files = [path] if spec["requirements"] and os.path.isfile(path) else []
        return EMPTY_REQUEST._replace(
            packages=list(spec["packages"]), requirements=files, constraints=list(self.options.constraints)
        )

    def _guarded(self) -> list[str]:
        """What no extension may change."""
        listed = self.options.requirements
        listed_requirements = read_requirements(listed).requirements if os.path.isfile(listed) else []
        names = [normalize_name(_name_of(line)) for line in listed_requirements]
        return sorted({*PROTECTED_PACKAGES, *(name for name in names if name)})

    def _pins(self, spec: dict[str, Any], installer: UvInstaller) -> tuple[list[str], list[str]]:
        """(constraints, overrides): what is guarded stays; for what is kept, requirements do not count."""
        found = installer.before["distributions"]
        stays = {
            n: "{}=={}".format(n, found[n]["version"])
            for n in self._guarded()
            if n in found and not found[n]["direct_url"]
        }
        kept = [stays[n] for n in map(normalize_name, spec["keep"]) if n in stays]
        return list(stays.values()), kept

    def _check_changes(self, spec: dict[str, Any], changes: list[dict[str, Any]]) -> None:
        guarded = self._guarded()
        broken = [c for c in changes if c["name"] in guarded and c["before"]]
        if broken:
            raise ExtensionError(
                "{} changed {}, which the WebUI stands on. The environment was restored as it was.".format(
                    spec["name"],
                    ", ".join(
                        "{} from {} to {}".format(c["name"], c["before"], c["after"] or "nothing") for c in broken
                    ),
                )
            )

    # --- its install.py ------------------------------------------------------------------------------------------------
    def _script(self, spec: dict[str, Any]) -> tuple[str, str]:
        """(path, mark) of an install.py that has not run in this environment in this form; else ("", "")."""
        path = os.path.join(self._path(spec["name"]), "install.py")
        if not spec["install_script"] or not os.path.isfile(path):
            return "", ""
        mark = hashlib.sha256(spec["commit"].encode() + read_regular(path, follow=True)).hexdigest()
        return ("", "") if self._recorded_scripts().get(spec["name"]) == mark else (path, mark)

    def _recorded_scripts(self) -> dict[str, str]:
        try:
            found: dict[str, str] = load_json(self.record)
            return found if isinstance(found, dict) else {}
        except (OSError, ValueError):
            return {}

    def _record_script(self, name: str, mark: str) -> None:
        recorded = {**self._recorded_scripts(), name: mark}
        write_atomic(self.record, (json.dumps(recorded, indent=1, sort_keys=True) + "\n").encode())

    def _run(self, spec: dict[str, Any], script: str, constrained: PipRequest) -> None:
        path = os.pathsep.join([os.path.dirname(self.options.python), os.environ.get("PATH", "/usr/bin:/bin")])
        environment = {
            **self.options.environment,
            "PYTHONPATH": self.options.webui_dir,  # as the WebUI itself runs it
            "PATH": path,
            "PIP_CONSTRAINT": " ".join(constrained.constraints),
            "UV_CONSTRAINT": " ".join(constrained.constraints),
        }
        done = run(
            [self.options.python, script], env=environment, cwd=self.options.webui_dir, timeout=self.options.timeout
        )
        if done.rc != 0:
            output = redact_logins(done.tail(15))
            raise ExtensionError(
                f"{spec['name']}: its install.py ended with {done.rc}. The environment was restored as it was. It says: {output}"
            )


def _made_by_running(path: str) -> bool:
    """Whether it is nobody's work: what Python compiles, and our copy of roop's check."""
    return "__pycache__" in path.split("/") or path.endswith((".pyc", BACKUP_SUFFIX))


def _name_of(line: str) -> str:
    """The distribution that a requirement line names."""
    return re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]


class _Constraints:
    """Files with our constraints and overrides, as long as an installation takes."""

    def __init__(self, request: PipRequest, pins: tuple[list[str], list[str]]) -> None:
        self.request, self.pins = request, pins
        self.directory = ""

    def __enter__(self) -> PipRequest:
        self.directory = tempfile.mkdtemp(prefix="sdops-extension-")
        paths = []
        for name, lines in zip(("constraints.txt", "overrides.txt"), self.pins):
            paths.append(os.path.join(self.directory, name))
            with open(paths[-1], "w", encoding="utf-8") as handle:
                handle.write("".join(line + "\n" for line in lines))
        overrides = [paths[1]] if self.pins[1] else []
        return self.request._replace(constraints=[*self.request.constraints, paths[0]], overrides=overrides)

    def __exit__(self, *_: Any) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One conda environment: what is there, what is requested, and how one becomes the other."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import re
import shutil
from typing import NamedTuple

from ..errors import CondaError, FileTypeError, SdopsError
from ..filesystem import load_json, locked_if_possible
from ..process import kill_leftovers, run
from .engines import RATTLER_CACHE, CondaEngine, InstallRequest

# In a prefix while it is being made or removed: whoever finds it there may start over. Nothing without it is deleted.
INCOMPLETE_MARKER = ".sdops-incomplete"
# In an environment while packages are added to it: whoever finds it there adds them again.
ADDING_MARKER = ".sdops-adding"
CREATED_MARKER = ".sdops-made"  # what uninstalling looks for: an environment of somebody else is not removed
EXACT_VERSION = re.compile(r"^\d+\.\d+\.\d+((a|b|rc)\d+)?\Z")


class EnvironmentSpec(NamedTuple):
    """A wanted environment: absolute prefix, exact Python ("3.10.6"), more specs, channels by name or URL."""

    prefix: str
    python: str
    packages: list[str]
    channels: list[str]


class EnvironmentState(NamedTuple):
    """What is at a prefix: version of a Python that runs (None: nothing to keep), wanted specs that are missing.

    ``interrupted``: a run was interrupted while it added packages, so that anything may be incomplete.
    """

    python: str | None
    missing: list[str]
    interrupted: bool = False


def validate_python_version(version: str) -> str:
    """``version`` when it is exact. Raises CondaError for "3.10", which YAML moreover reads as 3.1."""
    if not EXACT_VERSION.match(version):
        raise CondaError(
            f"python is {version!r}, but an exact version with three parts is needed, such as 3.10.6: otherwise the same "
            "environment cannot be made again next week. Quote it in YAML."
        )
    return version


def python_version(prefix: str) -> str | None:
    """Version of the Python in ``prefix``, None when there is none that runs."""
    python = os.path.join(prefix, "bin", "python")
    if not os.access(python, os.X_OK):
        return None
    try:
        done = run([python, "-I", "-c", "import platform; print(platform.python_version())"], timeout=60)
    except SdopsError:
        return None  # a script whose interpreter is gone, a file of another architecture
    return done.out.strip() if done.rc == 0 else None


def installed_packages(prefix: str) -> dict[str, str]:
    """Name to version of the conda packages in ``prefix``, from its conda-meta."""
    result = {}
    for path in sorted(glob.glob(os.path.join(glob.escape(prefix), "conda-meta", "*.json"))):
        try:
            record = load_json(path, follow=True)
            result[record["name"]] = record["version"]
        except (OSError, ValueError, KeyError, TypeError, FileTypeError):
            continue  # half a record, of a run that was killed: not installed
    return result


def spec_name(spec: str) -> str:
    """Package name of a spec such as ``conda-forge::git >=2.40`` or ``ffmpeg=6.1``."""
    match = re.match(r"^[A-Za-z0-9_.-]+", spec.rsplit("::", 1)[-1].strip())
    if not match:
        raise CondaError(
            f"{spec!r} in packages is no conda package. Write a name, with a version if need be: ffmpeg=6.1."
        )
    return match.group().lower()


def is_spec_met(spec: str, have: dict[str, str]) -> bool:
    """Whether ``spec`` is among the packages ``have``. Only the plain forms NAME, NAME=V and NAME==V look at versions."""
    name = spec_name(spec)
    if name not in have:
        return False
    exact = re.match(
        r"^(==?)\s*([0-9][0-9A-Za-z._!+]*)(\.\*|\*)?(=\S+)?\Z", spec.rsplit("::", 1)[-1].strip()[len(name) :].strip()
    )
    if not exact:
        return True
    version = exact.group(2).rstrip(".")
    if exact.group(1) == "==":
        return have[name] == version
    return have[name] == version or have[name].startswith(version + ".")


class CondaEnvironment:
    """One environment, wanted and as it is on disk."""

    def __init__(self, requested: EnvironmentSpec) -> None:
        self.requested = requested

    @property
    def marker(self) -> str:
        return os.path.join(self.requested.prefix, INCOMPLETE_MARKER)

    def _is_empty(self) -> bool:
        prefix = self.requested.prefix
        if os.path.lexists(prefix) and not os.path.isdir(prefix):
            raise CondaError(f"{prefix} is in the way: it is no directory. Move it away, or choose another prefix.")
        return not os.path.isdir(prefix) or not os.listdir(prefix)

    def is_unfinished(self) -> bool:
        """Whether a run was interrupted while it made or removed this environment."""
        return os.path.exists(self.marker)

    def inspect(self, recreate: bool = False) -> EnvironmentState:
        """What is there. Raises CondaError when something that is not what is wanted is in the way.

        With ``recreate`` an environment with another Python counts as nothing to keep.
        """
        prefix = self.requested.prefix
        if self._is_empty() or self.is_unfinished():
            return EnvironmentState(None, list(self.requested.packages))
        have, interrupted = python_version(prefix), os.path.exists(os.path.join(prefix, ADDING_MARKER))
        if have != self.requested.python and recreate and self.is_removable():
            return EnvironmentState(None, list(self.requested.packages))
        if interrupted and have in (None, self.requested.python):
            return EnvironmentState(self.requested.python, list(self.requested.packages), True)
        if have is None:
            raise CondaError(
                f"{prefix} exists but has no Python that runs, and it was not left behind by an unfinished run of this module, so "
                "it stays untouched. Move it away, choose another prefix, or, if it is a conda environment, have it recreated "
                "(recreate: true; conda_env_recreate in the role)."
            )
        if have != self.requested.python:
            raise CondaError(
                f"{prefix} exists with Python {have}, but {self.requested.python} is wanted. It is recreated only on request: either ask for Python {have}, "
                "or choose another prefix or name, or have it recreated (recreate: true; conda_env_recreate in the role)."
            )
        present = installed_packages(prefix)
        missing = [spec for spec in self.requested.packages if not is_spec_met(spec, present)]
        if missing and not os.path.isfile(os.path.join(prefix, "conda-meta", "history")):
            raise CondaError(
                "{} is no conda environment, so {} cannot be added to it. Choose another prefix, or leave packages empty.".format(
                    prefix, ", ".join(missing)
                )
            )
        return EnvironmentState(have, missing)

    def create(self, engine: CondaEngine) -> None:
        """Make the environment; what an unfinished run left is cleared first, and so is a failure of this one."""
        prefix = self.requested.prefix
        try:
            os.makedirs(prefix, exist_ok=True)
            lock = self._mark(INCOMPLETE_MARKER)
        except OSError as exc:
            raise CondaError(f"{prefix} cannot be made: {exc.strerror}.") from exc
        try:
            self._clear(keep_marker=True)
            os.makedirs(os.path.join(prefix, "conda-meta"))
            # with this (empty) file a directory is an environment to every engine, and `install` works in it; `create`
            # would remove the directory first, and our marker with it
            with open(os.path.join(prefix, "conda-meta", "history"), "w", encoding="utf-8"):
                pass
            self._install(engine, self.requested.packages)
            os.replace(self.marker, os.path.join(prefix, CREATED_MARKER))
        except SdopsError:
            self._clear()
            raise
        finally:
            os.close(lock)

    def add(self, engine: CondaEngine, missing: list[str]) -> None:
        """Install ``missing`` into the existing environment; its Python stays what it is."""
        lock = self._mark(ADDING_MARKER)
        try:
            shutil.rmtree(os.path.join(self.requested.prefix, RATTLER_CACHE), ignore_errors=True)
            self._install(engine, missing)
            os.unlink(os.path.join(self.requested.prefix, ADDING_MARKER))
        except SdopsError:
            # an engine that fails leaves the environment as it was
            if python_version(self.requested.prefix) == self.requested.python:
                os.unlink(os.path.join(self.requested.prefix, ADDING_MARKER))
            raise
        finally:
            os.close(lock)

    def _install(self, engine: CondaEngine, packages: list[str]) -> None:
        prefix = self.requested.prefix
        request = InstallRequest(prefix, self.requested.python, packages, self.requested.channels)
        cache = engine.package_cache
        # hosts that share a cache: one downloads, the others wait and find the packages there
        with locked_if_possible(os.path.join(cache, ".sdops.lock")) if cache else contextlib.nullcontext():
            error = engine.install(request)
        have, present = python_version(prefix), installed_packages(prefix)
        missing = [spec for spec in packages if not is_spec_met(spec, present)]
        if error is None and have == self.requested.python and not missing:
            return
        if error is None:
            error = (
                f"it has Python {have}." if have != self.requested.python else "it lacks {}.".format(", ".join(missing))
            )
        raise CondaError(
            "The environment {} could not be made with Python {} from {} by {}: {} Check that the channel has these "
            "packages and that this host reaches it (proxy, mirror, ca_path).".format(
                prefix, self.requested.python, ", ".join(self.requested.channels), engine.name, error.rstrip(".") + "."
            )
        )

    def is_removable(self) -> bool:
        """Whether there is an environment to remove. Raises CondaError when what is there is none, or is conda itself."""
        prefix = self.requested.prefix
        if self._is_empty():
            return False
        if self.is_unfinished():
            return True
        if os.path.isdir(os.path.join(prefix, "condabin")):
            raise CondaError(f"{prefix} is a conda installation and no single environment. It is not removed.")
        if not os.path.isfile(os.path.join(prefix, "conda-meta", "history")):
            raise CondaError(f"{prefix} is no conda environment (no conda-meta/history in it). It is not removed.")
        return True

    def remove(self) -> None:
        """Remove the environment; cut in the middle, it counts as unfinished and is never mistaken for a whole one."""
        lock = self._mark(INCOMPLETE_MARKER)
        try:
            self._clear()
        finally:
            os.close(lock)

    def _mark(self, name: str) -> int:
        """Put a marker there and lock it: of two runs at the same time one gives up. Returns the descriptor.

        What a run that was killed has left behind is ended, or it would go on writing.
        """
        handle = os.open(os.path.join(self.requested.prefix, name), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(handle)
            raise CondaError(
                f"{self.requested.prefix} is being made by another run right now. Wait for it, then run again."
            ) from exc
        kill_leftovers(self.requested.prefix)
        os.write(handle, b"sdops.webui is at work here, or was interrupted. The next run starts over.\n")
        return handle

    def _clear(self, keep_marker: bool = False) -> None:
        """Empty the prefix, the marker last of all."""
        for entry in list(os.scandir(self.requested.prefix)):
            if entry.name == INCOMPLETE_MARKER:
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
        if not keep_marker:
            os.unlink(self.marker)
            with contextlib.suppress(OSError):  # a mount point or a symbolic link: empty is enough
                os.rmdir(self.requested.prefix)

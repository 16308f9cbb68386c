# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One conda environment: what is there, what is wanted, and the way from one to the other."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import re
import shutil
from typing import NamedTuple

from ..errors import SdopsError
from ..files import FileTypeError, load_json
from ..process import end_all, run
from .engines import CACHE, CondaError, Engine, Job

# In a prefix while it is being made or removed: whoever finds it there may start over. Nothing without it is deleted.
MARKER = ".sdops-incomplete"
# In an environment while packages are added to it: whoever finds it there adds them again.
ADDING = ".sdops-adding"
MADE = ".sdops-made"  # what uninstalling looks for: an environment of somebody else is not removed
EXACT = re.compile(r"^\d+\.\d+\.\d+((a|b|rc)\d+)?\Z")


class Wanted(NamedTuple):
    """A wanted environment: absolute prefix, exact Python ("3.10.6"), more specs, channels by name or URL."""

    prefix: str
    python: str
    packages: list[str]
    channels: list[str]


class Found(NamedTuple):
    """What is at a prefix: version of a Python that runs (None: nothing to keep), wanted specs that are missing.

    ``cut``: a run of ours was cut while it added packages, so that anything may be half.
    """

    python: str | None
    missing: list[str]
    cut: bool = False


def check_python(version: str) -> str:
    """``version`` when it is exact. Raises CondaError for "3.10", which YAML moreover reads as 3.1."""
    if not EXACT.match(version):
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


def installed(prefix: str) -> dict[str, str]:
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


def spec_met(spec: str, have: dict[str, str]) -> bool:
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


class Environment:
    """One environment, wanted and as it is on disk."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted

    @property
    def marker(self) -> str:
        return os.path.join(self.wanted.prefix, MARKER)

    def _is_empty(self) -> bool:
        prefix = self.wanted.prefix
        if os.path.lexists(prefix) and not os.path.isdir(prefix):
            raise CondaError(f"{prefix} is in the way: it is no directory. Move it away, or choose another prefix.")
        return not os.path.isdir(prefix) or not os.listdir(prefix)

    def unfinished(self) -> bool:
        """Whether a run of ours was cut while it made or removed this environment."""
        return os.path.exists(self.marker)

    def look(self, recreate: bool = False) -> Found:
        """What is there. Raises CondaError when something that is not what is wanted is in the way.

        With ``recreate`` an environment with another Python counts as nothing to keep.
        """
        prefix = self.wanted.prefix
        if self._is_empty() or self.unfinished():
            return Found(None, list(self.wanted.packages))
        have, cut = python_version(prefix), os.path.exists(os.path.join(prefix, ADDING))
        if have != self.wanted.python and recreate and self.may_remove():
            return Found(None, list(self.wanted.packages))
        if cut and have in (None, self.wanted.python):
            return Found(self.wanted.python, list(self.wanted.packages), True)
        if have is None:
            raise CondaError(
                f"{prefix} exists but has no Python that runs, and it was not left behind by an unfinished run of this module, so "
                "it stays untouched. Move it away, choose another prefix, or, if it is a conda environment, have it made anew "
                "(recreate: true; conda_env_recreate in the role)."
            )
        if have != self.wanted.python:
            raise CondaError(
                f"{prefix} exists with Python {have}, but {self.wanted.python} is wanted. It is not made anew unasked: either ask for Python {have}, "
                "or choose another prefix or name, or have it made anew (recreate: true; conda_env_recreate in the role)."
            )
        present = installed(prefix)
        missing = [spec for spec in self.wanted.packages if not spec_met(spec, present)]
        if missing and not os.path.isfile(os.path.join(prefix, "conda-meta", "history")):
            raise CondaError(
                "{} is no conda environment, so {} cannot be added to it. Choose another prefix, or leave packages empty.".format(
                    prefix, ", ".join(missing)
                )
            )
        return Found(have, missing)

    def create(self, engine: Engine) -> None:
        """Make the environment; what an unfinished run left is cleared first, and so is a failure of this one."""
        prefix = self.wanted.prefix
        try:
            os.makedirs(prefix, exist_ok=True)
            lock = self._mark(MARKER)
        except OSError as exc:
            raise CondaError(f"{prefix} cannot be made: {exc.strerror}.") from exc
        try:
            self._clear(keep_marker=True)
            os.makedirs(os.path.join(prefix, "conda-meta"))
            # with this (empty) file a directory is an environment to every engine, and `install` works in it; `create`
            # would remove the directory first, and our marker with it
            with open(os.path.join(prefix, "conda-meta", "history"), "w", encoding="utf-8"):
                pass
            self._install(engine, self.wanted.packages)
            os.replace(self.marker, os.path.join(prefix, MADE))
        except SdopsError:
            self._clear()
            raise
        finally:
            os.close(lock)

    def add(self, engine: Engine, missing: list[str]) -> None:
        """Install ``missing`` into the existing environment; its Python stays what it is."""
        lock = self._mark(ADDING)
        try:
            shutil.rmtree(os.path.join(self.wanted.prefix, CACHE), ignore_errors=True)
            self._install(engine, missing)
            os.unlink(os.path.join(self.wanted.prefix, ADDING))
        except SdopsError:
            # an engine that fails leaves the environment as it was
            if python_version(self.wanted.prefix) == self.wanted.python:
                os.unlink(os.path.join(self.wanted.prefix, ADDING))
            raise
        finally:
            os.close(lock)

    def _install(self, engine: Engine, packages: list[str]) -> None:
        prefix = self.wanted.prefix
        said = engine.install(Job(prefix, self.wanted.python, packages, self.wanted.channels))
        have, present = python_version(prefix), installed(prefix)
        missing = [spec for spec in packages if not spec_met(spec, present)]
        if said is None and have == self.wanted.python and not missing:
            return
        if said is None:
            said = f"it has Python {have}." if have != self.wanted.python else "it lacks {}.".format(", ".join(missing))
        raise CondaError(
            "The environment {} could not be made with Python {} from {} by {}: {} Check that the channel has these "
            "packages and that this host reaches it (proxy, mirror, ca_path).".format(
                prefix, self.wanted.python, ", ".join(self.wanted.channels), engine.name, said.rstrip(".") + "."
            )
        )

    def may_remove(self) -> bool:
        """Whether there is an environment to remove. Raises CondaError when what is there is none, or is conda itself."""
        prefix = self.wanted.prefix
        if self._is_empty():
            return False
        if self.unfinished():
            return True
        if os.path.isdir(os.path.join(prefix, "condabin")):
            raise CondaError(f"{prefix} is a conda installation and no single environment. It is not removed.")
        if not os.path.isfile(os.path.join(prefix, "conda-meta", "history")):
            raise CondaError(f"{prefix} is no conda environment (no conda-meta/history in it). It is not removed.")
        return True

    def remove(self) -> None:
        """Remove the environment; cut in the middle, it counts as unfinished and is never mistaken for a whole one."""
        lock = self._mark(MARKER)
        try:
            self._clear()
        finally:
            os.close(lock)

    def _mark(self, name: str) -> int:
        """Put a marker there and lock it: of two runs at the same time one gives up. Returns the descriptor.

        What a run that was killed has left behind is ended, or it would go on writing.
        """
        handle = os.open(os.path.join(self.wanted.prefix, name), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(handle)
            raise CondaError(
                f"{self.wanted.prefix} is being made by another run right now. Wait for it, then run again."
            ) from exc
        end_all(self.wanted.prefix)
        os.write(handle, b"sdops.webui is at work here, or was cut. The next run starts over.\n")
        return handle

    def _clear(self, keep_marker: bool = False) -> None:
        """Empty the prefix, the marker last of all."""
        for entry in list(os.scandir(self.wanted.prefix)):
            if entry.name == MARKER:
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
        if not keep_marker:
            os.unlink(self.marker)
            with contextlib.suppress(OSError):  # a mount point or a symbolic link: empty is enough
                os.rmdir(self.wanted.prefix)

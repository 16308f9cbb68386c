# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wheels that were built once, in a directory that environments and hosts may share.

Each lies in a directory of its own, named after its build key, next to a JSON file with its hash. What does not agree with
that file, or with its own metadata, is not used.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import time
import zipfile
from email.parser import HeaderParser
from typing import Any, ContextManager, NamedTuple

from .errors import FileTypeError, SdopsError, WheelChangedError
from .filesystem import load_json, locked, reject_irregular, sha256_of, sync_directory, write_atomic
from .python_env.names import normalize_name

FACTS = "wheel.json"
MAX_METADATA_BYTES = 1 << 20  # bytes


class BuildKey(NamedTuple):
    """What a wheel was built for.

    ``torch`` "2.1.2" without a label, ``cuda`` "12.1" (None for a CPU build), ``python`` "cp310", ``platform``
    "linux_x86_64_glibc_2_35", ``capabilities`` GPU capabilities (("8.6",); empty for a CPU build).
    """

    name: str
    version: str
    torch: str
    cuda: str | None
    python: str
    platform: str
    capabilities: tuple[str, ...]

    def words(self) -> str:
        """One word per property, for names of directories."""
        cuda = "cu" + self.cuda.replace(".", "") if self.cuda else "cpu"
        parts = [self.name, self.version, "torch" + self.torch, cuda, self.python, self.platform]
        parts += ["sm" + capability.replace(".", "") for capability in sorted(self.capabilities)]
        return re.sub(r"[^A-Za-z0-9.+_-]", "_", "-".join(parts))

    def serves(self, other: BuildKey) -> bool:
        """Whether a wheel of this key will do where ``other`` is wanted: more GPUs are no harm."""
        return self._replace(capabilities=()) == other._replace(capabilities=()) and set(self.capabilities) >= set(
            other.capabilities
        )


class CachedWheel(NamedTuple):
    """A wheel that may be used."""

    path: str
    sha256: str
    key: BuildKey


def identity(wheel: str) -> tuple[str, str]:
    """(name, version) that the metadata of ``wheel`` tells. Raises SdopsError when it is no wheel."""
    try:
        with zipfile.ZipFile(wheel) as bundle:
            [member] = [n for n in bundle.namelist() if re.match(r"^[^/]+\.dist-info/METADATA$", n)]
            with bundle.open(member) as metadata:  # the headers come first; a description of any length may follow
                headers = HeaderParser().parsestr(metadata.read(MAX_METADATA_BYTES).decode("utf-8", "replace"))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as exc:
        raise SdopsError(f"{wheel} is no wheel: {exc}.") from exc
    return normalize_name(headers.get("Name") or ""), headers.get("Version") or ""


class Cache:
    """``trouble`` collects sentences about entries that were passed over.

    The cache may be shared, and its JSON files with it: another host can replace a wheel together with its hash. So
    ``state_file``, a JSON file ``{"WHEEL'S PATH": SHA-256}`` of this host alone, notes the hash of each wheel when it is built
    here or first taken from the cache; one that is another later is rejected. Without ``state_file`` nothing is noted, nor with
    ``read_only``, for check mode.
    """

    def __init__(self, directory: str, state_file: str | None = None, read_only: bool = False) -> None:
        self.directory = os.path.abspath(directory)
        self.state_file = os.path.abspath(state_file) if state_file else None
        self.read_only = read_only
        self.trouble: list[str] = []

    def find(self, key: BuildKey) -> CachedWheel | None:
        """A wheel that serves ``key``, verified; None when there is none. Raises WheelChangedError."""
        try:
            names = sorted(os.listdir(self.directory))
        except OSError:
            return None
        for name in names:
            if name.startswith("."):
                continue
            folder = os.path.join(self.directory, name)
            found = self._read(folder)
            if found and found.key.serves(key):
                wrong = self._wrong(found)
                if not wrong:
                    self._compare(found)
                    return found
                self.trouble.append(f"{found.path} in the wheel cache is not used: {wrong}")
        return None

    def _read(self, folder: str) -> CachedWheel | None:
        try:
            if os.path.islink(folder):
                raise ValueError("the directory is a symbolic link")
            facts: dict[str, Any] = load_json(os.path.join(folder, FACTS))
            key = BuildKey(**{**facts["key"], "capabilities": tuple(facts["key"]["capabilities"])})
            name = str(facts["wheel"])
            if os.path.basename(name) != name or not name.endswith(".whl"):
                raise ValueError(f"its wheel is called {name!r}")
            return CachedWheel(os.path.join(folder, name), str(facts["sha256"]), key)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, LookupError, AttributeError, FileTypeError) as exc:
            self.trouble.append(f"{folder} in the wheel cache is not used: {FACTS} cannot be read ({exc}).")
            return None

    @staticmethod
    def _wrong(entry: CachedWheel) -> str:
        try:
            reject_irregular(entry.path)
            if sha256_of(entry.path) != entry.sha256:
                return "its SHA-256 is not the one that it was put there with."
            name, version = identity(entry.path)
        except (OSError, SdopsError) as exc:
            return str(exc)
        # a build adds a label: 0.0.23.post1+1a2b3c4.d20240101
        if (name, version.split("+")[0]) != (entry.key.name, entry.key.version):
            return f"it is {name} {version}."
        return ""

    def _recorded(self) -> dict[str, str]:
        """The hashes that this host has noted. A state file that cannot be read counts as none. Raises FileTypeError."""
        try:
            found = load_json(self.state_file) if self.state_file else {}
        except (OSError, ValueError):
            found = {}
        return found if isinstance(found, dict) else {}

    def _compare(self, entry: CachedWheel) -> None:
        known = self._recorded().get(os.path.realpath(entry.path))
        if known is None:
            self._record(entry)
        elif known != entry.sha256:
            raise WheelChangedError(
                f"{entry.path} is not the wheel that this host has used before: its SHA-256 is {entry.sha256}, and it was {known}. It was not used. Remove "
                f"its directory to have it built again, or, if you know why it changed, remove its line from {self.state_file}."
            )

    def _record(self, entry: CachedWheel) -> None:
        if not self.state_file or self.read_only:
            return
        with locked(self.state_file + ".lock"):
            known = {**self._recorded(), os.path.realpath(entry.path): entry.sha256}
            write_atomic(self.state_file, (json.dumps(known, indent=1, sort_keys=True) + "\n").encode())

    def lock(self, key: BuildKey) -> ContextManager[bool]:
        """One builder at a time; the kernel frees it when the builder dies."""
        return locked(os.path.join(self.directory, "." + key.words() + ".lock"))

    def publish(self, wheel: str, key: BuildKey) -> CachedWheel:
        """Put a wheel in, whole or not at all. Raises SdopsError when it is not what ``key`` says."""
        name, version = identity(wheel)
        if (name, version.split("+")[0]) != (key.name, key.version):
            raise SdopsError(f"The build made {name} {version}, but {key.name} {key.version} was wanted.")
        os.makedirs(self.directory, exist_ok=True)
        work = tempfile.mkdtemp(prefix=".incoming-", dir=self.directory)
        final = os.path.join(self.directory, key.words())
        try:
            copy = os.path.join(work, os.path.basename(wheel))
            shutil.copyfile(wheel, copy)
            entry = CachedWheel(os.path.join(final, os.path.basename(wheel)), sha256_of(copy), key)
            facts = {
                "wheel": os.path.basename(wheel),
                "sha256": entry.sha256,
                "size": os.path.getsize(copy),
                "key": {**key._asdict(), "capabilities": sorted(key.capabilities)},
                "built": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            }
            with open(os.path.join(work, FACTS), "w", encoding="utf-8") as handle:
                json.dump(facts, handle, indent=1, sort_keys=True)
            for each in (copy, os.path.join(work, FACTS)):
                with open(each, "rb") as handle:
                    os.fsync(handle.fileno())
            os.chmod(work, 0o755)
            if os.path.isdir(final):  # damaged, or it would have been used
                shutil.rmtree(final)
            os.rename(work, final)
            sync_directory(self.directory)
        except OSError as exc:
            raise SdopsError(f"The wheel could not be stored in {self.directory}: {exc}.") from exc
        finally:
            with contextlib.suppress(OSError):
                shutil.rmtree(work)
        self._record(entry)
        return entry

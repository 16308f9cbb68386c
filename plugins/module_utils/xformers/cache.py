# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wheels that were built once, in a directory that environments and hosts may share.

Each lies in a directory of its own, named after what it fits, beside a JSON file with its hash. What does not agree with
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
from typing import Any, ContextManager, Dict, List, NamedTuple, Optional, Tuple

from ..errors import SdopsError
from ..transfer.disk import locked, sha256_of, sync_directory

FACTS = "wheel.json"


class Fit(NamedTuple):
    """What a wheel was built for.

    ``torch`` "2.1.2" without a label, ``cuda`` "12.1" (None for a CPU build), ``python`` "cp310", ``platform``
    "linux_x86_64_glibc_2_35", ``archs`` GPU capabilities (("8.6",); empty for a CPU build).
    """

    name: str
    version: str
    torch: str
    cuda: Optional[str]
    python: str
    platform: str
    archs: Tuple[str, ...]

    def words(self) -> str:
        """One word per property, for names of directories."""
        cuda = "cu" + self.cuda.replace(".", "") if self.cuda else "cpu"
        parts = [self.name, self.version, "torch" + self.torch, cuda, self.python, self.platform]
        parts += ["sm" + arch.replace(".", "") for arch in sorted(self.archs)]
        return re.sub(r"[^A-Za-z0-9.+_-]", "_", "-".join(parts))

    def serves(self, other: "Fit") -> bool:
        """Whether a wheel of this fit will do where ``other`` is wanted: more GPUs are no harm."""
        return self._replace(archs=()) == other._replace(archs=()) and set(self.archs) >= set(other.archs)


class Entry(NamedTuple):
    """A wheel that may be used."""

    path: str
    sha256: str
    fit: Fit


def identity(wheel: str) -> Tuple[str, str]:
    """(name, version) that the metadata of ``wheel`` tells. Raises SdopsError when it is no wheel."""
    try:
        with zipfile.ZipFile(wheel) as bundle:
            [member] = [n for n in bundle.namelist() if re.match(r"^[^/]+\.dist-info/METADATA$", n)]
            headers = HeaderParser().parsestr(bundle.read(member).decode("utf-8", "replace"))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as exc:
        raise SdopsError("%s is no wheel: %s." % (wheel, exc)) from exc
    return re.sub(r"[-_.]+", "-", headers.get("Name") or "").lower(), headers.get("Version") or ""


class Cache:
    """``trouble`` collects sentences about entries that were passed over."""

    def __init__(self, directory: str) -> None:
        self.directory = os.path.abspath(directory)
        self.trouble: List[str] = []

    def find(self, fit: Fit) -> Optional[Entry]:
        """A wheel that serves ``fit``, verified; None when there is none."""
        try:
            names = sorted(os.listdir(self.directory))
        except OSError:
            return None
        for name in names:
            if name.startswith("."):
                continue
            folder = os.path.join(self.directory, name)
            found = self._read(folder)
            if found and found.fit.serves(fit):
                wrong = self._wrong(found)
                if not wrong:
                    return found
                self.trouble.append("%s in the wheel cache is not used: %s" % (found.path, wrong))
        return None

    def _read(self, folder: str) -> Optional[Entry]:
        try:
            with open(os.path.join(folder, FACTS), encoding="utf-8") as handle:
                facts: Dict[str, Any] = json.load(handle)
            fit = Fit(**{**facts["fit"], "archs": tuple(facts["fit"]["archs"])})
            name = str(facts["wheel"])
            if os.path.basename(name) != name or not name.endswith(".whl"):
                raise ValueError("its wheel is called %r" % name)
            return Entry(os.path.join(folder, name), str(facts["sha256"]), fit)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, LookupError, AttributeError) as exc:
            self.trouble.append("%s in the wheel cache is not used: %s cannot be read (%s)." % (folder, FACTS, exc))
            return None

    @staticmethod
    def _wrong(entry: Entry) -> str:
        try:
            if sha256_of(entry.path) != entry.sha256:
                return "its SHA-256 is not the one that it was put there with."
            name, version = identity(entry.path)
        except (OSError, SdopsError) as exc:
            return str(exc)
        # a build adds a label: 0.0.23.post1+1a2b3c4.d20240101
        if (name, version.split("+")[0]) != (entry.fit.name, entry.fit.version):
            return "it is %s %s." % (name, version)
        return ""

    def lock(self, fit: Fit) -> ContextManager[None]:
        """One builder at a time; the kernel frees it when the builder dies."""
        return locked(os.path.join(self.directory, "." + fit.words() + ".lock"))

    def publish(self, wheel: str, fit: Fit) -> Entry:
        """Put a wheel in, whole or not at all. Raises SdopsError when it is not what ``fit`` says."""
        name, version = identity(wheel)
        if (name, version.split("+")[0]) != (fit.name, fit.version):
            raise SdopsError("The build made %s %s, but %s %s was wanted." % (name, version, fit.name, fit.version))
        os.makedirs(self.directory, exist_ok=True)
        work = tempfile.mkdtemp(prefix=".incoming-", dir=self.directory)
        final = os.path.join(self.directory, fit.words())
        try:
            copy = os.path.join(work, os.path.basename(wheel))
            shutil.copyfile(wheel, copy)
            entry = Entry(os.path.join(final, os.path.basename(wheel)), sha256_of(copy), fit)
            facts = {
                "wheel": os.path.basename(wheel),
                "sha256": entry.sha256,
                "size": os.path.getsize(copy),
                "fit": {**fit._asdict(), "archs": sorted(fit.archs)},
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
            raise SdopsError("The wheel could not be kept in %s: %s." % (self.directory, exc)) from exc
        finally:
            with contextlib.suppress(OSError):
                shutil.rmtree(work)
        return entry

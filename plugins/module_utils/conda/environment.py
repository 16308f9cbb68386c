# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Conda environments by whichever engine is at hand: conda, mamba, micromamba, or the rattler library."""

from __future__ import annotations

import glob
import json
import os
import shutil
import sys
import tempfile
from typing import Dict, List, NamedTuple, Optional

from ..errors import SdopsError
from ..process import run

NAMES = ("conda", "mamba", "micromamba")
# a non-login SSH session does not have these on PATH
PLACES = (
    "/root/miniconda3/bin",
    "/root/miniforge3/bin",
    "/root/mambaforge/bin",
    "/root/anaconda3/bin",
    "/opt/conda/bin",
    "/opt/miniconda3/bin",
    "/opt/miniforge3/bin",
    "~/miniconda3/bin",
    "~/miniforge3/bin",
    "~/micromamba/bin",
    "~/.local/bin",
)
CHANNEL_ALIAS = "https://conda.anaconda.org"
# in a prefix while it is being made: whoever finds it there may start over
MARKER = ".sdops-incomplete"

RATTLER = r"""
import asyncio, json, sys
from rattler import install, solve, VirtualPackage
from rattler.platform import Platform

async def main(job):
    records = await solve(
        sources=job["channels"], specs=job["specs"], platforms=[str(Platform.current()), "noarch"],
        virtual_packages=VirtualPackage.detect())
    await install(records, target_prefix=job["prefix"], cache_dir=job["cache"], show_progress=False)

asyncio.run(main(json.load(sys.stdin)))
"""


class CondaError(SdopsError):
    """An environment cannot be made or is not what is wanted."""


class Wanted(NamedTuple):
    """A wanted environment: absolute prefix, exact Python ("3.10.6"), more specs, channels by name or URL."""

    prefix: str
    python: str
    packages: List[str]
    channels: List[str]


def find_engine(wanted: str) -> str:
    """ "rattler", or the absolute path of a conda-like program. Raises CondaError when a named one is missing."""
    if wanted == "rattler":
        return "rattler"
    if os.path.isabs(wanted):
        if not os.access(wanted, os.X_OK):
            raise CondaError(
                "The conda engine %s does not exist or cannot be run. Correct the path, or use auto." % wanted
            )
        return wanted
    for name in NAMES if wanted == "auto" else (wanted,):
        for directory in os.environ.get("PATH", "").split(os.pathsep) + [os.path.expanduser(p) for p in PLACES]:
            candidate = os.path.join(directory, name)
            if directory and os.access(candidate, os.X_OK):
                return candidate
    if wanted == "auto":
        return "rattler"
    raise CondaError(
        "%s was found neither on PATH nor in its usual places. Give its absolute path, or use auto." % wanted
    )


def python_version(prefix: str) -> Optional[str]:
    """Version of the Python in ``prefix``, None when there is none that runs."""
    python = os.path.join(prefix, "bin", "python")
    if not os.access(python, os.X_OK):
        return None
    done = run([python, "-I", "-c", "import platform; print(platform.python_version())"], timeout=60)
    return done.out.strip() if done.rc == 0 else None


class Environment:
    """One environment, wanted and as it is on disk."""

    def __init__(
        self, wanted: Wanted, engine: str = "auto", ca_path: Optional[str] = None, work_dir: Optional[str] = None
    ) -> None:
        self.wanted = wanted
        self.engine = find_engine(engine)
        self.environment: Dict[str, str] = {"SSL_CERT_FILE": ca_path, "REQUESTS_CA_BUNDLE": ca_path} if ca_path else {}
        self.work_dir = work_dir

    @property
    def marker(self) -> str:
        return os.path.join(self.wanted.prefix, MARKER)

    def state(self) -> Optional[str]:
        """The Python version that is there; None when the environment has to be made. Raises CondaError when in the way."""
        prefix = self.wanted.prefix
        if not os.path.isdir(prefix) or not os.listdir(prefix) or os.path.exists(self.marker):
            return None
        have = python_version(prefix)
        if have is None:
            raise CondaError(
                "%s exists but has no working Python, and was not left behind by an unfinished run of ours. Move it away, or "
                "choose another prefix." % prefix
            )
        if have != self.wanted.python:
            raise CondaError(
                "%s exists with Python %s, but %s is wanted. Either set the wanted Python to %s, or choose another prefix, or "
                "remove the environment yourself; it is never made anew over your head."
                % (prefix, have, self.wanted.python, have)
            )
        return have

    def _specs(self) -> List[str]:
        return ["python=%s" % self.wanted.python, *self.wanted.packages]

    def create(self) -> str:
        """Make the environment and return the version of its Python."""
        prefix = self.wanted.prefix
        if os.path.exists(self.marker):
            shutil.rmtree(prefix)
        os.makedirs(prefix, exist_ok=True)
        with open(self.marker, "w", encoding="utf-8") as handle:
            handle.write("made by sdops.webui and not finished\n")
        said = self._create_rattler() if self.engine == "rattler" else self._create_cli()
        have = python_version(prefix)
        if have != self.wanted.python:
            raise CondaError(
                "The environment %s could not be made from %s with %s: %s"
                % (prefix, ", ".join(self.wanted.channels), self.engine, said or "it has Python %s." % have)
            )
        os.unlink(self.marker)
        return have

    def _create_cli(self) -> str:
        # conda refuses a directory that is no environment, unless it has a conda-meta
        os.makedirs(os.path.join(self.wanted.prefix, "conda-meta"), exist_ok=True)
        with open(os.path.join(self.wanted.prefix, "conda-meta", "history"), "a", encoding="utf-8"):
            pass
        argv = [self.engine, "install", "--yes", "--prefix", self.wanted.prefix, "--override-channels"]
        for channel in self.wanted.channels:
            argv += ["--channel", channel]
        done = run(argv + self._specs(), env=self.environment)
        return "" if done.rc == 0 else done.tail()

    def _create_rattler(self) -> str:
        # its own cache, thrown away: with a warm one it stumbles over the server's 304; judged by the prefix, since it
        # may crash while exiting, after all is done
        cache = tempfile.mkdtemp(prefix=".conda-", dir=self.work_dir or os.path.dirname(self.wanted.prefix))
        channels = [c if "://" in c else "%s/%s" % (CHANNEL_ALIAS, c) for c in self.wanted.channels]
        specs = ["python ==%s" % self.wanted.python, *self.wanted.packages]
        job = {"channels": channels, "specs": specs, "prefix": self.wanted.prefix, "cache": cache}
        try:
            done = run(
                [sys.executable, "-c", RATTLER],
                env={**self.environment, "RATTLER_CACHE_DIR": cache},
                text_in=json.dumps(job),
            )
        finally:
            shutil.rmtree(cache, ignore_errors=True)
        if "No module named 'rattler'" in done.err:
            raise CondaError(
                "There is no conda, mamba or micromamba on this host, and the toolbox has no py-rattler. Run the role base, "
                "or give the path of an engine."
            )
        return "" if done.rc == 0 else done.tail(8)


def installed(prefix: str) -> Dict[str, str]:
    """Name to version of the conda packages in ``prefix``, from its conda-meta."""
    result = {}
    for path in glob.glob(os.path.join(prefix, "conda-meta", "*.json")):
        with open(path, encoding="utf-8") as handle:
            record = json.load(handle)
        result[record["name"]] = record["version"]
    return result

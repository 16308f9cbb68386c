# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes conda environments: conda, mamba and micromamba, or the rattler library where there is none of them."""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import NamedTuple

from ..errors import CondaError
from ..filesystem import parse_json
from ..process import Completed, run, work_environment

ENGINE_NAMES = ("conda", "mamba", "micromamba")
# a non-login SSH session does not have these on PATH
CONDA_DIRECTORIES = (
    "/root/miniconda3/bin",
    "/root/miniforge3/bin",
    "/root/mambaforge/bin",
    "/root/anaconda3/bin",
    "/opt/conda/bin",
    "/opt/miniconda3/bin",
    "/opt/miniforge3/bin",
    "~/miniconda3/bin",
    "~/miniforge3/bin",
    "~/mambaforge/bin",
    "~/anaconda3/bin",
    "~/micromamba/bin",
    "~/.local/bin",
    "~/bin",
)
RATTLER_CACHE = ".sdops-cache"  # of the rattler library, in a prefix
CHANNEL_ALIAS = "https://conda.anaconda.org"

# Runs in an interpreter that has py-rattler (0.25 or newer). Packages that are there already stay: the solver is told
# about them, since install() removes whatever is not in its list. It ends without the interpreter's own clean-up, in
# which the library crashes now and then after all is done.
RATTLER_SCRIPT = r"""
import asyncio, glob, json, os, sys

try:
    from rattler import Gateway, PrefixRecord, VirtualPackage, install, solve
    from rattler.platform import Platform
except ImportError as exc:
    print(json.dumps({"missing": str(exc)}))
    sys.exit(3)

async def main(job):
    there = [PrefixRecord.from_path(p) for p in glob.glob(os.path.join(glob.escape(job["prefix"]), "conda-meta", "*.json"))]
    named = set(job["names"])
    specs = job["specs"] + [r.name.normalized for r in there if r.name.normalized not in named]
    records = await solve(
        sources=job["channels"], specs=specs, gateway=Gateway(cache_dir=os.path.join(job["cache"], "repodata")),
        platforms=[str(Platform.current()), "noarch"], locked_packages=there, virtual_packages=VirtualPackage.detect())
    await install(
        records, target_prefix=job["prefix"], cache_dir=job["packages"], installed_packages=there,
        show_progress=False)

try:
    asyncio.run(main(json.load(sys.stdin)))
except BaseException as exc:
    print(json.dumps({"error": "%s: %s" % (type(exc).__name__, exc)}), flush=True)
    os._exit(1)
print(json.dumps({"done": True}), flush=True)
os._exit(0)
"""


class InstallRequest(NamedTuple):
    """Bring these into a prefix: exact Python, more specs, channels by name or URL."""

    prefix: str
    python: str
    packages: list[str]
    channels: list[str]


def ca_variables(ca_path: str | None) -> dict[str, str]:
    """Variables by which every engine trusts the PEM bundle ``ca_path``."""
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "CONDA_SSL_VERIFY", "MAMBA_SSL_VERIFY")
    return {name: ca_path for name in names} if ca_path else {}


class CondaEngine:
    """Something that installs packages into a prefix. ``name`` is how people know it."""

    name = ""
    package_cache: str | None = None  # directory that hosts may share; None for the engine's own

    def install(self, request: InstallRequest) -> str | None:
        """Install; None when that went well, else what went wrong. The prefix itself has the last word (see Environment)."""
        raise NotImplementedError

    def environments(self) -> list[str]:
        """Prefixes that it knows."""
        return []

    def envs_dir(self) -> str | None:
        """Directory in which it makes environments by name."""
        return None


class CondaProgram(CondaEngine):
    """conda, mamba or micromamba, by the options that the three share."""

    def __init__(
        self,
        path: str,
        ca_path: str | None = None,
        channel_alias: str | None = None,
        package_cache: str | None = None,
    ) -> None:
        self.name = path
        self.channel_alias = channel_alias
        self.package_cache = package_cache
        self.environment = ca_variables(ca_path)
        if package_cache:
            self.environment["CONDA_PKGS_DIRS"] = package_cache

    def _run(self, *arguments: str, **more: str) -> Completed:
        # with CI set, conda takes Anaconda's terms of service for accepted; that is not ours to do
        return run(["env", "-u", "CI", self.name, *arguments], env={**self.environment, **more})

    def _json(self, *arguments: str) -> dict[str, object]:
        done = self._run(*arguments, "--json")
        try:
            found = parse_json(done.out)
        except ValueError:
            return {}
        return found if isinstance(found, dict) and done.rc == 0 else {}

    def environments(self) -> list[str]:
        envs = self._json("env", "list").get("envs")
        return [str(e) for e in envs] if isinstance(envs, list) else []

    def envs_dir(self) -> str | None:
        info = self._json("info")
        # mamba and micromamba spell it with a space
        found = info.get("envs_dirs") or info.get("envs directories")
        return str(found[0]) if isinstance(found, list) and found else None

    def install(self, request: InstallRequest) -> str | None:
        arguments = ["install", "--yes", "--json", "--prefix", request.prefix, "--override-channels"]
        for channel in request.channels:
            # a bare name is left to the engine's own configuration, which may map it to a mirror
            arguments += ["--channel", channel_url(channel, self.channel_alias) if self.channel_alias else channel]
        done = self._run(*arguments, f"python={request.python}", *request.packages, **work_environment(request.prefix))
        if done.rc == 0:
            return None
        if (
            "ToSNonInteractive" in done.out + done.err
            or "Terms of Service have not been accepted" in done.out + done.err
        ):
            return (
                "the channel asks for its terms of service to be accepted, which is up to you: use conda-forge, or read and "
                "accept them on the host (conda tos accept --override-channels --channel URL)"
            )
        return self._message(done)

    @staticmethod
    def _message(done: Completed) -> str:
        """What an engine says in its JSON (which may follow progress objects, separated by NUL), else its last lines."""
        for piece in reversed(done.out.split("\0")):
            try:
                found = parse_json(piece)
            except ValueError:
                continue
            if isinstance(found, dict) and (found.get("message") or found.get("error")):
                return str(found.get("message") or found["error"]).strip()
        return done.tail() or f"it ended with status {done.rc}"


class RattlerLibrary(CondaEngine):
    """The py-rattler library, in a child process of an interpreter that has it."""

    name = "rattler"

    def __init__(
        self,
        python: str | None = None,
        ca_path: str | None = None,
        channel_alias: str | None = None,
        package_cache: str | None = None,
    ) -> None:
        self.python = python or sys.executable
        self.package_cache = package_cache
        self.channel_alias = channel_alias or CHANNEL_ALIAS
        self.environment = ca_variables(ca_path)

    def install(self, request: InstallRequest) -> str | None:
        if "defaults" in request.channels:
            return (
                "the channel 'defaults' is a list of conda's own configuration; name the channels or their URLs instead"
            )
        # Its own cache, thrown away: with warm repodata it stumbles over a server's 304. It lies in the prefix, so that files
        # can be linked from it and nothing else has to be cleared after a cut. Packages may lie in one that is kept.
        cache = os.path.join(request.prefix, RATTLER_CACHE)
        shutil.rmtree(cache, ignore_errors=True)
        payload = {
            "prefix": request.prefix,
            "cache": cache,
            "packages": self.package_cache or os.path.join(cache, "pkgs"),
            "channels": [channel_url(c, self.channel_alias) for c in request.channels],
            "specs": [f"python =={request.python}", *request.packages],
            "names": ["python", *[p.split("::")[-1].split("=")[0].split()[0] for p in request.packages]],
        }
        try:
            done = run(
                [self.python, "-c", RATTLER_SCRIPT],
                env={
                    **self.environment,
                    **work_environment(request.prefix),
                    "RATTLER_CACHE_DIR": cache,
                    "XDG_CACHE_HOME": cache,
                },
                text_in=json.dumps(payload),
            )
        finally:
            shutil.rmtree(cache, ignore_errors=True)
        try:
            reply = parse_json(done.out.strip().splitlines()[-1])
        except (ValueError, IndexError):
            reply = {}
        if reply.get("done"):
            return None
        if reply.get("missing"):
            raise CondaError(
                "There is no conda, mamba or micromamba on this host, and {} has no py-rattler ({}). Run the role base, which "
                "installs it, or give the path of an engine.".format(self.python, reply["missing"])
            )
        return str(reply.get("error") or done.tail(8) or f"it ended with status {done.rc}")


def channel_url(channel: str, alias: str | None) -> str:
    """URL of a channel given by name, URL or absolute path."""
    if "://" in channel:
        return channel
    if os.path.isabs(channel):
        return "file://" + channel
    return "{}/{}".format((alias or CHANNEL_ALIAS).rstrip("/"), channel)


def find_program(engine: str) -> str | None:
    """Absolute path of the conda-like program ``wanted`` (auto, a name, a path); None for the rattler library.

    Raises CondaError when one that was named is missing.
    """
    if engine == "rattler":
        return None
    if os.path.isabs(engine):
        if not os.access(engine, os.X_OK) or os.path.isdir(engine):
            raise CondaError(
                f"The conda engine {engine} does not exist or cannot be run. Correct the path, or use auto."
            )
        return engine
    if engine != "auto" and engine not in ENGINE_NAMES:
        raise CondaError(
            "engine is {!r}; it must be auto, {}, rattler or the absolute path of a program.".format(
                engine, ", ".join(ENGINE_NAMES)
            )
        )
    directories = os.environ.get("PATH", "").split(os.pathsep) + [os.path.expanduser(p) for p in CONDA_DIRECTORIES]
    for name in ENGINE_NAMES if engine == "auto" else (engine,):
        for directory in directories:
            candidate = os.path.join(directory, name)
            if directory and os.access(candidate, os.X_OK) and not os.path.isdir(candidate):
                return candidate
    if engine == "auto":
        return None
    raise CondaError(
        f"{engine} was found neither on PATH nor in its usual places. Give its absolute path, or use auto."
    )


def find_engine(
    engine: str,
    ca_path: str | None = None,
    channel_alias: str | None = None,
    rattler_python: str | None = None,
    package_cache: str | None = None,
) -> CondaEngine:
    """The engine that ``wanted`` means. Raises CondaError when one that was named is missing."""
    program = find_program(engine)
    if program:
        return CondaProgram(program, ca_path, channel_alias, package_cache)
    return RattlerLibrary(rattler_python, ca_path, channel_alias, package_cache)


def prefix_of(name: str, envs_dir: str | None, engine: CondaEngine | None) -> str:
    """Where the environment ``name`` lies, or would lie; ``engine`` is asked unless ``envs_dir`` says it."""
    if os.sep in name or name in ("", ".", "..", "base", "root"):
        raise CondaError(
            f"{name!r} is no name for an environment of its own. Use a plain name, or give a path with prefix."
        )
    if envs_dir:
        return os.path.join(envs_dir, name)
    for prefix in engine.environments() if engine else ():
        if os.path.basename(prefix) == name and os.path.basename(os.path.dirname(prefix)) == "envs":
            return prefix
    # conda's own place where its installation cannot be written to
    return os.path.join((engine and engine.envs_dir()) or os.path.expanduser("~/.conda/envs"), name)

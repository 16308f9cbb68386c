# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build a wheel from sources in a tree that stays until it is done: what was compiled before an interruption is not compiled again."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tarfile
import time
from typing import Callable, NamedTuple, Optional

from ..errors import BuildError
from ..filesystem import read_tail, sha256_of
from ..process import kill_leftovers, run, work_environment

STEP = re.compile(r"\[(\d+)/(\d+)\]")
StepCallback = Callable[[int, Optional[int]], None]
# the old way of building ends a failure with "setup.py clean", which throws away what hours have compiled
BUILD = ("--use-pep517", "--no-build-isolation", "--no-deps", "--verbose")
POLL_SECONDS = 0.5  # seconds between two polls of the log


class BuildSpec(NamedTuple):
    """What to build, with what.

    ``source`` is a directory with the sources, or a requirement ("xformers==0.0.23.post1") whose sdist the package index
    has; ``sha256`` pins that. ``environment`` holds the variables (see build_variables()); ``work`` stays when a build is interrupted.
    """

    python: str
    source: str
    sha256: str | None
    environment: dict[str, str]
    work: str


def build_variables(capabilities: list[str], max_jobs: int, gpu_visible: bool, cuda: bool) -> dict[str, str]:
    """The variables that torch's builds of extensions know."""
    found = {"MAX_JOBS": str(max_jobs), "XFORMERS_BUILD_TYPE": "Release", "CMAKE_BUILD_PARALLEL_LEVEL": str(max_jobs)}
    if cuda:
        found["TORCH_CUDA_ARCH_LIST"] = ";".join(sorted(capabilities))
        if not gpu_visible:
            found["FORCE_CUDA"] = "1"
    return found


class Build:
    """One build. ``log`` is the file with its whole output."""

    def __init__(self, spec: BuildSpec) -> None:
        self.spec = spec
        self.work = os.path.abspath(spec.work)
        self.log = os.path.join(self.work, "build.log")
        self._process: subprocess.Popen | None = None
        self._environment = {
            **os.environ,
            **spec.environment,
            **work_environment(self.work),
            "PYTHONUNBUFFERED": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    def run(self, report: StepCallback = lambda done, total: None) -> str:
        """Build; path of the wheel. ``report`` is called with ninja's steps. Raises BuildError; the tree stays for the next try."""
        os.makedirs(self.work, exist_ok=True)
        kill_leftovers(self.work)
        out = os.path.join(self.work, "wheel")
        shutil.rmtree(out, ignore_errors=True)
        tree = self._tree()
        # in the tree itself (pip does that since 21.3): its build directory is what a second try resumes
        self._pip(report, "wheel", *BUILD, "--wheel-dir", out, tree)
        wheels = glob.glob(os.path.join(glob.escape(out), "*.whl"))
        if len(wheels) != 1:
            raise BuildError(f"The build made {len(wheels)} wheels and not one; see {self.log}.")
        return wheels[0]

    def stop(self) -> None:
        """End all that the build has started. May be called from a signal handler."""
        if self._process:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
        kill_leftovers(self.work)

    def clean(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)

    def _pip(self, report: StepCallback, *arguments: str) -> None:
        command = [self.spec.python, "-m", "pip", *arguments]
        with open(self.log, "ab") as log:
            begin = log.tell()
            log.write(("\n--- pip {}\n".format(" ".join(arguments))).encode())
            log.flush()
            try:
                self._process = subprocess.Popen(
                    command,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            except OSError as exc:
                raise BuildError(f"{self.spec.python} could not be started: {exc.strerror}.") from exc
        try:
            steps = Steps(self.log, begin)
            while self._process.poll() is None:
                time.sleep(POLL_SECONDS)
                if steps.poll():
                    report(steps.done, steps.total)
        except BaseException:
            self.stop()
            raise
        if self._process.returncode:
            raise BuildError(
                f"The build failed ({describe_exit(self._process.returncode)}). The last lines of {self.log}:",
                details=self._failure_reason(),
            )

    def _failure_reason(self) -> str:
        """What a person needs of the log: from the first error of its end on."""
        lines = read_tail(self.log, 400, 1 << 20).splitlines()
        first = [i for i, line in enumerate(lines) if re.search(r"\b(fatal )?error\b|^FAILED|Killed|Error:", line)]
        lines = lines[first[0] :] if first else lines
        return "\n".join(line[:400] for line in (lines if len(lines) <= 15 else [*lines[:8], "...", *lines[-7:]]))

    # --- the sources ----------------------------------------------------------------------------------------------------
    def _tree(self) -> str:
        if os.path.isdir(self.spec.source):
            return self.spec.source
        tree = os.path.join(self.work, "source")
        name = hashlib.sha256((self.spec.source + (self.spec.sha256 or "")).encode()).hexdigest()
        done = os.path.join(self.work, "unpacked")
        if self._read_log(done) == name:
            return tree
        for each in (tree, os.path.join(self.work, "sdist")):
            shutil.rmtree(each, ignore_errors=True)
        archive = self._download()
        unpack(archive, tree)
        with open(done, "w", encoding="ascii") as handle:
            handle.write(name)
        return tree

    @staticmethod
    def _read_log(path: str) -> str:
        try:
            with open(path, encoding="ascii") as handle:
                return handle.read()
        except OSError:
            return ""

    def _download(self) -> str:
        """The sdist from the package index of the environment, verified."""
        folder = os.path.join(self.work, "sdist")
        arguments = ["--no-deps", "--no-build-isolation", "--no-binary", ":all:", "--dest", folder, self.spec.source]
        self._pip(lambda done, total: None, "download", *arguments)
        archives = glob.glob(os.path.join(glob.escape(folder), "*"))
        if len(archives) != 1:
            raise BuildError(f"The package index gave {len(archives)} files for {self.spec.source} and not one.")
        have = sha256_of(archives[0])
        if self.spec.sha256 and have != self.spec.sha256.lower():
            raise BuildError(
                f"The SHA-256 of {os.path.basename(archives[0])} is {have}, but {self.spec.sha256} is wanted. It was not built."
            )
        return archives[0]


class Steps:
    """ninja's counter ("[12/345] ...") in a growing log."""

    def __init__(self, path: str, begin: int) -> None:
        self.path, self._at = path, begin
        self.done: int = 0
        self.total: int | None = None

    def poll(self) -> bool:
        """Read on; whether there was something new."""
        try:
            with open(self.path, "rb") as handle:
                handle.seek(self._at)
                text = handle.read(4 << 20)
                self._at += len(text)
        except OSError:
            return False
        found = STEP.findall(text.decode("utf-8", "replace"))
        if not found:
            return False
        # several ninjas may come one after the other: the last one counts
        self.done, self.total = int(found[-1][0]), int(found[-1][1])
        return True


def describe_exit(code: int) -> str:
    if code in (-9, 137):
        return "it was killed, perhaps for want of memory: try a smaller xformers_build_max_jobs"
    return f"killed by signal {-code}" if code < 0 else f"exit status {code}"


def unpack(archive: str, target: str) -> None:
    """Unpack an sdist whose every member stays inside ``target``; its one top directory becomes ``target``."""
    try:
        with tarfile.open(archive) as bundle:
            members = bundle.getmembers()
            for member in members:
                parts = member.name.split("/")
                link = member.linkname.split("/") if member.issym() or member.islnk() else []
                if member.name.startswith("/") or ".." in parts or ".." in link or member.linkname.startswith("/"):
                    raise BuildError(f"{archive} holds the unsafe path {member.name!r} and was not unpacked.")
                if not (member.isfile() or member.isdir() or link):
                    raise BuildError(f"{archive} holds {member.name!r}, which is no file, and was not unpacked.")
            tops = {member.name.split("/")[0] for member in members}
            if len(tops) != 1:
                raise BuildError(f"{archive} is no source distribution: it has {len(tops)} top directories.")
            part = target + ".part"
            shutil.rmtree(part, ignore_errors=True)
            bundle.extractall(part, members=members)
        os.rename(os.path.join(part, tops.pop()), target)
        os.rmdir(part)
    except (tarfile.TarError, OSError, EOFError) as exc:
        raise BuildError(f"{archive} cannot be unpacked: {exc}.") from exc


def platform_tags(python: str) -> list[str]:
    """["cp310", "linux_x86_64_glibc_2_35"] of an interpreter. What was built with a newer C library does not load with an older one."""
    script = (
        "import platform, re, sys, sysconfig; print('cp%d%d' % sys.version_info[:2]); "
        "print(re.sub('[-.]', '_', '_'.join([sysconfig.get_platform(), *filter(None, platform.libc_ver())])))"
    )
    done = run([python, "-I", "-c", script], timeout=60)
    words = done.out.split()
    if done.rc or len(words) != 2:
        raise BuildError(f"The interpreter {python} could not be asked for its platform: {done.tail()}")
    return words

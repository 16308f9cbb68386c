# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Get a wheel: from a cache, or built and put there."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Callable, ContextManager, NamedTuple

from ..errors import BuildError
from ..python_env.environment import inspect_environment
from ..wheel_cache import BuildKey, Cache, CachedWheel
from .build import Build, BuildSpec, StepCallback, build_variables, platform_tags
from .environment import TorchFacts
from .machine import check_tools, jobs, machine
from .resolver import torch_base

PROTECTED = ("torch", "torchvision", "numpy")  # what a build has no business with


class WheelRequest(NamedTuple):
    """``version`` of ``name`` for the environment of ``python``; how it is built if it has to be (see build.BuildSpec)."""

    name: str
    version: str
    python: str
    capabilities: list[str]
    source: str
    sha256: str | None
    max_jobs: int
    cuda_home: str | None
    gpu_visible: bool
    work_dir: str


class WheelResult(NamedTuple):
    """``entry`` None: nowhere cached, and not to be built."""

    entry: CachedWheel | None
    built: bool
    trouble: list[str]


def make_build_key(request: WheelRequest, facts: TorchFacts) -> BuildKey:
    """What a wheel must be built for. Raises BuildError when that is not known."""
    if not facts.torch:
        raise BuildError(
            f"torch is not installed in the environment of {request.python} yet: run the role sd_webui first."
        )
    if facts.cuda and not request.capabilities:
        raise BuildError(
            "No GPU is visible, so nobody knows which one xformers is to be built for. Say it in sdops_gpu_capabilities, for "
            'example ["8.6"] for an RTX 3090 or A5000, ["8.9"] for a 4090, ["8.0"] for an A100.'
        )
    python, platform = platform_tags(request.python)
    capabilities = tuple(sorted(set(request.capabilities))) if facts.cuda else ()
    return BuildKey(request.name, request.version, torch_base(facts.torch), facts.cuda, python, platform, capabilities)


def find_cached_wheel(key: BuildKey, caches: list[Cache]) -> CachedWheel | None:
    for cache in caches:
        found = cache.find(key)
        if found:
            return found
    return None


class Builder:
    """Builds what no cache has. ``stop`` ends it from a signal handler."""

    def __init__(self, request: WheelRequest, facts: TorchFacts, caches: list[Cache]) -> None:
        self.request, self.facts, self.caches = request, facts, caches
        self.key = make_build_key(request, facts)
        self._build: Build | None = None

    @property
    def log(self) -> str:
        return os.path.join(self._work(), "build.log")

    def _work(self) -> str:
        return os.path.join(os.path.abspath(self.request.work_dir), self.key.words())

    def get(
        self, build: bool, report: StepCallback = lambda done, total: None, waiting: Callable[[], None] = lambda: None
    ) -> WheelResult:
        """Raises BuildError and SdopsError. ``waiting`` is called before another builder may be waited for."""
        entry = find_cached_wheel(self.key, self.caches)
        if entry or not build:
            return WheelResult(entry, False, self._trouble())
        waiting()
        with self._locks():
            entry = find_cached_wheel(self.key, self.caches)  # another one may have built it meanwhile
            if entry:
                return WheelResult(entry, False, self._trouble())
            return WheelResult(self._make(report), True, self._trouble())

    def stop(self) -> None:
        if self._build:
            self._build.stop()

    def _trouble(self) -> list[str]:
        return sorted({line for cache in self.caches for line in cache.trouble})

    def _locks(self) -> ContextManager[Any]:
        """The cache's against other hosts; the tree is this host's, and has the cache's lock around it."""
        return self.caches[0].lock(self.key) if self.caches else contextlib.nullcontext()

    def _make(self, report: StepCallback) -> CachedWheel:
        request, here = self.request, machine()
        environment = check_tools(request.python, self.facts.cuda, request.cuda_home, self._work(), here)
        environment.update(
            build_variables(
                request.capabilities, request.max_jobs or jobs(here), request.gpu_visible, bool(self.facts.cuda)
            )
        )
        before = self._versions()
        self._build = Build(BuildSpec(request.python, request.source, request.sha256, environment, self._work()))
        wheel = self._build.run(report)
        after = self._versions()
        if after != before:
            raise BuildError(
                "While xformers was built, the environment changed: {}. The wheel was thrown away; run the role sd_webui again.".format(
                    ", ".join(f"{n} from {before[n]} to {after[n]}" for n in PROTECTED if before[n] != after[n])
                )
            )
        entry = self.caches[0].publish(wheel, self.key)
        self._build.clean()
        return entry

    def _versions(self) -> dict[str, str | None]:
        found = inspect_environment(self.request.python)["distributions"]
        return {name: found.get(name, {}).get("version") for name in PROTECTED}

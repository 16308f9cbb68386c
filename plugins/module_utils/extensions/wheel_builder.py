# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages that nobody publishes as a wheel: built once, and kept where other environments and hosts find them."""

from __future__ import annotations

import glob
import os
import tempfile

from ..errors import SdopsError, WheelChangedError
from ..process import run
from ..python_env.environment import run_probe
from ..python_env.names import normalize_name
from ..wheel_cache import BuildKey, Cache

# a wheel runs where the C library is not older than where it was built
HERE = """
import json, platform, sys, sysconfig
lib, version = platform.libc_ver()
print(json.dumps({"python": "cp%d%d" % sys.version_info[:2],
                  "platform": "%s-%s%s" % (sysconfig.get_platform().replace("-", "_"), lib or "libc", version)}))
"""


def built(
    requirement: str, python: str, directories: list[str], environment: dict[str, str], state_file: str | None = None
) -> str | None:
    """Directory with a wheel of ``requirement`` ("name==version"), built now if no cache has it.

    None when it cannot be built or kept: the installer then tries by itself, and tells what is wrong. Raises WheelChangedError
    when a cache has another wheel than the one in ``state_file`` (see Cache).
    """
    name, _separator, version = requirement.partition("==")
    if not version or not directories:
        return None
    key = BuildKey(normalize_name(name), version, "", None, capabilities=(), **run_probe(python, HERE, "its platform"))
    caches = [Cache(directory, state_file) for directory in directories]
    try:
        os.makedirs(caches[0].directory, exist_ok=True)
        with caches[0].lock(key):
            for cache in caches:
                found = cache.find(key)
                if found:
                    return os.path.dirname(found.path)
            with tempfile.TemporaryDirectory(prefix="sdops-built-") as work:
                argv = [python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", work, requirement]
                done = run(argv, env=environment)
                wheels = glob.glob(os.path.join(work, "*.whl"))
                if done.rc != 0 or len(wheels) != 1:
                    return None
                return os.path.dirname(caches[0].publish(wheels[0], key).path)
    except WheelChangedError:
        raise
    except (OSError, SdopsError):
        return None

# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pip's configuration files, read as pip reads them: to start pip itself takes half a second of CPU, on each host in each run.

Source: https://pip.pypa.io/en/stable/topics/configuration/ (location, precedence), pip._internal.configuration (spelling of names).
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Mapping


def config_files(prefix: str, environment: Mapping[str, str]) -> list[str]:
    """Paths for a pip in the environment at ``prefix``; a later one has precedence."""
    named = environment.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    home = os.path.expanduser("~")
    system = [
        os.path.join(each, "pip") for each in (environment.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)
    ]
    user = [
        os.path.join(home, ".pip"),
        os.path.join(environment.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "pip"),
    ]
    if named and os.path.exists(named):
        user = []
    files = [os.path.join(directory, "pip.conf") for directory in [*system, "/etc", *user, prefix]]
    return [*files, named] if named else files


def read_pip_config(python: str, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """pip's settings by name, with the section: ``{"global.index-url": ..., "install.timeout": ..., ":env:.proxy": ...}``.

    For the pip of the interpreter ``python``, as ``pip config list`` prints them. Of files one of which pip refuses none counts.
    ``environment``: by default that of this process.
    """
    environment = os.environ if environment is None else environment
    found: dict[str, str] = {}
    try:
        for path in config_files(os.path.dirname(os.path.dirname(python)), environment):
            parser = configparser.RawConfigParser()
            parser.read(path)
            for section in parser.sections():
                found.update((f"{section}.{_normalize(key)}", value) for key, value in parser.items(section))
    except (configparser.Error, UnicodeDecodeError, OSError):
        found.clear()
    for key, value in environment.items():
        if key.startswith("PIP_"):
            found[":env:." + _normalize(key[4:])] = value
    return found


def effective_setting(settings: Mapping[str, str], name: str) -> str:
    """pip's order for ``pip install``: the environment, then [install], then [global]; "" where none has it."""
    return next((settings[k] for s in (":env:", "install", "global") for k in [f"{s}.{name}"] if settings.get(k)), "")


def _normalize(key: str) -> str:
    return re.sub("^--", "", key.lower().replace("_", "-"))

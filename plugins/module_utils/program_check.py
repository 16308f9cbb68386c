# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the programs of a host work, which only trying tells: a request through Xray, an image from the WebUI."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Iterable, Mapping

from .errors import SdopsError
from .webui_api.access import ARGUMENTS, is_listening
from .webui_api.readiness import wait_until_ready
from .xray.diagnosis import proxy_works

BRIEF_WAIT = 20  # seconds that a WebUI gets where nobody waits for it
# options of the module program_check_info
PROGRAM_ARGUMENTS: dict[str, dict[str, Any]] = {
    "proxy": {
        "type": "dict",
        "options": {
            "url": {"type": "str", "required": True},
            "request_urls": {"type": "list", "elements": "str", "required": True},
            "server": {"type": "str"},
            "port": {"type": "int", "default": 443},
            "server_name": {"type": "str"},
            "log_file": {"type": "path"},
            "ca_path": {"type": "path"},
            "timeout": {"type": "int", "default": 15},
            "retries": {"type": "int", "default": 4},
            "delay": {"type": "int", "default": 2},
            "version": {"type": "str", "default": ""},
            "controller_time": {"type": "float"},
        },
    },
    "webui": {
        "type": "dict",
        "options": {
            **ARGUMENTS,
            "url": {"type": "str", "required": True},
            "timeout": {"type": "int", "default": 600},
            "need_model": {"type": "bool", "default": True},
            "log_file": {"type": "path"},
        },
        "required_together": [["program", "supervisor_dir"]],
    },
}
# what a program is under supervisord: its option
PROGRAMS = {"xray": "proxy", "webui": "webui"}


def works_at_once(option: str, params: dict[str, Any]) -> bool:
    """Whether the program with these parameters of ``option`` works, without a second try."""
    with contextlib.suppress(SdopsError, OSError, ValueError):
        if option == "proxy":
            return proxy_works(params)
        return is_listening(params["url"]) and bool(
            wait_until_ready({**params, "timeout": min(params["timeout"], BRIEF_WAIT)})
        )
    return False


def find_broken_program(names: Iterable[str], options: Mapping[str, Any]) -> list[str]:
    """The first of ``options``, validated ones of the module program_check_info, whose program does not work at once, as a list.

    [] where all work. ``names``: of the programs that supervisord has; others are not tried.
    """
    given = [(option, options[option]) for name, option in PROGRAMS.items() if name in names and options.get(option)]
    with ThreadPoolExecutor(max_workers=len(PROGRAMS)) as pool:
        working = list(pool.map(lambda each: works_at_once(*each), given))
    return [option for (option, _params), works in zip(given, working) if not works][:1]

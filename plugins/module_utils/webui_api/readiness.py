# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait for the WebUI that supervisord runs, and for no other."""

from __future__ import annotations

import urllib.parse
from typing import Any, Mapping

from ..procfs import ancestry, port_owners
from ..supervisor.client import DEAD, Supervisor
from .access import connect


def wait_until_ready(params: Mapping[str, Any]) -> dict[str, Any]:
    """``{"seconds", "checkpoint"}`` of the WebUI with the option ``webui`` of program_check_info. Raises SdopsError."""
    port = urllib.parse.urlsplit(params["url"]).port or 80

    def find_obstacle() -> str | None:
        if not params["program"]:
            return None
        info = Supervisor(params["supervisor_dir"]).info(params["program"])
        if info is None or info["statename"] in DEAD:
            return "its process is %s" % (info["statename"] if info else "unknown to supervisord")
        # one that a dead supervisord left behind answers too
        others = [o for o in port_owners([port])[port] if o["pid"] and info["pid"] not in ancestry(o["pid"])]
        if others:
            return "port {} belongs to {} (pid {}), which supervisord did not start".format(
                port, others[0]["command"], others[0]["pid"]
            )
        return None

    webui = connect(dict(params))
    with webui.one_connection():
        return dict(webui.wait_ready(params["timeout"], params["need_model"], params["log_file"], find_obstacle))

# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gets the WebUI's password: only the process that supervisord runs, not whoever has the port."""

from __future__ import annotations

import os
import socket
from typing import Any, Callable
from urllib.parse import urlsplit

from ..errors import SupervisorError, WebuiError
from ..procfs import belongs_to_program, describe_untrusted_peer, runs_only_as
from ..supervisor.client import Supervisor
from .client import Webui, read_credentials

ARGUMENTS: dict[str, dict[str, Any]] = {
    "url": {"type": "str"},
    "credentials_file": {"type": "path"},
    "program": {"type": "str"},
    "supervisor_dir": {"type": "path"},
}
CONNECT_TIMEOUT = 10  # a WebUI that loads a model accepts late


def runs_under_supervisor(program: str, supervisor_dir: str) -> Callable[[int], bool]:
    """A test of process ids: the program under this supervisord, and what it started."""

    def query_pids() -> tuple[int, int]:
        supervisor = Supervisor(supervisor_dir)
        try:
            info = supervisor.info(program)
            return int((info or {}).get("pid") or -1), supervisor.pid()
        except SupervisorError as exc:
            raise WebuiError(str(exc)) from exc

    return lambda pid: belongs_to_program(pid, query_pids)


def runs_as_owner(credentials_file: str) -> Callable[[int], bool]:
    """A test of process ids where no supervisord is known: root's, or of the user whose credentials file it is."""
    users = {0, os.stat(credentials_file).st_uid}
    return lambda pid: runs_only_as(pid, users)


def is_listening(url: str) -> bool:
    """Whether anything has the port of ``url``: a WebUI that starts opens it last."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 80), CONNECT_TIMEOUT):
            return True
    except OSError:
        return False


def connect(params: dict[str, Any]) -> Webui:
    """The WebUI of a module with ``ARGUMENTS``, which sends its credentials to nobody else. Raises WebuiError."""
    if not params["credentials_file"]:
        return Webui(params["url"])
    credentials = read_credentials(params["credentials_file"])
    if params["program"]:
        expected = "the program {} of the supervisord in {}".format(params["program"], params["supervisor_dir"])
        is_trusted = runs_under_supervisor(params["program"], params["supervisor_dir"])
    else:
        expected = "a process of root or of the user who owns {}".format(params["credentials_file"])
        is_trusted = runs_as_owner(params["credentials_file"])

    def check(connection: socket.socket) -> None:
        objection: str | None = describe_untrusted_peer(connection, is_trusted, CONNECT_TIMEOUT)
        if objection:
            raise WebuiError(
                "The credentials were not sent to {}: the other end of the connection {}. It must be {}. Stop what has the "
                "port, and start the WebUI with the playbook start.".format(params["url"], objection, expected)
            )

    return Webui(params["url"], credentials, check=check)

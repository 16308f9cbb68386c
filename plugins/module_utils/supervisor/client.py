# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Talk to a supervisord through its Unix socket, and describe one program to it."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import socket
import time
import unicodedata
import xmlrpc.client
from typing import Any, NamedTuple

from ..errors import SupervisorError
from ..filesystem import read_tail

RUNNING = "RUNNING"
# it will not get better by waiting
DEAD = ("FATAL", "EXITED", "UNKNOWN")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> _UnixConnection:
        return _UnixConnection(self._path)


def _is_readable(text: str) -> bool:
    """Whether a line of supervisor's configuration gives ``text`` back: it strips spaces and takes ; or # after one for a comment."""
    control = any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text)
    return not control and text == text.strip() and not re.search(r"\s[;#]", text)


class Program(NamedTuple):
    """What the ``[program:NAME]`` section says. Times are in seconds, sizes in supervisor's notation ("10MB")."""

    name: str
    command: str
    directory: str
    environment: dict[str, str]
    user: str | None
    autorestart: str
    startsecs: int
    startretries: int
    stopwaitsecs: int
    stopsignal: str
    stdout_logfile: str
    log_maxbytes: str
    log_backups: int
    priority: int
    restart_on: str

    def render(self) -> str:
        """The section. Raises SupervisorError for what supervisor's format cannot hold."""

        def escape(field: str, value: object) -> str:
            text = str(value)
            if not _is_readable(text):
                raise SupervisorError(
                    f"{json.dumps(self.name)}: supervisor cannot hold the {field} {json.dumps(text)}: control "
                    "characters, spaces at an end, and ; or # after a space do not "
                    "survive in its format. Write it without them."
                )
            return text.replace("%", "%%")  # which supervisor expands

        if not re.match(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z", self.name):
            raise SupervisorError(
                f"{json.dumps(self.name)} is no name for a program: letters, digits, dots, hyphens and underscores are allowed."
            )
        for variable, value in self.environment.items():
            if not re.match(r"[A-Za-z_][A-Za-z0-9_]*\Z", variable):
                raise SupervisorError(f"{self.name}: {json.dumps(variable)} is no name for an environment variable.")
            if '"' in str(value) or str(value) != str(value).strip("'"):
                raise SupervisorError(
                    f"{self.name}: supervisor cannot hold the quotes in the environment variable {variable}."
                )
        lines = [
            f"; made by sdops.webui; started with inputs {hashlib.sha256(self.restart_on.encode()).hexdigest()}",
            f"[program:{self.name}]",
            "command={}".format(escape("command", self.command)),
            "directory={}".format(escape("directory", self.directory)),
            "autostart=true",
            "autorestart={}".format(escape("autorestart", self.autorestart)),
            f"startsecs={self.startsecs}",
            f"startretries={self.startretries}",
            f"stopwaitsecs={self.stopwaitsecs}",
            "stopsignal={}".format(escape("stopsignal", self.stopsignal)),
            # a launcher's children have to go with it, or the port stays taken
            "stopasgroup=true",
            "killasgroup=true",
            "redirect_stderr=true",
            "stdout_logfile={}".format(escape("stdout_logfile", self.stdout_logfile)),
            "stdout_logfile_maxbytes={}".format(escape("log_maxbytes", self.log_maxbytes)),
            f"stdout_logfile_backups={self.log_backups}",
            f"priority={self.priority}",
        ]
        if self.user:
            lines.append("user={}".format(escape("user", self.user)))
        if self.environment:
            quoted = (
                '{}="{}"'.format(k, escape("environment variable " + k, v)) for k, v in sorted(self.environment.items())
            )
            lines.append("environment=" + ",".join(quoted))
        return "\n".join(lines) + "\n"


class Supervisor:
    """A supervisord whose files lie in ``directory``: supervisor.sock and conf.d/."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.socket = os.path.join(directory, "supervisor.sock")

    def conf(self, name: str) -> str:
        return os.path.join(self.directory, "conf.d", name + ".conf")

    def _call(self, method: str, *arguments: Any) -> Any:
        proxy = xmlrpc.client.ServerProxy("http://localhost", transport=_UnixTransport(self.socket))
        try:
            return getattr(proxy.supervisor, method)(*arguments)
        except (OSError, http.client.HTTPException) as exc:
            raise SupervisorError(
                f"supervisord does not answer at {self.socket} ({exc}). Run the role base, which starts it."
            ) from exc

    def answers(self) -> bool:
        try:
            self._call("getPID")
        except SupervisorError:
            return False
        return True

    def pid(self) -> int:
        """Process id of supervisord itself."""
        return int(self._call("getPID"))

    def reload(self) -> None:
        """Have supervisord read its own settings again, which restarts all its programs."""
        self._call("restart")

    def wait_for_answer(self, seconds: float) -> int:
        """The process id of supervisord, as soon as it answers. Raises SupervisorError when it does not within ``seconds``."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self.pid()
            except SupervisorError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.2)

    def info(self, name: str) -> dict[str, Any] | None:
        """supervisor's process info (statename, pid, ...), None when it does not know the program."""
        try:
            found: dict[str, Any] = self._call("getProcessInfo", name)
        except xmlrpc.client.Fault:
            return None
        return found

    def programs(self) -> list[dict[str, Any]]:
        """supervisor's process info of each program, in the order of their names."""
        return sorted(self._call("getAllProcessInfo"), key=lambda info: str(info["name"]))

    def _groups(self) -> tuple[list[str], list[str], list[str]]:
        try:
            added, changed, removed = self._call("reloadConfig")[0]
        except xmlrpc.client.Fault as exc:
            raise SupervisorError(f"supervisord refuses its configuration: {exc.faultString}.") from exc
        return added, changed, removed

    def _quietly(self, method: str, *arguments: Any) -> None:
        """Calls whose fault means that there was nothing to do (already stopped, not there)."""
        try:
            self._call(method, *arguments)
        except xmlrpc.client.Fault:
            pass

    def remove(self, name: str) -> None:
        self._groups()
        self._quietly("stopProcessGroup", name, True)
        self._quietly("removeProcessGroup", name)

    def reread(self, name: str) -> None:
        """Take the program's new section over; it is stopped if it ran with an old one. Other programs are left alone."""
        self._groups()
        if self.info(name) is not None:
            self._quietly("stopProcessGroup", name, True)
            self._quietly("removeProcessGroup", name)
        try:
            self._call("addProcessGroup", name)
        except xmlrpc.client.Fault as exc:
            raise SupervisorError(f"supervisord does not take {self.conf(name)}: {exc.faultString}.") from exc

    def start(self, name: str) -> None:
        self._quietly("startProcess", name, False)

    def stop(self, name: str) -> None:
        self._quietly("stopProcess", name, True)

    def wait(self, name: str, seconds: float, logfile: str) -> dict[str, Any]:
        """Wait until the program is RUNNING. Raises SupervisorError with the end of its log when it is not."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.info(name) or {"statename": "UNKNOWN", "spawnerr": "supervisord does not know it"}
            if found["statename"] == RUNNING:
                return found
            if found["statename"] in DEAD or time.monotonic() > deadline:
                raise SupervisorError(
                    "{} is {} and not RUNNING{}. The end of {}:".format(
                        name,
                        found["statename"],
                        " ({})".format(found["spawnerr"]) if found.get("spawnerr") else "",
                        logfile,
                    ),
                    details=read_tail(logfile) or "(empty)",
                )
            time.sleep(0.2)

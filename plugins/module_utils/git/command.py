# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run git: no prompts, ownership settled per command, faults that may pass tried again, credentials kept out of messages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from typing import Any, Dict, List, Optional
from urllib.parse import unquote

from ..errors import SdopsError
from ..process import Completed, run

QUIET = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "true",
    "SSH_ASKPASS": "true",
    "GCM_INTERACTIVE": "never",
    "LC_ALL": "C",
}
# a transfer that has all but stopped is a fault that may pass, not one to wait for: bytes per second, for seconds
SLOW = {"GIT_HTTP_LOW_SPEED_LIMIT": "1000", "GIT_HTTP_LOW_SPEED_TIME": "60"}
PROXIES = ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY")
# what the role xray_proxy marks its proxy in the user's file with: without a proxy in the environment it does not count,
# while one that the user has put there does
OUR_BLOCK = "# BEGIN sdops.webui proxy"
# what git says when asking again, or asking otherwise, does not help
FINAL = (
    "not found",
    "authentication failed",
    "could not read username",
    "could not read password",
    "does not appear to be a git",
    "does not exist",
    "access denied",
    "permission denied",
    "certificate",
    "returned error: 40",
    "not allowed",
    "disk quota",
    "no space left",
)
# what it says when only this way of asking does not help
REFUSED = (
    "not our ref",
    "unadvertised object",
    "filter '",
    "filter-spec",
    "filtering",
    "support shallow",
    "overwritten by checkout",
    "couldn't find remote ref",
)

# what it says of a repository that is not there for us
GONE = ("not found", "could not read username", "does not exist", "does not appear to be a git", "error: 404")


class GitError(SdopsError):
    """A repository cannot be brought to its pin."""


def redact(text: str) -> str:
    """Take user names and passwords out of URLs in ``text``."""
    return re.sub(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/@\s'\"]+@", r"\1", text)


def without_login(url: str) -> str:
    """An http(s) URL without user name and password. That of ssh is no secret, and is needed."""
    return re.sub(r"^(https?://)[^/@\s]+@", r"\1", url)


def secrets_in(url: str) -> List[str]:
    """What has to stay out of results of a URL such as ``https://user:token@host/``."""
    match = re.search(r"https?://([^/@\s]+)@", url)
    if not match:
        return []
    user, unused, password = match.group(1).partition(":")
    return [password or user]


def explain(name: str, url: str, what: str, said: str) -> str:
    """A full sentence for a failed ``what``: the object, the likely cause, the next step."""
    low = said.lower()
    # asked for a name that nobody gives, a private or missing repository "refuses" the empty one
    refused = "authentication failed" in low or "error: 403" in low or "error: 401" in low
    if "not our ref" in low or "unadvertised object" in low or "has no commit" in low:
        cause = "It has no such commit (any more): check the pin, or use a mirror that has kept it."
    elif (refused and not secrets_in(url)) or any(sign in low for sign in GONE):
        cause = (
            "It is gone, has moved or is private (a host that hides repositories asks for a user name instead). Check the URL, "
            "or name a mirror that still has this commit."
        )
    elif refused:
        cause = "It refuses the credentials in the URL: check that they are right, and what they allow."
    elif "certificate" in low:
        cause = (
            "Its TLS certificate is not trusted here: set GIT_SSL_CAINFO to the bundle of your CA (sdops_ca_bundle)."
        )
    elif "could not resolve" in low or "failed to connect" in low or "timed out" in low or "couldn't connect" in low:
        cause = "This host does not reach it: check the proxy (http_proxy, https_proxy), or use a mirror."
    elif "no space left" in low or "disk quota" in low:
        cause = "The disk is full: make room, then run again."
    else:
        cause = "Check the connection (proxy, mirror), then run again: what has arrived is kept."
    return "%s: %s of %s failed. %s git says: %s" % (name, what, redact(url), cause, redact(said).strip())


class Git:
    """git for a set of directories, whoever owns them. Use as a context manager."""

    def __init__(self, directories: List[str], retries: int = 3, program: str = "git") -> None:
        self.program = shutil.which(program) or ""
        self.retries = retries
        self.directories = directories
        self.environment: Dict[str, str] = {}
        self._config = -1
        self._logins: Dict[str, int] = {}  # URL -> file in memory
        self._lock = threading.Lock()

    def __enter__(self) -> Git:
        # git before 2.38 takes safe.directory from files only, so -c does not do: a configuration of our own for the
        # duration, which takes the user's in
        home = os.path.expanduser("~")
        xdg = os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
        own = os.environ.get("GIT_CONFIG_GLOBAL")
        includes = [own] if own else [os.path.join(xdg, "git", "config"), os.path.join(home, ".gitconfig")]
        lines = ["[include]"] + ["\tpath = " + _quoted(path) for path in includes]
        lines += ["[safe]"] + ["\tdirectory = " + _quoted(path) for path in self.directories]
        # git takes a proxy from its files before one from the environment, but it is there that the way out is chosen
        proxy = next((os.environ[name] for name in PROXIES if os.environ.get(name)), "")
        if proxy or any(OUR_BLOCK in _text(path) for path in includes):
            lines += ["[http]", "\tproxy = " + _quoted(proxy)]
        # in memory: a run that is killed leaves nothing behind
        self._config = os.memfd_create("gitconfig")
        os.write(self._config, ("\n".join(lines) + "\n").encode("utf-8"))
        self.environment = {**{k: v for k, v in SLOW.items() if k not in os.environ}, **QUIET}
        self.environment["GIT_CONFIG_GLOBAL"] = "/proc/%d/fd/%d" % (os.getpid(), self._config)
        return self

    def __exit__(self, *unused: Any) -> None:
        for handle in (self._config, *self._logins.values()):
            os.close(handle)

    def log_in(self, url: str) -> str:
        """The URL without its user name and password, which git gets from memory when that server asks for them.

        In the URL they would be in the arguments of git and in ``.git/config`` for everybody to read. Other servers, and the
        user's own keepers of passwords, do not get them.
        """
        bare = without_login(url)
        if bare == url:
            return url
        user, _, password = re.sub(r"^https?://([^/@\s]+)@.*$", r"\1", url).partition(":")
        with self._lock:
            if url not in self._logins:
                handle = self._logins[url] = os.memfd_create("login")
                os.write(handle, ("username=%s\npassword=%s\n" % (unquote(user), unquote(password))).encode("utf-8"))
                helper = '!login() { test "$1" != get || cat /proc/%d/fd/%d; }; login' % (os.getpid(), handle)
                lines = ["[credential %s]" % _quoted(bare), '\thelper = ""', "\thelper = " + _quoted(helper)]
                os.write(self._config, ("\n".join(lines) + "\n").encode("utf-8"))
        return bare

    def _argv(self, where: str, arguments: Any) -> List[str]:
        # one that runs from a hook or another checkout's environment must not end up there
        strip = ["env", "-u", "GIT_DIR", "-u", "GIT_WORK_TREE", "-u", "GIT_INDEX_FILE"]
        return [*strip, self.program, "-c", "advice.detachedHead=false", "-C", where, *arguments]

    def run(self, where: str, *arguments: str, lazy: bool = True) -> Completed:
        """git in ``where``; with ``lazy`` off a partial clone does not fetch what it lacks."""
        environment = self.environment if lazy else {**self.environment, "GIT_ALLOW_PROTOCOL": "none"}
        return run(self._argv(where, arguments), env=environment)

    def blob(self, where: str, name: str) -> Optional[bytes]:
        """Content of a file in a commit (``COMMIT:path``), None when there is none."""
        done = subprocess.run(
            self._argv(where, ["cat-file", "blob", name]),
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        return done.stdout if done.returncode == 0 else None

    @staticmethod
    def hopeless(done: Completed) -> bool:
        """Whether another way of asking would fail as well."""
        low = done.err.lower()
        return done.rc != 0 and any(sign in low for sign in FINAL) and not any(sign in low for sign in REFUSED)

    def network(self, where: str, *arguments: str) -> Completed:
        """A command that talks to the remote, tried again with a growing pause while the fault may pass."""
        done = self.run(where, *arguments)
        for attempt in range(self.retries):
            low = done.err.lower()
            if done.rc == 0 or any(sign in low for sign in FINAL + REFUSED):
                break
            time.sleep(min(2**attempt, 10))
            done = self.run(where, *arguments)
        return done


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except OSError:
        return ""


def _quoted(path: str) -> str:
    return '"%s"' % path.replace("\\", "\\\\").replace('"', '\\"')

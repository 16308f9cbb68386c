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
from typing import Any, BinaryIO
from urllib.parse import unquote

from ..errors import SdopsError
from ..process import Completed, ProcessError, run, run_bytes
from ..safety.secrets import login_secrets
from .settings import FIXED, NOT_TO_OVERRULE, Items, as_text, nested_configs, overrides, parse_list, quoted

QUIET = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "true",
    "SSH_ASKPASS": "true",
    "GCM_INTERACTIVE": "never",
    "GIT_EDITOR": "true",
    "GIT_PAGER": "cat",
    "LC_ALL": "C",
}
# seconds: no command of git may hang a run for ever. The longer one is for those that may talk to a server.
LOCAL_LIMIT = 900
NETWORK_LIMIT = 4 * 3600
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


# one that runs from a hook or another checkout's environment must not end up there
STRIP = ["env", "-u", "GIT_DIR", "-u", "GIT_WORK_TREE", "-u", "GIT_INDEX_FILE"]


class GitError(SdopsError):
    """A repository cannot be brought to its pin."""


def redact(text: str) -> str:
    """Take user names and passwords out of URLs in ``text``."""
    return re.sub(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/?#\s'\"]+@", r"\1", text)


def without_login(url: str) -> str:
    """An http(s) URL without user name and password. That of ssh is no secret, and is needed."""
    return re.sub(r"^(https?://)[^/?#\s]+@", r"\1", url)


def secrets_in(url: str) -> list[str]:
    """What has to stay out of results of a URL such as ``https://user:token@host/``."""
    match = re.search(r"https?://([^/?#\s]+)@", url)
    if not match:
        return []
    return login_secrets(match.group(1))


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
    return f"{name}: {what} of {redact(url)} failed. {cause} git says: {redact(said).strip()}"


class Git:
    """git for a set of directories, whoever owns them. Use as a context manager."""

    def __init__(self, directories: list[str], retries: int = 3, program: str = "git") -> None:
        self.program = shutil.which(program) or ""
        self.retries = retries
        self.directories = directories
        self.environment: dict[str, str] = {}
        self._config = -1
        self._logins: dict[str, int] = {}  # URL -> file in memory
        self._lock = threading.Lock()
        self._protocols = {"https", "ssh"}
        self._trusted: Items = []
        self._overrides: dict[str, list[str]] = {}  # directory -> options of git
        self._umask = -1
        self._proxy: str | None = None  # of the chosen route, None where none was chosen
        self._includes: list[str] = []

    def __enter__(self) -> Git:
        # git before 2.38 takes safe.directory from files only, so -c does not do: a configuration of our own for the
        # duration, which takes the user's in
        home = os.path.expanduser("~")
        xdg = os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
        own = os.environ.get("GIT_CONFIG_GLOBAL")
        includes = [own] if own else [os.path.join(xdg, "git", "config"), os.path.join(home, ".gitconfig")]
        # git takes a proxy from its files before one from the environment, but it is there that the way out is chosen
        proxy = next((os.environ[name] for name in PROXIES if os.environ.get(name)), "")
        chosen = bool(proxy) or any(OUR_BLOCK in _text(path) for path in includes)
        text = self._users_own(chosen)
        self._includes, self._proxy = includes, proxy if chosen else None
        lines = [] if text is not None else ["[include]"] + ["\tpath = " + quoted(path) for path in includes]
        lines += ["[safe]"] + ["\tdirectory = " + quoted(path) for path in self.directories]
        if chosen:
            lines += ["[http]", "\tproxy = " + quoted(proxy)]
        # in memory: a run that is killed leaves nothing behind
        self._config = os.memfd_create("gitconfig")
        os.write(self._config, ((text or "") + "\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))
        self.environment = {**{k: v for k, v in SLOW.items() if k not in os.environ}, **QUIET}
        self.environment["GIT_CONFIG_GLOBAL"] = "/proc/%d/fd/%d" % (os.getpid(), self._config)
        if text is not None:
            self.environment["GIT_CONFIG_NOSYSTEM"] = "1"
        self._umask = os.umask(0o022)  # what root checks out is for others to read and for nobody else to write
        return self

    def _users_own(self, chosen: bool) -> str | None:
        """The user's own settings (system and global) as one file, without those that lead past the ``chosen`` way.

        None when they cannot be read; git itself says what is wrong with them then.
        """
        if not self.program:
            return None
        # of no repository: a directory that is none
        done = run(
            [self.program, "config", "--includes", "--list", "-z"],
            env={**QUIET, "GIT_DIR": "/dev/null"},
            cwd="/",
            timeout=LOCAL_LIMIT,
        )
        if done.rc != 0:
            return None
        self._trusted = parse_list(done.out)
        return as_text(self._trusted, lambda key, value: not _leads_past(key, value, chosen))

    def config_for_programs(self) -> tuple[str, bool]:
        """(text, whether the system's settings are in it) of a global configuration for programs that run git themselves.

        For them whose checkout it is does not matter. It takes the user's files in as they are, and only where something in them
        leads past the chosen route the rest of the settings by value. Their proxy comes from their environment.
        """
        chosen = self._proxy is not None
        ours = any(OUR_BLOCK in _text(path) for path in self._includes)

        def keep(key: str, value: str | None) -> bool:
            return not _leads_past(key, value, chosen) and not (key == "http.proxy" and chosen and not ours)

        by_value = not all(keep(*item) for item in self._trusted)
        if by_value:
            text = as_text(self._trusted, keep)
        else:
            text = "[include]\n" + "".join(f"\tpath = {quoted(path)}\n" for path in self._includes)
        return text + '[safe]\n\tdirectory = "*"\n', by_value

    def version(self) -> tuple[int, ...]:
        """git's version, such as (2, 34, 1); empty when it does not say."""
        said = run([self.program, "version"], timeout=LOCAL_LIMIT).out if self.program else ""
        return tuple(map(int, re.findall(r"\d+", (re.findall(r"\d+(?:\.\d+)+", said) or [""])[0])))

    def __exit__(self, *unused: Any) -> None:
        os.umask(self._umask)
        for handle in (self._config, *self._logins.values()):
            os.close(handle)

    def log_in(self, url: str) -> str:
        """The URL without its user name and password, which git gets from memory when that server asks for them.

        In the URL they would be in the arguments of git and in ``.git/config`` for everybody to read. Other servers, and the
        user's own keepers of passwords, do not get them.
        """
        bare = without_login(url)
        with self._lock:
            self._protocols.add(_protocol(url))
        if bare == url:
            return url
        user, _, password = re.sub(r"^https?://([^/?#\s]+)@.*$", r"\1", url).partition(":")
        with self._lock:
            if url not in self._logins:
                handle = self._logins[url] = os.memfd_create("login")
                os.write(handle, (f"username={unquote(user)}\npassword={unquote(password)}\n").encode())
                os.write(self._config, as_text(self._login_items(url), lambda *unused: True).encode("utf-8"))
        return bare

    def _options(self, where: str) -> list[str]:
        """Options under which git runs no program that the checkout ``where`` names."""
        with self._lock:
            if where not in self._overrides:
                self._overrides[where] = self._look(where)
            return self._overrides[where]

    def _look(self, where: str) -> list[str]:
        listed = ["config", "--includes", "--list", "-z"]
        found: Items = []
        for scope in ("--local", "--worktree"):
            found += parse_list(self._run(where, _as_options(FIXED.items()), [*listed, scope], LOCAL_LIMIT).out)
        inside = self._run(where, _as_options(FIXED.items()), ["rev-parse", "--absolute-git-dir"], LOCAL_LIMIT).out
        if inside.strip() and os.path.exists(os.path.join(where, ".git")):
            if dict(found).get("core.worktree") is not None:
                raise GitError(
                    f"{where} has core.worktree in its .git/config: its files lie in another directory, which is not ours to write in. "
                    f"Remove the setting ('git -C {where} config --unset core.worktree'), or move the checkout away."
                )
            for path in nested_configs(where, inside.strip()):
                found += parse_list(self._run("/", [], [*listed, "--file", path], LOCAL_LIMIT).out)
        items = overrides(found, self._trusted)
        if self._proxy is not None and "@" not in self._proxy:  # arguments are for everybody to read
            items += [(key, self._proxy) for key, _ in found if _is_proxy(key) and "=" not in key]
        fixed = [key for key, _ in items if "=" in key] + [key for key, _ in found if NOT_TO_OVERRULE.match(key)]
        if fixed:
            raise GitError(
                f"{where} has the setting {fixed[0]} in its .git/config, which would have git run a program or trust a server that the "
                "checkout names, and which cannot be overruled. Nothing was touched. Remove it (what is yours belongs in "
                "~/.gitconfig), or move the checkout away."
            )
        if any(key == "credential.helper" for key, _ in items):
            items += [(key, value) for key, value in self._login_settings() if key.endswith(".helper")]
        return _as_options([*FIXED.items(), *items])

    def _login_settings(self) -> Items:
        return [item for url in self._logins for item in self._login_items(url)]

    def _login_items(self, url: str) -> Items:
        helper = '!login() { test "$1" != get || cat /proc/%d/fd/%d; }; login' % (os.getpid(), self._logins[url])
        key = f"credential.{without_login(url)}.helper"
        return [(key, ""), (key, helper)]

    def _run(self, where: str, options: list[str], arguments: Any, limit: float, **more: str) -> Completed:
        environment = {**self.environment, "GIT_ALLOW_PROTOCOL": ":".join(sorted(self._protocols)), **more}
        try:
            return run([*STRIP, self.program, *options, "-C", where, *arguments], env=environment, timeout=limit)
        except ProcessError as exc:
            raise GitError(f"git {arguments[0]} in {where}: {exc} Run again; what has arrived is kept.") from exc

    def run(self, where: str, *arguments: str, lazy: bool = True) -> Completed:
        """git in ``where``; with ``lazy`` off a partial clone does not fetch what it lacks. Raises GitError when it hangs."""
        more = {} if lazy else {"GIT_ALLOW_PROTOCOL": "none"}
        return self._run(where, self._options(where), arguments, NETWORK_LIMIT if lazy else LOCAL_LIMIT, **more)

    def blob(self, where: str, name: str) -> bytes | None:
        """Content of a file in a commit (``COMMIT:path``), None when there is none. Raises GitError for more than MOST_OUT bytes."""
        argv = [*STRIP, self.program, *self._options(where), "-C", where, "cat-file", "blob", name]
        environment = {**self.environment, "GIT_ALLOW_PROTOCOL": ":".join(sorted(self._protocols))}
        try:
            code, out, _err = run_bytes(argv, environment, timeout=NETWORK_LIMIT)
        except ProcessError as exc:
            raise GitError(f"{name} in {where} could not be read: {exc}") from exc
        return out if code == 0 else None

    def begins_with(self, where: str, name: str, content: BinaryIO) -> bool:
        """Whether a file in a commit (``COMMIT:path``) begins with ``content``; both may be larger than memory."""
        process = subprocess.Popen(
            [*STRIP, self.program, *self._options(where), "-C", where, "cat-file", "blob", name],
            env={**os.environ, **self.environment, "GIT_ALLOW_PROTOCOL": ":".join(sorted(self._protocols))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        stop = threading.Timer(NETWORK_LIMIT, process.kill)
        stop.start()
        try:
            wanted: BinaryIO = process.stdout  # type: ignore[assignment]
            blocks = iter(lambda: content.read(1 << 20), b"")
            if not all(wanted.read(len(block)) == block for block in blocks):
                return False
            while wanted.read(1 << 20):  # to its end, so that the exit status tells whether it is there at all
                pass
            return process.wait() == 0
        finally:
            stop.cancel()
            process.kill()
            process.wait()
            wanted.close()

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


def _as_options(items: Any) -> list[str]:
    return [word for key, value in items for word in ("-c", key if value is None else f"{key}={value}")]


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except OSError:
        return ""


def _protocol(url: str) -> str:
    """The protocol of a URL as GIT_ALLOW_PROTOCOL names it; only those that the user may ask for, else https."""
    scheme = url.partition("://")[0].lower() if "://" in url else "file" if os.path.isabs(url) else "ssh"
    return scheme if scheme in ("http", "file") else "https"


def _host(url: str) -> str:
    match = re.match(r"^(?:[a-z+]+://)?(?:[^/]*@)?([^/:]*)", url, re.I)
    return match.group(1).lower() if match else ""


def _is_proxy(key: str) -> bool:
    return re.match(r"^(http|remote)\.(.+\.)?proxy$", key, re.S) is not None


def _leads_past(key: str, value: str | None, chosen: bool) -> bool:
    """Whether a setting of the user sends git another way than the one that was chosen for it."""
    if _is_proxy(key) and key != "http.proxy":
        return chosen
    match = re.match(r"^url\.(.+)\.insteadof$", key, re.S)
    if not match:
        return False
    # another spelling of the same host (with a login, by ssh) is how the user gets in there
    other = match.group(1)
    return _host(other) != _host(value or "") or (chosen and not other.startswith("http"))

# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run git: no prompts, ownership trusted per command, faults that may pass tried again, credentials kept out of messages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from typing import Any, BinaryIO

from ..errors import GitError, ProcessError
from ..process import Completed, run, run_bytes
from ..urls import redact_logins, split_login, url_login_secrets, without_login
from .settings import (
    FIXED_SETTINGS,
    NOT_OVERRIDABLE,
    Settings,
    override_programs,
    parse_settings,
    quote_value,
    render_settings,
    submodule_configs,
)

NONINTERACTIVE_ENV = {
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
STALL_LIMITS = {"GIT_HTTP_LOW_SPEED_LIMIT": "1000", "GIT_HTTP_LOW_SPEED_TIME": "60"}
PROXY_VARIABLES = ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY")
# what the role xray_proxy marks its proxy in the user's file with: without a proxy in the environment it does not count,
# while one that the user has put there does
PROXY_BLOCK = "# BEGIN sdops.webui proxy"
# what git prints when neither a retry nor another request helps
PERMANENT_ERRORS = (
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
# what it prints when another request may help
REJECTED_REQUEST_ERRORS = (
    "not our ref",
    "unadvertised object",
    "filter '",
    "filter-spec",
    "filtering",
    "support shallow",
    "overwritten by checkout",
    "couldn't find remote ref",
)

# what it prints for a repository that does not exist, or not for this user
NOT_FOUND_ERRORS = (
    "not found",
    "could not read username",
    "does not exist",
    "does not appear to be a git",
    "error: 404",
)


# one that runs from a hook or another checkout's environment must not end up there
CLEAN_ENV_COMMAND = ["env", "-u", "GIT_DIR", "-u", "GIT_WORK_TREE", "-u", "GIT_INDEX_FILE"]


def explain_failure(name: str, url: str, what: str, output: str) -> str:
    """A full sentence for a failed ``what``: the object, the likely cause, the next step."""
    low = output.lower()
    # asked for a name that nobody gives, a private or missing repository "refuses" the empty one
    is_denied = "authentication failed" in low or "error: 403" in low or "error: 401" in low
    if "not our ref" in low or "unadvertised object" in low or "has no commit" in low:
        cause = "It has no such commit (any more): check the pin, or use a mirror that has kept it."
    elif (is_denied and not url_login_secrets(url)) or any(sign in low for sign in NOT_FOUND_ERRORS):
        cause = (
            "It is gone, has moved or is private (a host that hides repositories asks for a user name instead). Check the URL, "
            "or name a mirror that still has this commit."
        )
    elif is_denied:
        cause = "It refuses the credentials in the URL: check that they are right, and what they allow."
    elif "certificate" in low:
        cause = (
            "Its TLS certificate is not trusted here: set GIT_SSL_CAINFO to the bundle of your CA (sdops_ca_bundle)."
        )
    elif "could not resolve" in low or "failed to connect" in low or "timed out" in low or "couldn't connect" in low:
        cause = "This host does not reach it: check the proxy (http_proxy, https_proxy), or use a mirror."
    elif "no space left" in low or "disk quota" in low:
        cause = "The disk is full: free space, then run again."
    else:
        cause = "Check the connection (proxy, mirror), then run again: what has arrived is kept."
    return f"{name}: {what} of {redact_logins(url)} failed. {cause} git says: {redact_logins(output).strip()}"


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
        self._trusted: Settings = []
        self._overrides: dict[str, list[str]] = {}  # directory -> options of git
        self._umask = -1
        self._proxy: str | None = None  # of the chosen route, None where none was chosen
        self._includes: list[str] = []

    def __enter__(self) -> Git:
        # git before 2.38 takes safe.directory from files only, so -c does not do: a configuration of our own for the
        # duration, which takes the user's in
        home = os.path.expanduser("~")
        xdg = os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
        user_config = os.environ.get("GIT_CONFIG_GLOBAL")
        includes = (
            [user_config] if user_config else [os.path.join(xdg, "git", "config"), os.path.join(home, ".gitconfig")]
        )
        # git takes a proxy from its files before one from the environment, but the environment is where the route is chosen
        proxy = next((os.environ[name] for name in PROXY_VARIABLES if os.environ.get(name)), "")
        chosen = bool(proxy) or any(PROXY_BLOCK in _text(path) for path in includes)
        text = self._user_settings(chosen)
        self._includes, self._proxy = includes, proxy if chosen else None
        lines = [] if text is not None else ["[include]"] + ["\tpath = " + quote_value(path) for path in includes]
        lines += ["[safe]"] + ["\tdirectory = " + quote_value(path) for path in self.directories]
        if chosen:
            lines += ["[http]", "\tproxy = " + quote_value(proxy)]
        # in memory: a run that is killed leaves nothing behind
        self._config = os.memfd_create("gitconfig")
        os.write(self._config, ((text or "") + "\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))
        self.environment = {**{k: v for k, v in STALL_LIMITS.items() if k not in os.environ}, **NONINTERACTIVE_ENV}
        self.environment["GIT_CONFIG_GLOBAL"] = f"/proc/{os.getpid()}/fd/{self._config}"
        if text is not None:
            self.environment["GIT_CONFIG_NOSYSTEM"] = "1"
        self._umask = os.umask(0o022)  # what root checks out is for others to read and for nobody else to write
        return self

    def _user_settings(self, chosen: bool) -> str | None:
        """The user's own settings (system and global) as one file, without those that bypass the ``chosen`` route.

        None when they cannot be read; git itself says what is wrong with them then.
        """
        if not self.program:
            return None
        # of no repository: a directory that is none
        done = run(
            [self.program, "config", "--includes", "--list", "-z"],
            env={**NONINTERACTIVE_ENV, "GIT_DIR": "/dev/null"},
            cwd="/",
            timeout=LOCAL_LIMIT,
        )
        if done.rc != 0:
            return None
        self._trusted = parse_settings(done.out)
        return render_settings(self._trusted, lambda key, value: not _bypasses_route(key, value, chosen))

    def config_for_programs(self) -> tuple[str, bool]:
        """(text, whether the system's settings are in it) of a global configuration for programs that run git themselves.

        For them whose checkout it is does not matter. It takes the user's files in as they are, and only where something in them
        bypasses the chosen route the rest of the settings by value. Their proxy comes from their environment.
        """
        chosen = self._proxy is not None
        is_managed = any(PROXY_BLOCK in _text(path) for path in self._includes)

        def is_kept(key: str, value: str | None) -> bool:
            return not _bypasses_route(key, value, chosen) and not (key == "http.proxy" and chosen and not is_managed)

        by_value = not all(is_kept(*item) for item in self._trusted)
        if by_value:
            text = render_settings(self._trusted, is_kept)
        else:
            text = "[include]\n" + "".join(f"\tpath = {quote_value(path)}\n" for path in self._includes)
        return text + '[safe]\n\tdirectory = "*"\n', by_value

    def version(self) -> tuple[int, ...]:
        """git's version, such as (2, 34, 1); empty when it does not say."""
        output = run([self.program, "version"], timeout=LOCAL_LIMIT).out if self.program else ""
        return tuple(map(int, re.findall(r"\d+", (re.findall(r"\d+(?:\.\d+)+", output) or [""])[0])))

    def __exit__(self, *unused: Any) -> None:
        os.umask(self._umask)
        for handle in (self._config, *self._logins.values()):
            os.close(handle)

    def log_in(self, url: str) -> str:
        """The URL without its user name and password, which git gets from memory when that server asks for them.

        In the URL they would be in the arguments of git and in ``.git/config`` for everybody to read. Other servers, and the
        user's own keepers of passwords, do not get them.
        """
        loginless = without_login(url)
        with self._lock:
            self._protocols.add(_protocol(url))
        if loginless == url:
            return url
        user, password = split_login(url)
        with self._lock:
            if url not in self._logins:
                handle = self._logins[url] = os.memfd_create("login")
                os.write(handle, f"username={user}\npassword={password}\n".encode())
                os.write(self._config, render_settings(self._login_items(url), lambda *unused: True).encode("utf-8"))
        return loginless

    def _options(self, directory: str) -> list[str]:
        """Options under which git runs no program that the checkout ``where`` names."""
        with self._lock:
            if directory not in self._overrides:
                self._overrides[directory] = self._find_overrides(directory)
            return self._overrides[directory]

    def _find_overrides(self, directory: str) -> list[str]:
        listed = ["config", "--includes", "--list", "-z"]
        found: Settings = []
        for scope in ("--local", "--worktree"):
            found += parse_settings(
                self._run(directory, _as_options(FIXED_SETTINGS.items()), [*listed, scope], LOCAL_LIMIT).out
            )
        inside = self._run(
            directory, _as_options(FIXED_SETTINGS.items()), ["rev-parse", "--absolute-git-dir"], LOCAL_LIMIT
        ).out
        if inside.strip() and os.path.exists(os.path.join(directory, ".git")):
            if dict(found).get("core.worktree") is not None:
                raise GitError(
                    f"{directory} has core.worktree in its .git/config: its files lie in another directory, where nothing is written. "
                    f"Remove the setting ('git -C {directory} config --unset core.worktree'), or move the checkout away."
                )
            for path in submodule_configs(directory, inside.strip()):
                found += parse_settings(self._run("/", [], [*listed, "--file", path], LOCAL_LIMIT).out)
        items = override_programs(found, self._trusted)
        if self._proxy is not None and "@" not in self._proxy:  # arguments are for everybody to read
            items += [(key, self._proxy) for key, _value in found if _is_proxy(key) and "=" not in key]
        fixed = [key for key, _value in items if "=" in key] + [
            key for key, _value in found if NOT_OVERRIDABLE.match(key)
        ]
        if fixed:
            raise GitError(
                f"{directory} has the setting {fixed[0]} in its .git/config, which would have git run a program or trust a server that the "
                "checkout names, and which cannot be overruled. Nothing was touched. Remove it (what is yours belongs in "
                "~/.gitconfig), or move the checkout away."
            )
        if any(key == "credential.helper" for key, _value in items):
            items += [(key, value) for key, value in self._login_settings() if key.endswith(".helper")]
        return _as_options([*FIXED_SETTINGS.items(), *items])

    def _login_settings(self) -> Settings:
        return [item for url in self._logins for item in self._login_items(url)]

    def _login_items(self, url: str) -> Settings:
        file = f"/proc/{os.getpid()}/fd/{self._logins[url]}"
        helper = f'!login() {{ test "$1" != get || cat {file}; }}; login'
        key = f"credential.{without_login(url)}.helper"
        return [(key, ""), (key, helper)]

    def _run(
        self,
        directory: str,
        options: list[str],
        arguments: Any,
        limit: float,
        text_in: str | None = None,
        **more: str,
    ) -> Completed:
        environment = {**self.environment, "GIT_ALLOW_PROTOCOL": ":".join(sorted(self._protocols)), **more}
        try:
            return run(
                [*CLEAN_ENV_COMMAND, self.program, *options, "-C", directory, *arguments],
                env=environment,
                timeout=limit,
                text_in=text_in,
            )
        except ProcessError as exc:
            raise GitError(f"git {arguments[0]} in {directory}: {exc} Run again; what has arrived is kept.") from exc

    def run(self, directory: str, *arguments: str, lazy: bool = True) -> Completed:
        """git in ``where``; with ``lazy`` off a partial clone does not fetch what it lacks. Raises GitError when it hangs."""
        more = {} if lazy else {"GIT_ALLOW_PROTOCOL": "none"}
        return self._run(directory, self._options(directory), arguments, NETWORK_LIMIT if lazy else LOCAL_LIMIT, **more)

    def feed(self, directory: str, text: str, *arguments: str) -> Completed:
        """git with ``text`` on its standard input; fetches nothing. Raises GitError when it hangs."""
        options = self._options(directory)
        return self._run(directory, options, arguments, LOCAL_LIMIT, text, GIT_ALLOW_PROTOCOL="none")

    def blob(self, directory: str, name: str) -> bytes | None:
        """Content of a file in a commit (``COMMIT:path``), None when there is none. Raises GitError for more than MAX_STDOUT bytes."""
        argv = [*CLEAN_ENV_COMMAND, self.program, *self._options(directory), "-C", directory, "cat-file", "blob", name]
        environment = {**self.environment, "GIT_ALLOW_PROTOCOL": ":".join(sorted(self._protocols))}
        try:
            code, out, _err = run_bytes(argv, environment, timeout=NETWORK_LIMIT)
        except ProcessError as exc:
            raise GitError(f"{name} in {directory} could not be read: {exc}") from exc
        return out if code == 0 else None

    def begins_with(self, directory: str, name: str, content: BinaryIO) -> bool:
        """Whether a file in a commit (``COMMIT:path``) begins with ``content``; both may be larger than memory."""
        process = subprocess.Popen(
            [*CLEAN_ENV_COMMAND, self.program, *self._options(directory), "-C", directory, "cat-file", "blob", name],
            env={**os.environ, **self.environment, "GIT_ALLOW_PROTOCOL": ":".join(sorted(self._protocols))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        stop = threading.Timer(NETWORK_LIMIT, process.kill)
        stop.start()
        try:
            blob: BinaryIO = process.stdout  # type: ignore[assignment]
            blocks = iter(lambda: content.read(1 << 20), b"")
            if not all(blob.read(len(block)) == block for block in blocks):
                return False
            while blob.read(1 << 20):  # to its end, so that the exit status tells whether it is there at all
                pass
            return process.wait() == 0
        finally:
            stop.cancel()
            process.kill()
            process.wait()
            blob.close()

    @staticmethod
    def is_permanent_failure(done: Completed) -> bool:
        """Whether another request would fail as well."""
        low = done.err.lower()
        return (
            done.rc != 0
            and any(sign in low for sign in PERMANENT_ERRORS)
            and not any(sign in low for sign in REJECTED_REQUEST_ERRORS)
        )

    def network(self, directory: str, *arguments: str) -> Completed:
        """A command that talks to the remote, tried again with a growing pause while the fault may pass."""
        done = self.run(directory, *arguments)
        for attempt in range(self.retries):
            low = done.err.lower()
            if done.rc == 0 or any(sign in low for sign in PERMANENT_ERRORS + REJECTED_REQUEST_ERRORS):
                break
            time.sleep(min(2**attempt, 10))
            done = self.run(directory, *arguments)
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


def _bypasses_route(key: str, value: str | None, chosen: bool) -> bool:
    """Whether a setting of the user sends git along another route than the chosen one."""
    if _is_proxy(key) and key != "http.proxy":
        return chosen
    match = re.match(r"^url\.(.+)\.insteadof$", key, re.S)
    if not match:
        return False
    # another spelling of the same host (with a login, by ssh) is how the user gets in there
    other = match.group(1)
    return _host(other) != _host(value or "") or (chosen and not other.startswith("http"))

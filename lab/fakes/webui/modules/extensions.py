"""Extensions: directories under extensions-builtin/ and extensions/, and what git says about the latter."""

from __future__ import annotations

import os
import subprocess

from modules import errors, launch_utils, shared
from modules.paths_internal import extensions_builtin_dir, extensions_dir


class Extension:
    def __init__(self, name: str, path: str, enabled: bool, is_builtin: bool) -> None:
        self.name, self.path, self.enabled, self.is_builtin = name, path, enabled, is_builtin
        self.remote: str | None = None
        self.branch: str | None = None
        self.commit_hash = self.version = ""
        self.commit_date: int | None = None

    def _git(self, *args: str) -> str:
        command = [launch_utils.git, "-C", self.path, *args]
        return subprocess.check_output(command, encoding="utf8", stderr=subprocess.PIPE).strip()

    def read_info_from_repo(self) -> None:
        """Remote, commit and branch. A checkout that is on no branch counts as unreadable, as in the original: it loads
        like any other, but the API does not list it."""
        if self.is_builtin or not os.path.exists(os.path.join(self.path, ".git")):
            return
        try:
            remote = self._git("remote", "get-url", "origin")
            self.commit_hash, date = self._git("log", "-1", "--format=%H %ct").split()
            self.commit_date, self.version = int(date), self.commit_hash[:8]
            self.branch = self._git("symbolic-ref", "--short", "HEAD")
            self.remote = remote
        except Exception:
            errors.report(f"Failed reading extension data from Git repository ({self.name})", exc_info=True)


extensions: list[Extension] = []


def list_extensions() -> None:
    extensions.clear()
    flags, setting = shared.cmd_opts, shared.opts.disable_all_extensions
    if flags.disable_all_extensions:
        print('*** "--disable-all-extensions" arg was used, will not load any extensions ***')
    elif setting == "all":
        print('*** "Disable all extensions" option was set, will not load any extensions ***')
    elif flags.disable_extra_extensions:
        print('*** "--disable-extra-extensions" arg was used, will only load built-in extensions ***')
    elif setting == "extra":
        print('*** "Disable all extensions" option was set, will only load built-in extensions ***')
    for root in (extensions_builtin_dir, extensions_dir):
        for name in sorted(os.listdir(root)) if os.path.isdir(root) else []:
            path = os.path.join(root, name)
            if os.path.isdir(path):
                enabled = name not in shared.opts.disabled_extensions
                extensions.append(Extension(name, path, enabled, root == extensions_builtin_dir))


def active() -> list[Extension]:
    flags, setting = shared.cmd_opts, shared.opts.disable_all_extensions
    if flags.disable_all_extensions or setting == "all":
        return []
    builtin_only = flags.disable_extra_extensions or setting == "extra"
    return [entry for entry in extensions if entry.enabled and (entry.is_builtin or not builtin_only)]

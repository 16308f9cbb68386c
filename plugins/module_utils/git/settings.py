# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings under which git runs nobody's programs but the user's own.

A checkout may belong to somebody else, and its ``.git/config`` names programs that git runs (git-config(1)). What is given with
``-c`` wins over it. What the user of this process has set for himself (system and global configuration) stays.
"""

from __future__ import annotations

import glob
import os
import re
from typing import Callable, List, Optional, Tuple

# whatever the checkout says
FIXED_SETTINGS = {
    "advice.detachedHead": "false",
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    "core.pager": "cat",
    "core.alternateRefsCommand": "true",
    "log.showSignature": "false",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    # a pack is there as a whole or not at all; of loose objects, a fetch that is cut leaves the commit without its files
    "fetch.unpackLimit": "1",
    # gc.recentObjectsHook
    "gc.auto": "0",
    "maintenance.auto": "false",
}
# keys (as git lists them: lower case but for the middle part) that name a program and are replaced by what the user has, else by
# the second column
PROGRAM_SETTINGS = (
    (re.compile(r"^filter\..+\.(clean|smudge|process)$", re.S), ""),
    (re.compile(r"^filter\..+\.required$", re.S), "false"),
    (re.compile(r"^core\.sshcommand$"), "ssh"),
    (re.compile(r"^diff\.(.+\.)?(external|command|textconv)$", re.S), ""),
    (re.compile(r"^merge\..+\.driver$", re.S), ""),
    (re.compile(r"^(core\.(editor|askpass|gitproxy)|sequence\.editor|gpg\.(.+\.)?program)$", re.S), "false"),
    # no programs: a login would go to whoever answers, and cookies into any file that root can write
    (re.compile(r"^http\.(.+\.)?sslverify$", re.S), "true"),
    (re.compile(r"^http\.(.+\.)?savecookies$", re.S), "false"),
)
# Nothing can take the place of these: of several uploadpacks git takes the first, conditions come true while we work (a branch, a
# remote's URL), another CA has no default to go back to, and what git-lfs runs it reads for itself (git-lfs-config(5)).
NOT_OVERRIDABLE = re.compile(
    r"^(remote\..+\.uploadpack|includeif\.(onbranch|hasconfig):.+|http\.(.+\.)?sslca(info|path)|"
    r"lfs\.(customtransfer|extension)\..+|lfs\.(.+\.)?standalonetransferagent)$",
    re.S,
)
REPOSITORY_FILES = ("config", "config.worktree", "commondir")  # of a repository (gitrepository-layout(5))
CREDENTIAL_HELPER = re.compile(r"^credential\.(.+\.)?helper$", re.S)
Settings = List[Tuple[str, Optional[str]]]


def parse_settings(text: str) -> Settings:
    """``[(key, value)]`` of ``git config --list -z``; the value is None for a key without one."""
    items: Settings = []
    for entry in text.split("\0"):
        key, newline, value = entry.partition("\n")
        if key:
            items.append((key, value if newline else None))
    return items


def override_programs(local: Settings, trusted: Settings) -> Settings:
    """Settings that take the place of the programs that ``local`` (a checkout's configuration) names.

    ``trusted``: what the user has set for himself. The user's own credential helpers count again after the checkout's.
    """
    user_values: dict[str, str | None] = dict(trusted)
    found: Settings = []
    for key in sorted({key for key, _value in local}):
        for pattern, instead in PROGRAM_SETTINGS:
            if pattern.match(key):
                found.append((key, user_values.get(key, instead)))
    if any(CREDENTIAL_HELPER.match(key) for key, _value in local):
        found.append(("credential.helper", ""))
        found += [(key, value) for key, value in trusted if CREDENTIAL_HELPER.match(key)]
    return found


def submodule_configs(work_tree: str, git_dir: str) -> list[str]:
    """Configuration files of the submodules of a checkout, wherever their repositories lie."""
    inner = os.path.join(glob.escape(git_dir), "modules", "**")
    repositories = {
        os.path.dirname(path)
        for name in REPOSITORY_FILES
        for path in glob.glob(os.path.join(inner, name), recursive=True)
    }
    for directory, names, files in os.walk(work_tree):
        if directory != work_tree and ".git" in names + files:
            inside = os.path.join(directory, ".git")
            if os.path.isfile(inside):
                inside = os.path.join(directory, _first_bytes(inside).partition("gitdir:")[2].strip())
            repositories.add(inside)
        if ".git" in names:
            names.remove(".git")
    for inside in list(repositories):  # a linked work tree's repository lies elsewhere
        repositories.add(os.path.join(inside, _first_bytes(os.path.join(inside, "commondir")).strip()))
    found = {os.path.join(inside, name) for inside in repositories for name in REPOSITORY_FILES[:2]}
    return sorted({os.path.realpath(path) for path in found if os.path.isfile(path)})


def _first_bytes(path: str) -> str:
    """The beginning of a file, which holds no more than a path; "" where there is none."""
    if not os.path.isfile(path):
        return ""
    with open(path, encoding="utf-8", errors="surrogateescape") as handle:
        return handle.read(8192)


def render_settings(items: Settings, is_kept: Callable[[str, str | None], bool]) -> str:
    """The items that ``keep`` wants as a configuration file."""
    lines = []
    for key, value in items:
        if not is_kept(key, value):
            continue
        section, _dot, rest = key.partition(".")
        middle, _dot, name = rest.rpartition(".")
        lines.append("[{}{}]".format(section, " " + quote_value(middle) if middle else ""))
        lines.append("\t" + name if value is None else f"\t{name} = {quote_value(value)}")
    return "".join(line + "\n" for line in lines)


def quote_value(text: str) -> str:
    """``text`` as a value or a middle part in a configuration file."""
    for raw, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t")):
        text = text.replace(raw, escaped)
    return f'"{text}"'

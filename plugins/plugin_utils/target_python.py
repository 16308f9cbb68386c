# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Python a host has, which one the running ansible-core can use, and how one is made: tables and shell scripts.

Nothing here needs a Python on the host: the scripts are for /bin/sh.
"""

from __future__ import annotations

import re
import shlex
from typing import Any, Callable, Mapping, NamedTuple, Sequence

from ansible import constants

from ..module_utils.conda.engines import CONDA_DIRECTORIES, ENGINE_NAMES, ca_variables
from ..module_utils.urls import redact_url

# what python_bootstrap returns where it has made no Python
NOTHING_MADE = {"changed": False, "actions": [], "would_create": False, "diff": {"before": "", "after": ""}}
DISCOVERY_MODES = ("", "auto", "auto_silent", "auto_legacy", "auto_legacy_silent")
INSTALL_VERSION = (3, 11)  # of a Python that is made, where the running ansible-core supports it
BOOTSTRAP_LIMIT = 1800  # seconds that one way to make a Python may take
# (ansible-core, oldest, newest Python of hosts): https://docs.ansible.com/ansible/latest/reference_appendices/release_and_maintenance.html
CORE_SUPPORT = (
    ("2.19", (3, 8), (3, 13)),
    ("2.20", (3, 9), (3, 14)),
    ("2.21", (3, 9), (3, 14)),
    ("2.22", (3, 9), (3, 15)),
)
# Directories in which interpreters are looked for, as patterns of the shell, in this order: the system's first, since packages of the
# distribution belong to it
INTERPRETER_NAMES = ("python3", "python3.[1-9][0-9]", "python3.[0-9]", "python")
SYSTEM_DIRECTORIES = ("/usr/bin", "/usr/local/bin")
OTHER_DIRECTORIES = ("~/.pyenv/versions/*/bin", "/opt/python*/bin", "~/.local/share/uv/python/*/bin")
CONDA_DIRECTORY, STANDALONE_DIRECTORY = "conda", "standalone"  # below the directory of the Python that is made
APT_OPTIONS = (
    "-q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=1 -o Acquire::http::Timeout=15 -o Acquire::https::Timeout=15"
)

# Prints "python VERSION ok|incomplete PATH" for each interpreter up to the first one that fits; where none does, what could make one:
# "conda PROGRAM", "tool NAME", "uid N", "machine NAME".
SEARCH_SCRIPT = r"""
seen=" "
try() {
  [ -f "$1" ] && [ -x "$1" ] || return 1
  real=$(readlink -f "$1" 2>/dev/null || echo "$1")
  case "$seen" in *" $real "*) return 1;; esac
  seen="$seen$real "
  state=ok
  text=$("$1" -c 'import sys; sys.stdout.write("%%d.%%d.%%d %%s" %% (sys.version_info[:3] + (sys.executable,)))
import json, ssl, zipfile' 2>/dev/null </dev/null) || state=incomplete
  version=${text%%%% *}; path=${text#* }
  [ -n "$text" ] || { version=0.0.0; path=$1; }
  echo "python $version $state $path"
  minor=${version#3.}; minor=${minor%%%%.*}
  case "$version" in 3.*) [ "$state" = ok ] && [ "$minor" -ge %(oldest)d ] && [ "$minor" -le %(newest)d ];; *) return 1;; esac
}
search() {
  for pattern in %(system)s; do try "$pattern" && return; done
  try "$(command -v python3)" && return
  [ -n "$CONDA_PREFIX" ] && try "$CONDA_PREFIX/bin/python" && return
  program=$(command -v conda || echo "$CONDA_EXE")
  [ -n "$program" ] && try "$(dirname "$(dirname "$program")")/bin/python" && return
  for pattern in %(others)s; do try "$pattern" && return; done
  return 1
}
echo sdops-begin
if ! search; then
  for name in %(engines)s; do program=$(command -v $name) && echo "conda $program"; done
  [ -x "$CONDA_EXE" ] && echo "conda $CONDA_EXE"
  for program in %(programs)s; do [ -x "$program" ] && echo "conda $program"; done
  for name in apt-get curl wget tar gzip sha256sum; do command -v $name >/dev/null && echo "tool $name"; done
  echo "uid $(id -u)"
  echo "machine $(uname -m)"
fi
echo sdops-end
"""
CONDA_SCRIPT = r"""
set -e
rm -rf -- %(prefix)s
mkdir -p -- %(path)s
status=0
%(limit)s env -u CI %(program)s create --yes --quiet %(channels)s --prefix %(prefix)s python=%(version)s </dev/null >&2 || status=$?
[ "$status" = 0 ] || rm -rf -- %(prefix)s
exit "$status"
"""
# python3 first: it is the system's own; then python3.N as Ubuntu has them beside it
APT_SCRIPT = r"""
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
%(limit)s apt-get %(options)s update >&2 </dev/null
for package in python3 %(packages)s; do
  version=$(apt-cache policy "$package" | sed -n 's/^ *Candidate: \([0-9]*:\)\{0,1\}//p')
  case "$version" in 3.*) ;; *) continue;; esac
  minor=${version#3.}; minor=${minor%%%%[!0-9]*}
  [ "$minor" -ge %(oldest)d ] && [ "$minor" -le %(newest)d ] || continue
  %(limit)s apt-get %(options)s install -y --no-install-recommends "$package" "$package-venv" >&2 </dev/null
  exit
done
echo "E: no package source of this host has Python %(range)s" >&2
exit 1
"""
DOWNLOAD_SCRIPT = r"""
set -e
mkdir -p -- %(path)s
if command -v curl >/dev/null; then %(limit)s curl -fsSL --connect-timeout 15 --retry 2 --speed-limit 1024 --speed-time 60 -o %(archive)s -- %(url)s
else %(limit)s wget -q -T 60 -t 3 -O %(archive)s -- %(url)s; fi
"""
UNPACK_SCRIPT = r"""
set -e
trap 'rm -rf -- %(archive)s %(prefix)s.new' EXIT
echo "%(sha256)s  "%(archive)s | sha256sum -c - >/dev/null 2>&1 || { echo "what was downloaded is not the file with the SHA-256 %(sha256)s" >&2; exit 1; }
rm -rf -- %(prefix)s %(prefix)s.new
mkdir -p -- %(prefix)s.new
tar -xzf %(archive)s -C %(prefix)s.new --strip-components 1
mv -- %(prefix)s.new %(prefix)s
"""


class Interpreter(NamedTuple):
    """A Python on the host. ``complete``: whether it has the parts of the standard library that modules need."""

    path: str
    version: tuple[int, int, int]
    complete: bool

    def __str__(self) -> str:
        if self.version[0] == 0:
            return f"{self.path} (does not start)"
        return "{} ({}{})".format(self.path, ".".join(map(str, self.version)), "" if self.complete else ", incomplete")


class PythonRange(NamedTuple):
    """The Pythons of hosts that an ansible-core supports: ``(3, 9)`` to ``(3, 14)``."""

    oldest: tuple[int, int]
    newest: tuple[int, int]

    def __contains__(self, version: Any) -> bool:
        return self.oldest <= tuple(version[:2]) <= self.newest

    def __str__(self) -> str:
        return "{}.{} to {}.{}".format(*self.oldest, *self.newest)


class HostPythons(NamedTuple):
    """What SEARCH_SCRIPT found. All but ``interpreters`` is empty where one of them fits."""

    interpreters: list[Interpreter]
    conda_programs: list[str]
    tools: set[str]
    uid: str
    machine: str

    def select(self, supported: PythonRange) -> Interpreter | None:
        """The first that is supported; else the first newer one, which ansible-core does not refuse."""
        complete = [python for python in self.interpreters if python.complete]
        newer = [python for python in complete if python.version[:2] > supported.newest]
        return next((python for python in complete if python.version in supported), newer[0] if newer else None)


class BootstrapMethod(NamedTuple):
    """One way to make a Python: ``label`` for people, scripts one after the other, and a URL that the controller downloads first."""

    label: str
    scripts: list[str]
    controller_url: str = ""


class BootstrapOptions(NamedTuple):
    """Where a Python may be made, and from what. ``sha256`` is by machine (``x86_64``), which replaces ``{arch}`` in ``url``."""

    path: str
    url: str
    sha256: dict[str, str]
    conda_channel: str
    system_packages: bool
    ca_path: str | None


def parse_range(names: Sequence[str]) -> PythonRange:
    """The range that a list of interpreters such as ansible-core's INTERPRETER_PYTHON_FALLBACK stands for."""
    minors = [int(found.group(1)) for name in names for found in [re.fullmatch(r"python3\.(\d+)", str(name))] if found]
    return PythonRange((3, min(minors)), (3, max(minors)))


def supported_pythons() -> PythonRange:
    """The Pythons of hosts that the running ansible-core supports: those that it looks for unless a user has set others."""
    return parse_range(constants.config.get_configuration_definition("INTERPRETER_PYTHON_FALLBACK")["default"])


def python_result(path: str) -> dict[str, str]:
    """What python_bootstrap returns about the Python at ``path``."""
    return {"python": path, "minimum_version": "{}.{}".format(*supported_pythons().oldest)}


def configured_interpreter(variables: Mapping[str, Any], template: Callable[[Any], Any]) -> str:
    """What the user has set as the interpreter, in the inventory or ansible.cfg; "" for nothing, or one of the modes of discovery."""
    value = str(template(constants.config.get_config_value("INTERPRETER_PYTHON", variables=variables)) or "").strip()
    return "" if value in DISCOVERY_MODES else value


def search_script(supported: PythonRange, path: str) -> str:
    """``path``: directory of a Python that was made by an earlier run."""
    made = [f"{path}/{CONDA_DIRECTORY}/bin/python", f"{path}/{STANDALONE_DIRECTORY}/bin/python3"]
    others = [f"{each}/python" for each in CONDA_DIRECTORIES] + [f"{each}/python3" for each in OTHER_DIRECTORIES]
    return SEARCH_SCRIPT % {
        "oldest": supported.oldest[1],
        "newest": supported.newest[1],
        "system": " ".join(f"{directory}/{name}" for directory in SYSTEM_DIRECTORIES for name in INTERPRETER_NAMES),
        "others": " ".join([*others, *map(shlex.quote, made)]),
        "engines": " ".join(ENGINE_NAMES),
        "programs": " ".join(f"{directory}/{name}" for directory in CONDA_DIRECTORIES for name in ENGINE_NAMES),
    }


def parse_search(text: str) -> HostPythons | None:
    """What SEARCH_SCRIPT printed; None when it did not run to its end. What a login script prints is left out."""
    unused, begin, rest = text.partition("sdops-begin")
    body, end, unused = rest.partition("sdops-end")
    if not begin or not end:
        return None
    found = HostPythons([], [], set(), "", "")
    for line in body.splitlines():
        kind, unused, value = line.strip().partition(" ")
        if kind == "python":
            version, state, path = value.split(" ", 2)
            major, minor, patch = (int(part) for part in version.split("."))
            found.interpreters.append(Interpreter(path, (major, minor, patch), state == "ok"))
        elif kind == "conda" and value not in found.conda_programs:
            found.conda_programs.append(value)
        elif kind == "tool":
            found.tools.add(value)
        elif kind == "uid":
            found = found._replace(uid=value)
        elif kind == "machine":
            found = found._replace(machine=value)
    return found


def bootstrap_methods(found: HostPythons, supported: PythonRange, options: BootstrapOptions) -> list[BootstrapMethod]:
    """The ways to make a Python that this host has the means for, in the order in which they are tried."""
    limit = f"$(command -v timeout >/dev/null && echo timeout {BOOTSTRAP_LIMIT})"
    quoted = {"path": shlex.quote(options.path), "limit": limit}
    methods = [*_conda_methods(found, supported, options, quoted)]
    if options.system_packages and found.uid == "0" and "apt-get" in found.tools:
        minors = range(supported.newest[1], supported.oldest[1] - 1, -1)
        packages = " ".join(f"python3.{minor}" for minor in minors)
        bounds = {"oldest": supported.oldest[1], "newest": supported.newest[1], "range": supported}
        script = APT_SCRIPT % {**quoted, **bounds, "packages": packages, "options": APT_OPTIONS}
        methods.append(BootstrapMethod("apt-get", [script]))
    methods.extend(_standalone_methods(found, options, quoted))
    environment = "".join(f"export {k}={shlex.quote(v)}\n" for k, v in ca_variables(options.ca_path).items())
    return [method._replace(scripts=[environment + script for script in method.scripts]) for method in methods]


def _conda_methods(
    found: HostPythons, supported: PythonRange, options: BootstrapOptions, quoted: dict[str, str]
) -> list[BootstrapMethod]:
    """With the wanted channel, and then with those that the host itself is configured for: often the near mirror."""
    version = min(max(INSTALL_VERSION, supported.oldest), supported.newest)
    methods = []
    for program in found.conda_programs:
        wanted = f"--override-channels --channel {shlex.quote(options.conda_channel)}"
        for label, channels in (
            (f"{program} with the channel {options.conda_channel}", wanted),
            (f"{program} with the host's own channels", ""),
        ):
            values = {
                "program": shlex.quote(program),
                "channels": channels,
                "prefix": shlex.quote(f"{options.path}/{CONDA_DIRECTORY}"),
                "version": "{}.{}".format(*version),
            }
            methods.append(BootstrapMethod(label, [CONDA_SCRIPT % {**quoted, **values}]))
    return methods


def _standalone_methods(found: HostPythons, options: BootstrapOptions, quoted: dict[str, str]) -> list[BootstrapMethod]:
    """The tarball, downloaded by the host, and then by the controller.

    An address with a secret in it by the controller only, since arguments can be read by all on the host.
    """
    sha256 = options.sha256.get(found.machine, "")
    if not options.url or not sha256 or not {"tar", "gzip", "sha256sum"} <= found.tools:
        return []
    url = options.url.replace("{arch}", found.machine)
    values = {
        **quoted,
        "url": shlex.quote(url),
        "sha256": sha256,
        "archive": shlex.quote(f"{options.path}/python.tar.gz"),
        "prefix": shlex.quote(f"{options.path}/{STANDALONE_DIRECTORY}"),
    }
    unpack = UNPACK_SCRIPT % values
    methods = [BootstrapMethod(f"{redact_url(url)}, downloaded by the controller", [unpack], url)]
    if redact_url(url) == url and found.tools & {"curl", "wget"}:
        methods.insert(0, BootstrapMethod(f"{url}, downloaded by the host", [DOWNLOAD_SCRIPT % values, unpack]))
    return methods


def support_table() -> str:
    """CORE_SUPPORT in one line."""
    return "; ".join(f"{core}: {PythonRange(oldest, newest)}" for core, oldest, newest in CORE_SUPPORT)


def older_core(found: HostPythons, supported: PythonRange) -> str:
    """Which ansible-core would do with what the host has: "ansible-core 2.19 (Python 3.8 to 3.13)"; "" for none."""
    for core, oldest, newest in CORE_SUPPORT:
        bounds = PythonRange(oldest, newest)
        if bounds.oldest < supported.oldest and any(p.complete and p.version in bounds for p in found.interpreters):
            return f"ansible-core {core} (Python {bounds})"
    return ""

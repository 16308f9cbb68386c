# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What types cannot say about the shared variables: every mistake in one go, before the first change."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any, Callable, Dict, List

# These end up in supervisor's configuration, in PATH, in first lines of scripts and in conda, each with another idea of quoting:
# only what none of them takes for anything else.
PLAIN_PATH = re.compile(r"/[\w@+=,./-]*\Z")
# sun_path of AF_UNIX holds 108 bytes with the closing NUL; supervisord first binds to the name with its process id behind it
LONGEST_SOCKET = 107 - len(".4194304")
SOCKET = "/supervisor/supervisor.sock"


def _text(value: Any) -> str:
    if not isinstance(value, str):
        return "must be a text; put it in quotes"
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in value):
        return "holds a line break or another control character; write it on one line (a secret from a pipe often ends in one)"
    return "has spaces around it; take them away" if value != value.strip() else ""


def _path(value: Any) -> str:
    return _text(value) or ("" if value.startswith("/") else "must be an absolute path on the target")


def _plain_path(value: Any) -> str:
    return _path(value) or (
        ""
        if PLAIN_PATH.match(value)
        else "may hold letters, digits and @ + = , . / _ - only: no spaces, no quotes, no other signs"
    )


def _home(value: Any) -> str:
    length = len((value + SOCKET).encode("utf-8", "replace")) if isinstance(value, str) else 0
    return _plain_path(value) or (
        "is too long by %d bytes for supervisord's socket in it; choose a shorter path" % (length - LONGEST_SOCKET)
        if length > LONGEST_SOCKET
        else ""
    )


def _word(value: Any) -> str:
    return _text(value) or ("holds a space; take it away" if re.search(r"\s", value) else "")


def _port(value: Any) -> str:
    good = re.match(r"[0-9]{1,5}\Z", str(value)) and not isinstance(value, bool) and 0 < int(value) < 65536
    return "" if good else "must be a port number from 1 to 65535"


def _capability(value: Any) -> str:
    good = isinstance(value, str) and re.match(r"[0-9]+[.][0-9]\Z", value)
    return "" if good else 'must be a compute capability such as "8.6" (in quotes), not the name of a card'


def _or_empty(rule: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda value: "" if value == "" else rule(value)


def _list_of(rule: Callable[[Any], str]) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            return "must be a list; write it as [first, second]"
        wrong = ["%s %s" % (_shown(each), why) for each in value for why in [rule(each)] if why]
        return "has an entry that cannot be used: " + "; ".join(wrong) if wrong else ""

    return check


RULES: Dict[str, Callable[[Any], str]] = {
    "sdops_home": _home,
    "sdops_data_dir": _plain_path,
    "sdops_cache_dir": _or_empty(_plain_path),
    "sdops_env_prefix": _plain_path,
    "sdops_webui_dir": _plain_path,
    "sdops_webui_data_dir": _plain_path,
    "sdops_user_home": _path,
    "sdops_boot_hook": _or_empty(_path),
    "sdops_profile_dir": _path,
    "sdops_gitconfig": _path,
    "sdops_nvidia_smi": _text,
    "sdops_github": _word,
    "sdops_huggingface_endpoint": _word,
    "sdops_civitai_endpoint": _word,
    "sdops_pip_index_url": _or_empty(_word),
    "sdops_pip_extra_index_urls": _list_of(_word),
    "sdops_conda_channel": _word,
    "sdops_turbo_file": _path,
    "sdops_ca_bundle": _or_empty(_path),
    "sdops_proxy_http_port": _port,
    "sdops_proxy_socks_port": _port,
    "sdops_no_proxy": _list_of(_word),
    "sdops_gpu_capabilities": _list_of(_capability),
}


def _shown(value: Any) -> str:
    """``value`` on one line, shortened, without the login that a URL may hold."""
    text = re.sub(r"://[^/?#\s\"]+@", "://", json.dumps(value, default=str))
    return text if len(text) <= 120 else text[:117] + "..."


def variable_errors(values: Dict[str, Any]) -> List[str]:
    """A sentence for each of ``values`` (by the variables' names, those in RULES) that cannot be used; none when all can."""
    found = []
    for name, rule in RULES.items():
        why = rule(values[name]) if name in values else ""
        if why:
            found.append("%s is %s; it %s." % (name, _shown(values[name]), why))
    if not found and values.get("sdops_proxy_http_port") is not None:
        if str(values["sdops_proxy_http_port"]) == str(values.get("sdops_proxy_socks_port")):
            found.append("sdops_proxy_http_port and sdops_proxy_socks_port are the same; each needs a port of its own.")
    return found

# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""User names and passwords of URLs, written for the programs that read a netrc file."""

from __future__ import annotations

import re
from typing import Iterable
from urllib.parse import urlsplit

from ..errors import LoginError
from ..urls import split_login, without_login


def render_netrc(urls: Iterable[str]) -> str:
    """The content of a netrc file (see ``man 5 netrc``) with the logins in ``urls``; "" when none has one.

    pip, uv and requests read it where NETRC names it. Raises LoginError for what the format cannot hold: white space, quotes,
    backslashes and # in a name or password, or two logins for one host.
    """
    found: dict[str, tuple[str, str]] = {}
    for url in urls:
        plain = without_login(url)
        host = urlsplit(plain).hostname
        if plain == url or not host:
            continue
        login = split_login(url)
        if any(re.search(r"[\s'\"\\#]|[^\x21-\x7e]", word) for word in login):
            raise LoginError(
                f"The login in the URL of {host} holds a character that a netrc file cannot hold (white space, a quote, a backslash, "
                "# or a letter beyond ASCII). Choose another password or token there."
            )
        if found.setdefault(host, login) != login:
            raise LoginError(
                f"There are two different logins for {host}; a netrc file holds one for each host. Use the same one in all URLs."
            )
    return "".join(
        "machine {}\nlogin {}\npassword {}\n".format(host, user or '""', password or '""')
        for host, (user, password) in sorted(found.items())
    )

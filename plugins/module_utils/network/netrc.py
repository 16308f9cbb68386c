# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""User names and passwords in URLs: taken out, and written for the programs that read a netrc file."""

from __future__ import annotations

import re
from typing import Iterable
from urllib.parse import unquote, urlsplit

from ..errors import LoginError

LOGIN = re.compile(r"(https?://)[^/?#\s'\"]+@", re.IGNORECASE)


def without_login(text: str) -> str:
    """``text`` with the user names and passwords of all http(s) URLs in it left out."""
    return LOGIN.sub(r"\1", text)


def netrc(urls: Iterable[str]) -> str:
    """The content of a netrc file (see ``man 5 netrc``) with the logins in ``urls``; "" when none has one.

    pip, uv and requests read it where NETRC names it. Raises LoginError for what the format cannot hold: white space, quotes,
    backslashes and # in a name or password, or two logins for one host.
    """
    found: dict[str, tuple[str, str]] = {}
    for url in urls:
        parts = urlsplit(url if LOGIN.match(url) else "")
        if not parts.hostname:
            continue
        login = (unquote(parts.username or ""), unquote(parts.password or ""))
        if any(re.search(r"[\s'\"\\#]|[^\x21-\x7e]", word) for word in login):
            raise LoginError(
                f"The login in the URL of {parts.hostname} holds a character that a netrc file cannot hold (white space, a quote, a backslash, "
                "# or a letter beyond ASCII). Choose another password or token there."
            )
        if found.setdefault(parts.hostname, login) != login:
            raise LoginError(
                f"There are two different logins for {parts.hostname}; a netrc file holds one for each host. Use the same one in all URLs."
            )
    return "".join(
        "machine {}\nlogin {}\npassword {}\n".format(host, user or '""', password or '""')
        for host, (user, password) in sorted(found.items())
    )

# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep secrets out of what Ansible prints, on every version of it."""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Iterable
from urllib.parse import unquote

from .errors import SdopsError

try:  # ansible-core 2.22 and later mask registered values everywhere
    from ansible.module_utils.secrets import register_secret
except ImportError:
    register_secret = None


# parameters whose values give access, in lower case and without separators: parts of names, and ends of names
_PARTS = re.compile(
    "token(?!i[sz])|secret|signature|passw|passphrase|pwd|credential|authori[sz]|keypair|accesskey|session|jwt|bearer|hmac"
)
_ENDS = re.compile("(?:.*[^a-z])?(?:sig|sign|auth|pass|pw|policy|ticket|code|verify|ak|hdnts|hdnea|hdntl)")
MIN_MASKED_LENGTH = 8  # characters; what is shorter stands in other texts by chance, so it is masked with its name only


def is_secret_parameter(name: str) -> bool:
    """Whether the parameter ``name`` of a URL holds a secret, as X-Amz-Signature, passkey or access_token do."""
    words = re.sub("([a-z])([A-Z])", r"\1-\2", unquote(name)).lower()
    plain = re.sub("[^a-z]", "", words)
    return bool(_PARTS.search(plain) or plain.endswith("key") or _ENDS.fullmatch(words))


def query_secrets(query: str) -> list[str]:
    """What must not be shown of the part of a URL that begins at its first ``?`` or ``#``.

    Secrets are known by the names of their parameters. Each is masked together with its name, and by itself from ``MIN_MASKED_LENGTH``
    characters on; what has no name, with the mark before it.
    """
    found: list[str] = []
    for mark, pair in re.findall("([?#&;])([^?#&;]*)", query):
        name, named, value = pair.partition("=")
        if not named:
            found += [mark + pair] if len(pair) >= MIN_MASKED_LENGTH else []
        elif is_secret_parameter(name):
            found += [pair, *(text for text in sorted({value, unquote(value)}) if len(text) >= MIN_MASKED_LENGTH)]
        elif unquote(value) != value:  # a URL in a URL
            found += query_secrets("&" + unquote(value))
    return found


def login_secrets(login: str) -> list[str]:
    """The same of ``user:password`` or a token in front of a URL's host."""
    user, _colon, password = login.partition(":")
    secret = password or user
    return (
        [login + "@", *(text for text in sorted({secret, unquote(secret)}) if len(text) >= MIN_MASKED_LENGTH)]
        if login
        else []
    )


def clean_token(value: str | None, option: str) -> str | None:
    """The token in ``option`` without white space around it, None for an empty one. Raises SdopsError for what is no token.

    Its characters are those of RFC 6750, section 2.1.
    """
    token = (value or "").strip()
    strange = re.search(r"[^A-Za-z0-9._~+/=-]", token)
    if strange:
        name = unicodedata.name(strange.group(), "a control character")
        raise SdopsError(
            f"{option} holds a character that no token has ({name}, character {strange.start() + 1} of {len(token)}). Copy the token again, "
            "without quotes and spaces."
        )
    return token or None


def mask_secrets(module: Any, values: Iterable[str], public: Iterable[str] = ()) -> None:
    """Mask ``values`` in the results and logs of an AnsibleModule, but for those that are part of what is ``shown``.

    A path that is masked is of no use to the task that follows.
    """
    public_text = "\n".join(public)
    for value in values:
        if value in public_text:
            continue
        module.no_log_values.add(value)
        if register_secret is not None:
            register_secret(value)

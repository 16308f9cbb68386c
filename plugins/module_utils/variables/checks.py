# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with one value of a variable: each check takes the value and gives "must be ...", or "" for a good one."""

from __future__ import annotations

import difflib
import ipaddress
import posixpath
import re
import unicodedata
from typing import Any, Callable

from ..errors import SdopsError
from ..network.proxy_environment import no_proxy_forms
from ..network.routes import SERVICES
from ..urls import format_value, has_login
from ..xray import share_link

# These end up in supervisor's configuration, in PATH, in first lines of scripts, behind env (which takes a word with = for a variable)
# and in conda: only what none of them takes for anything else.
PLAIN_PATH = re.compile(r"/[\w@+,./-]*\Z")
# sun_path of AF_UNIX holds 108 bytes with the closing NUL; supervisord first binds to the name with its process id behind it
MAX_SOCKET_PATH = 107 - len(".4194304")
SOCKET_PATH = "/supervisor/supervisor.sock"
# the kernel's: what is written there is gone with the next start, or not written at all
KERNEL_DIRECTORIES = ("/proc", "/sys", "/dev")
# the system's: what lies below may be ours, the directory itself never
RESERVED_DIRECTORIES = re.compile(
    r"/|/(bin|boot|etc|home|lib|lib32|lib64|libx32|opt|root|run|sbin|tmp|usr|var)"
    r"|/usr/(local/)?(bin|etc|include|lib|lib32|lib64|libexec|local|sbin|share|src)"
    r"|/var/(cache|lib|local|lock|log|mail|opt|run|spool|tmp)|/etc/(profile[.]d|systemd(/system)?)"
)
# which may hold ours beside what is there
SHARED_DIRECTORIES = ("/opt", "/root")
COMMIT_SENTENCE = "must be a full commit id (40 hex digits), because a branch or a tag can move between two runs"

SIZE_PREFIXES = "KMGT"
# the keys of base_required_space
SPACE_PARTS = ("toolbox", "environment", "webui")

Check = Callable[[Any], str]


def text_error(value: Any) -> str:
    if not isinstance(value, str):
        return "must be a text; put it in quotes"
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in value):
        return "holds a line break or another control character; write it on one line (a secret from a pipe often ends in one)"
    return "has spaces around it; take them away" if value != value.strip() else ""


def path_error(value: Any) -> str:
    return text_error(value) or ("" if value.startswith("/") else "must be an absolute path on the target")


def artifacts_dir_error(value: Any) -> str:
    return text_error(value) or (
        ""
        if value.strip("/")
        else "must be a directory of its own on this machine, for passwords and images; take the variable away for the one beside the inventory"
    )


def plain_path_error(value: Any) -> str:
    return path_error(value) or (
        _system_path_error(value)
        if PLAIN_PATH.match(value)
        else "may hold letters, digits and @ + , . / _ - only: no spaces, no quotes, no other signs"
    )


def data_dir_error(value: Any) -> str:
    """Of a directory in which we make some of our own, and which is never removed itself."""
    shared = isinstance(value, str) and posixpath.normpath(value) in SHARED_DIRECTORIES
    return "" if shared else plain_path_error(value)


def _system_path_error(value: str) -> str:
    if ".." in value.split("/"):
        return "holds .., which leads elsewhere where a directory on the way is a link; write the path without it"
    path = posixpath.normpath("/" + value.lstrip("/"))
    kernel = next((top for top in KERNEL_DIRECTORIES if path == top or path.startswith(top + "/")), "")
    if kernel:
        return f"must not be in {kernel}, which is the kernel's and keeps no files; choose a directory on a disk"
    if RESERVED_DIRECTORIES.fullmatch(path):
        return "must not be a directory of the system itself; choose one of its own, such as /opt/sdops or one on the data disk"
    return ""


def home_error(value: Any) -> str:
    length = len((value + SOCKET_PATH).encode("utf-8", "replace")) if isinstance(value, str) else 0
    return plain_path_error(value) or (
        f"is too long by {length - MAX_SOCKET_PATH} bytes for supervisord's socket in it; choose a shorter path"
        if length > MAX_SOCKET_PATH
        else ""
    )


def word_error(value: Any) -> str:
    return text_error(value) or ("holds a space; take it away" if re.search(r"\s", value) else "")


def url_error(value: Any) -> str:
    good = isinstance(value, str) and re.match(r"(?i)https?://[^/?#]*[^/?#@:]|file:///.", value)
    return word_error(value) or (
        "" if good else "must be a URL with https://, http:// or file://, such as https://example.com/path"
    )


def no_proxy_error(value: Any) -> str:
    """Networks of IPv6 are good: they are left out with a warning where a program could not take them."""
    wrong = word_error(value)
    if wrong:
        return wrong
    if "://" in value:
        return "must be the host alone, without what is before and behind it in a URL"
    try:
        known = bool(no_proxy_forms(value) or ipaddress.ip_network(value, strict=False))
    except ValueError:
        known = False
    return "" if known else "must be one host, domain, address or network, such as mirror.example.com or 10.0.0.0/8"


def without_credentials(rule: Check) -> Check:
    """For addresses that are passed to modules and shown in results."""
    return lambda value: (
        rule(value)
        or (
            "holds a login, which others on the host could read; take it away, and give a token by the option that is there for it"
            if has_login(value)
            else ""
        )
    )


def port_error(value: Any) -> str:
    good = re.match(r"[0-9]{1,5}\Z", str(value)) and not isinstance(value, bool) and 0 < int(value) < 65536
    return "" if good else "must be a port number from 1 to 65535"


def parse_size(value: Any) -> int:
    """Bytes of a number, or of a text such as ``500 MB`` (of 1000 to the power of 2 bytes) or ``6 GiB`` (1024 to the power of 3).

    Raises ValueError.
    """
    found = re.fullmatch(rf"\s*(\d+(?:\.\d+)?)\s*(?:([{SIZE_PREFIXES}])(i?))?B?\s*", str(value))
    if not found:
        raise ValueError(
            f"{format_value(value)} is no size. Write a number of bytes, or one with a unit, such as 6 GiB"
        )
    number, prefix, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** (SIZE_PREFIXES.index(prefix) + 1 if prefix else 0))


def required_space_error(value: Any) -> str:
    unknown, wrong = [], []
    for name, size in value.items():
        if name not in SPACE_PARTS:
            close = difflib.get_close_matches(str(name), SPACE_PARTS, n=1)
            hint = f"did you mean {close[0]}?" if close else "there are {}".format(", ".join(SPACE_PARTS))
            unknown.append(f"has the unknown key {format_value(name)} ({hint})")
            continue
        try:
            parse_size(size)
        except (ValueError, OverflowError):
            wrong.append(f"{name} {format_value(size)}")
    sizes = "has sizes that cannot be used: {}; write a number of bytes, or one with a unit, such as 6 GiB"
    return "; ".join([*unknown, *([sizes.format(", ".join(wrong))] if wrong else [])])


def capability_error(value: Any) -> str:
    good = isinstance(value, str) and re.match(r"[0-9]+[.][0-9]\Z", value)
    return "" if good else 'must be a compute capability such as "8.6" (in quotes), not the name of a card'


def token_error(value: Any) -> str:
    good = isinstance(value, str) and re.match(r"[A-Za-z0-9._~+/=-]*\Z", value)  # RFC 6750, 2.1
    return (
        ""
        if good
        else "must be the token alone, without quotes from a text editor, spaces or line breaks in it; copy it again"
    )


def or_empty(rule: Check) -> Check:
    return lambda value: "" if value == "" else rule(value)


def or_one_of(*words: str) -> Callable[[Check], Check]:
    return lambda rule: lambda value: "" if value in words else rule(value)


def matching(pattern: str, sentence: str) -> Check:
    form = re.compile(pattern)
    return lambda value: "" if isinstance(value, str) and form.fullmatch(value) else sentence


def list_of(rule: Check) -> Check:
    def check(value: Any) -> str:
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            return list_error(value)
        wrong = [f"{format_value(each)} {why}" for each in value for why in [rule(each)] if why]
        return "has an entry that cannot be used: " + "; ".join(wrong) if wrong else ""

    return check


def list_error(value: Any) -> str:
    between = r"[,\s]" if "://" in str(value) else r"[,\n]"  # pip's own form of several URLs
    parts = [part.strip() for part in re.split(between, value)] if isinstance(value, str) else []
    example = format_value([part for part in parts if part]) if any(parts) else "[first, second]"
    return f"must be a list; write it as {example}"


def webui_arguments_error(value: Any) -> str:
    # beginnings count too: the WebUI's parser completes them
    for pattern, sentence in (
        (
            r"--(api-a|gradio-au|ngr)[a-z-]*(=.*)?",
            "must not hold --api-auth, --gradio-auth, --gradio-auth-path or --ngrok: credentials in arguments can be read by anyone, and "
            "the WebUI prints them into its log. The role sets a user and a password; for another way in, take an SSH tunnel",
        ),
        (
            r"--(po|now|se|tl|subp|da|ui-s)[a-z-]*(=.*)?",
            "must not hold --port, --nowebui, --server-name, --tls-keyfile, --tls-certfile, --subpath, --data-dir or "
            "--ui-settings-file: the role asks the WebUI at its own address and looks for its settings in their usual place. There are "
            "webui_service_port, webui_service_listen and webui_service_data_dir",
        ),
    ):
        if any(re.fullmatch(pattern, str(each).strip(), re.S) for each in value):
            return sentence
    return ""


def webui_environment_error(value: Any) -> str:
    arguments = (
        "must not hold COMMANDLINE_ARGS; arguments go into webui_service_extra_args, where they are judged before a start"
        if "COMMANDLINE_ARGS" in value
        else ""
    )
    names = [format_value(name) for name in value if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", str(name))]
    values = [
        format_value(name)
        for name, each in value.items()
        if isinstance(each, bool) or not isinstance(each, (str, int, float)) or "\0" in str(each)
    ]
    return "; ".join(
        [
            *([arguments] if arguments else []),
            *(
                ["has names that no variable can have: {}; use letters, digits and _".format(", ".join(names))]
                if names
                else []
            ),
            *(["must have a text (in quotes) or a number as value of {}".format(", ".join(values))] if values else []),
        ]
    )


def repositories_error(value: Any) -> str:
    wrong = [format_value(entry.get("name")) for entry in value if commit_error(entry.get("commit"))]
    return "has a commit that is none, of {}: each {}".format(", ".join(wrong), COMMIT_SENTENCE) if wrong else ""


def by_service(rule: Check) -> Check:
    """A rule for the values of a mapping by the names of services."""

    def check(value: Any) -> str:
        unknown = [
            "has the unknown service {}{}; there are {}".format(
                format_value(name),
                "".join(f" (did you mean {close}?)" for close in difflib.get_close_matches(str(name), SERVICES, n=1)),
                ", ".join(SERVICES),
            )
            for name in value
            if name not in SERVICES
        ]
        wrong = [f"{name} {why}" for name, each in value.items() if name in SERVICES for why in [rule(each)] if why]
        return "; ".join([*unknown, *(["has a value that cannot be used: " + "; ".join(wrong)] if wrong else [])])

    return check


def geo_files_error(value: Any) -> str:
    for number, entry in enumerate(value, 1):
        if not (
            re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*[.]dat", str(entry.get("name")))
            and re.match(r"(https?|file)://\S+\Z", str(entry.get("url")))
            and re.fullmatch(r"[0-9a-fA-F]{64}", str(entry.get("sha256")))
        ):
            return (
                f"needs in entry number {number} a plain name that ends in .dat, a url (https://, http:// or file://) "
                "and its sha256 (64 hex digits)"
            )
    return ""


def hashes_error(value: Any) -> str:
    good = all(re.fullmatch(r"[0-9a-fA-F]{64}", str(each)) for each in value.values())
    return "" if good else "must map names (versions, machines) to SHA-256 (64 hex digits)"


def release_urls_error(value: Any) -> str:
    return list_of(url_error)([value] if isinstance(value, str) else value)


def share_link_error(value: Any) -> str:
    try:
        share_link.parse_share_link(value)
    except SdopsError as exc:
        return "cannot be used. {}".format(str(exc).rstrip("."))
    return ""


def host_name(address: bool) -> Check:
    def check(value: str) -> str:
        if share_link.AMBIGUOUS_LETTERS.search(value):
            return "has a letter that old and new rules for international names read differently; write its xn-- form"
        try:
            if not (address and share_link.is_address(re.sub(r"^\[(.*)\]\Z", r"\1", value))):
                share_link.check_host(value, "")
        except SdopsError:
            return "must be a host name or an IP address and nothing else: no https://, no port, no comma and no space"
        return ""

    return quoted_text(check)


def quoted_text(rule: Check) -> Check:
    """YAML reads a bare 01234567 as a number, and a number has lost its zeros."""

    def check(value: Any) -> str:
        if not isinstance(value, str):
            return "is not a text. Put it in quotes, so that YAML does not take it for a number"
        return rule(value)

    return check


def user_id_error(value: str) -> str:
    good = share_link.UUID.fullmatch(value) or 0 < len(value.encode("utf-8", "replace")) <= share_link.MAX_ID_BYTES
    good = good and not share_link.CONTROL_CHARACTERS.search(value)
    return (
        ""
        if good
        else "must be a UUID (8-4-4-4-12 hex digits) or a text of 30 bytes at most, as the server's config shows it"
    )


def base64url_key(length: int, meaning: str) -> Check:
    form = re.compile(f"[A-Za-z0-9_-]{{{length}}}")
    sentence = f"must be {meaning}, {length} characters of base64url"
    return quoted_text(lambda value: "" if form.fullmatch(share_link.to_base64url(value)) else sentence)


commit_error = matching(r"[0-9a-f]{40}", COMMIT_SENTENCE)
sha256_error = matching(r"[0-9a-fA-F]{64}", "must be a SHA-256 (64 hex digits)")
origin_error = matching(
    r"https?://[^/?#@\s]+",
    "must be an origin, which is http:// or https://, a host, and a port that is not the default one, without a path",
)

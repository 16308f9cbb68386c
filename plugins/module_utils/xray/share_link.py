# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``vless://`` share links of VLESS over REALITY, read and written.

The form is the share-link proposal of Xray-core (discussion 716): a URL with the user id before the @, parameters that
each stand once and are percent-encoded (so that + is a plus, not a space), and a name behind the #.

A link is a secret as a whole. No error here repeats a value from it, except words of a closed list such as ``type=ws``.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import quote, unquote

from ..errors import ShareLinkError

DEFAULT_PORT = 443
DEFAULT_FINGERPRINT = "chrome"
FLOWS = ("", "xtls-rprx-vision", "xtls-rprx-vision-udp443")

# field of the role, parameter of the link; in the order in which links are written
PARAMETERS = (
    ("encryption", "encryption"),
    ("flow", "flow"),
    ("server_name", "sni"),
    ("fingerprint", "fp"),
    ("public_key", "pbk"),
    ("short_id", "sid"),
    ("mldsa65_verify", "pqv"),
    ("spider_x", "spx"),
)
TRANSPORT_PARAMETERS = ("type", "security", "headerType", "fm")
KNOWN_PARAMETERS = tuple(parameter for _field, parameter in PARAMETERS) + TRANSPORT_PARAMETERS
LINK_FIELDS = ("server", "port", "uuid", "name") + tuple(field for field, _parameter in PARAMETERS)

# values that an error may repeat: they are words of the protocol, nobody's secret
SAFE_VALUES = {
    "type": (
        "ws",
        "websocket",
        "grpc",
        "xhttp",
        "splithttp",
        "httpupgrade",
        "kcp",
        "mkcp",
        "http",
        "h2",
        "quic",
        "hysteria",
    ),
    "security": ("none", "tls", "xtls"),
    "headerType": ("http", "srtp", "utp", "wechat-video", "dtls", "wireguard", "dns"),
    "flow": (
        "xtls-rprx-origin",
        "xtls-rprx-direct",
        "xtls-rprx-splice",
        "xtls-rprx-origin-udp443",
        "xtls-rprx-direct-udp443",
    ),
    "fp": ("unsafe", "hellogolang"),
}
OTHER_SCHEMES = (
    "vmess",
    "trojan",
    "ss",
    "ssr",
    "hysteria",
    "hysteria2",
    "hy2",
    "tuic",
    "socks",
    "socks5",
    "http",
    "https",
)

UUID = re.compile(r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}")  # as Xray reads it
MAX_ID_BYTES = 30  # bytes of a user id that is no UUID; Xray makes one of it
HOST_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
ENCRYPTION = re.compile(r"none|mlkem768x25519plus(\.[A-Za-z0-9_-]+)+")
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# what copying from a chat or a web page leaves around a link, besides white space
INVISIBLE_CHARACTERS = "\ufeff\u200b\u200c\u200d\u200e\u200f\u2060"
# the letters that Python's IDNA (2003) maps to other names than today's IDNA does
AMBIGUOUS_LETTERS = re.compile("[\u00df\u1e9e\u03c2\u200c\u200d]")

UNSUPPORTED_HINT = (
    "The role xray_proxy renders VLESS over REALITY on plain TCP only: use another link of the server, or give a whole "
    "client config in xray_proxy_config instead."
)
COPY_AGAIN_HINT = "Copy the link from the server once more."


def decode_percent(text: str, part: str) -> str:
    """``text`` without percent-encoding."""
    try:
        plain = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ShareLinkError(
            f"The share link's {part} has percent-encoding that is not UTF-8. {COPY_AGAIN_HINT}"
        ) from None
    if CONTROL_CHARACTERS.search(plain):
        raise ShareLinkError(f"The share link's {part} has a control character in it. {COPY_AGAIN_HINT}")
    return plain


def split_query(query: str) -> tuple[dict[str, str], list[str]]:
    """(parameters that mean something here, names of the others). An empty value counts as not given."""
    found: dict[str, str] = {}
    ignored = set()
    for pair in query.split("&"):
        name, _sign, value = pair.partition("=")
        if name.startswith("amp;"):
            raise ShareLinkError(
                f"The share link has &amp; where & belongs: it was copied out of a page's source. {COPY_AGAIN_HINT}"
            )
        if name not in KNOWN_PARAMETERS:
            ignored.add(CONTROL_CHARACTERS.sub("", unquote(name, errors="replace")))
            continue
        value = decode_percent(value, "parameter " + name)
        if found.setdefault(name, value) != value:
            raise ShareLinkError(
                f"The share link has the parameter {name} twice, with different values. {COPY_AGAIN_HINT}"
            )
    return {name: value for name, value in found.items() if value}, sorted(ignored - {""})


def describe_parameter(parameter: str, value: str) -> str:
    """``type=ws``, or only ``type`` where the value is none of the words we know."""
    if value in SAFE_VALUES[parameter]:
        return f"{parameter}={value}"
    return f"a value of {parameter} that is not known here"


def check_transport(parameters: dict[str, str]) -> None:
    """Refuse what the role cannot render."""
    kind = parameters.get("type", "tcp")
    if kind not in ("tcp", "raw"):
        raise ShareLinkError(
            "The share link asks for {}, not type=tcp or type=raw. {}".format(
                describe_parameter("type", kind), UNSUPPORTED_HINT
            )
        )
    security = parameters.get("security")
    if security is None:
        raise ShareLinkError(
            f"The share link has no security=reality, so its server takes no REALITY client. {UNSUPPORTED_HINT}"
        )
    if security != "reality":
        raise ShareLinkError(
            "The share link asks for {}, not security=reality. {}".format(
                describe_parameter("security", security), UNSUPPORTED_HINT
            )
        )
    header = parameters.get("headerType", "none")
    if header != "none":
        raise ShareLinkError(
            "The share link asks for {}, not headerType=none. {}".format(
                describe_parameter("headerType", header), UNSUPPORTED_HINT
            )
        )
    if "fm" in parameters:
        raise ShareLinkError(f"The share link has the parameter fm (FinalMask). {UNSUPPORTED_HINT}")


def check_host(text: str, part: str) -> str:
    """A name in ASCII (``xn--`` where it was not) or an IPv4 address; ``text`` is decoded."""
    if len(text) > 253:
        raise ShareLinkError(
            f"The share link's {part} is longer than a host name can be (253 characters). {COPY_AGAIN_HINT}"
        )
    if AMBIGUOUS_LETTERS.search(text):
        raise ShareLinkError(
            f"The share link's {part} has a letter that old and new rules for international names read differently. Write that "
            "name in its xn-- form."
        )
    name = text
    if not text.isascii():
        try:
            name = text.encode("idna").decode("ascii")
        except ValueError:
            name = ""
    labels = name.split(".")
    good = len(name) <= 253 and all(HOST_LABEL.fullmatch(label) for label in labels)
    if good and labels[-1].isdigit():
        try:
            ipaddress.IPv4Address(name)
        except ValueError:
            good = False
    if not good:
        raise ShareLinkError(f"The share link's {part} is neither a host name nor an IP address. {COPY_AGAIN_HINT}")
    return name


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def split_address(text: str) -> tuple[str, int]:
    """(host without brackets, port) of ``host:port``, ``[2001:db8::1]:port`` or either without the port."""
    if text.startswith("["):
        inner, bracket, rest = text[1:].partition("]")
        try:
            host = str(ipaddress.IPv6Address(decode_percent(inner, "server address"))) if bracket else ""
        except ValueError:
            host = ""
        if not host or "%" in host or (rest and not rest.startswith(":")):
            raise ShareLinkError(
                f"The share link's server address has brackets, but no IPv6 address in them. {COPY_AGAIN_HINT}"
            )
        port = rest[1:]
    else:
        name, _colon, port = text.partition(":")
        if ":" in port:
            raise ShareLinkError(
                "The share link's server address has several colons. An IPv6 address must stand in brackets, as in "
                "[2001:db8::1]:443."
            )
        if not name:
            raise ShareLinkError(f"The share link has no server address behind the @. {COPY_AGAIN_HINT}")
        host = check_host(decode_percent(name, "server address"), "server address")
    if not port:
        return host, DEFAULT_PORT
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise ShareLinkError(
            f"The share link's port (behind the server address) must be a number from 1 to 65535. {COPY_AGAIN_HINT}"
        )
    return host, int(port)


def to_base64url(text: str) -> str:
    """Standard base64 as base64url without padding."""
    return text.rstrip("=").replace("+", "-").replace("/", "_")


def parse_base64url_key(text: str, length: int, parameter: str, meaning: str) -> str:
    """``text`` in base64url without padding, as Xray wants it; standard base64 is converted."""
    key = to_base64url(text)
    if not re.fullmatch(rf"[A-Za-z0-9_-]{{{length}}}", key):
        raise ShareLinkError(
            f"The share link's parameter {parameter} ({meaning}) must be {length} characters of base64url. {COPY_AGAIN_HINT}"
        )
    return key


def require_parameter(parameters: dict[str, str], parameter: str, meaning: str) -> str:
    if parameter not in parameters:
        raise ShareLinkError(f"The share link has no {parameter}, the parameter for {meaning}. {COPY_AGAIN_HINT}")
    return parameters[parameter]


def parse_fields(parameters: dict[str, str], host: str) -> dict[str, Any]:
    """The role's fields that come from parameters."""
    public_key = parse_base64url_key(
        require_parameter(parameters, "pbk", "the REALITY public key"), 43, "pbk", "REALITY public key"
    )
    # the proposal: without sni it is the server's own name
    server_name = parameters.get("sni", "" if is_address(host) else host)
    if not server_name:
        require_parameter(
            parameters, "sni", "the REALITY server name, and its server address is no name that could stand for it"
        )
    short_id = parameters.get("sid", "")
    if not re.fullmatch(r"([0-9a-fA-F]{2}){0,8}", short_id):
        raise ShareLinkError(
            f"The share link's parameter sid (REALITY short id) must be an even number of hex digits, 16 at most. {COPY_AGAIN_HINT}"
        )
    spider_x = parameters.get("spx", "")
    if spider_x and not spider_x.startswith("/"):
        raise ShareLinkError(f"The share link's parameter spx (REALITY spiderX) must start with '/'. {COPY_AGAIN_HINT}")
    fingerprint = parameters.get("fp", DEFAULT_FINGERPRINT)
    if fingerprint.lower() in SAFE_VALUES["fp"]:
        raise ShareLinkError(
            f"The share link asks for fp={fingerprint.lower()}, which REALITY does not allow. Write another one, such as fp=chrome."
        )
    if not re.fullmatch(r"[A-Za-z0-9_]{1,40}", fingerprint):
        raise ShareLinkError(
            f"The share link's parameter fp must be the name of a TLS fingerprint, such as chrome. {COPY_AGAIN_HINT}"
        )
    flow = parameters.get("flow", "")
    if flow not in FLOWS:
        raise ShareLinkError(
            "The share link has {}. VLESS knows the flows xtls-rprx-vision, xtls-rprx-vision-udp443 and none at all. {}".format(
                describe_parameter("flow", flow), COPY_AGAIN_HINT
            )
        )
    encryption = parameters.get("encryption", "none")
    if not ENCRYPTION.fullmatch(encryption):
        raise ShareLinkError(
            "The share link's parameter encryption must be none or start with mlkem768x25519plus, followed by parts of "
            f"base64url with dots between. {COPY_AGAIN_HINT}"
        )
    fields = {
        "public_key": public_key,
        "server_name": check_host(server_name, "parameter sni"),
        "short_id": short_id,
        "fingerprint": fingerprint,
        "spider_x": spider_x,
        "flow": flow,
        "encryption": encryption,
    }
    if "pqv" in parameters:
        fields["mldsa65_verify"] = parse_base64url_key(parameters["pqv"], 2603, "pqv", "ML-DSA-65 key")
    return fields


def strip_scheme(link: Any) -> str:
    """The link without ``vless://`` and without what surrounds it."""
    if not isinstance(link, str):
        raise ShareLinkError("A share link must be text that starts with vless://.")
    text, before = link, None
    while text != before:
        before, text = text, text.strip().strip(INVISIBLE_CHARACTERS)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ShareLinkError(f"The share link has characters that are no valid Unicode. {COPY_AGAIN_HINT}") from None
    scheme, separator, rest = text.partition("://")
    if not text:
        raise ShareLinkError(f"The share link is empty. {COPY_AGAIN_HINT}")
    if not separator or scheme.lower() != "vless":
        if separator and scheme.lower() in OTHER_SCHEMES:
            raise ShareLinkError(f"This is a {scheme.lower()}:// link, not a vless:// link. {UNSUPPORTED_HINT}")
        raise ShareLinkError(
            "A share link must start with vless://. Give one link as the server shows it, not a subscription."
        )
    if CONTROL_CHARACTERS.search(rest):
        raise ShareLinkError(
            "The share link has a line break or a control character in it. Give one link, on one line."
        )
    return rest


def parse_share_link(link: str) -> dict[str, Any]:
    """The role's variables without their prefix, and ``name``, ``ignored`` (names of parameters that mean nothing here).

    ``mldsa65_verify`` is there only when the link has it. The port is 443 and the fingerprint chrome where the link has
    none. Raises ShareLinkError, and nothing else.
    """
    body, _sign, fragment = strip_scheme(link).partition("#")
    if re.search(r"\s", body):
        raise ShareLinkError("The share link has a space in it, before the name. Give one link, in one piece.")
    body, _sign, query = body.partition("?")
    authority, _slash, path = body.partition("/")
    if path:
        raise ShareLinkError(
            f"The share link has a path behind the server address; there is none in a vless:// link. {COPY_AGAIN_HINT}"
        )
    user, at, address = authority.rpartition("@")
    if not at:
        raise ShareLinkError(f"The share link has no @ between the user id and the server address. {COPY_AGAIN_HINT}")
    uuid = decode_percent(user, "user id")
    if not UUID.fullmatch(uuid) and not 0 < len(uuid.encode("utf-8")) <= MAX_ID_BYTES:
        raise ShareLinkError(
            f"The share link's user id (before the @) must be a UUID (8-4-4-4-12 hex digits) or a text of {MAX_ID_BYTES} bytes at most. {COPY_AGAIN_HINT}"
        )
    host, port = split_address(address)
    parameters, ignored = split_query(query)
    check_transport(parameters)
    # a name is for people: whatever it holds, it is no reason to refuse the link
    name = " ".join(CONTROL_CHARACTERS.sub(" ", unquote(fragment, errors="replace")).split())
    return {
        "server": host,
        "port": port,
        "uuid": uuid,
        **parse_fields(parameters, host),
        "name": name,
        "ignored": ignored,
    }


def format_share_link(fields: dict[str, Any]) -> str:
    def text(field: str) -> str:
        value: Any | None = fields.get(field)
        return "" if value is None else str(value)

    server = text("server")
    host = "[{}]".format(quote(server, safe=":")) if ":" in server else quote(server, safe="")
    port = quote(text("port"), safe="") or DEFAULT_PORT
    query = ["type=tcp", "security=reality"]
    query += ["{}={}".format(name, quote(text(field), safe="")) for field, name in PARAMETERS if text(field)]
    link = "vless://{}@{}:{}?{}".format(quote(text("uuid"), safe=""), host, port, "&".join(query))
    return link + ("#" + quote(text("name"), safe="") if text("name") else "")


def build_share_link(fields: dict[str, Any]) -> str:
    """The share link of ``fields`` (the keys that parse_share_link returns; server, uuid and public_key must be there).

    ``ignored`` is not written: what it names has no value here. Raises ShareLinkError.
    """
    unknown = set(fields) - set(LINK_FIELDS) - {"ignored"}
    if unknown:
        raise ShareLinkError(
            "A share link is built from the fields {} only; {} others were given.".format(
                ", ".join(LINK_FIELDS), len(unknown)
            )
        )
    try:
        return format_share_link(parse_share_link(format_share_link(fields)))
    except UnicodeEncodeError:
        raise ShareLinkError("One of the fields for a share link has characters that are no valid Unicode.") from None

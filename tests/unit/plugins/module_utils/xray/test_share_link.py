"""vless:// share links: what is read from them, what is refused, and that no error tells a secret."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.sdops.webui.plugins.filter.vless_link import FilterModule
from ansible_collections.sdops.webui.plugins.module_utils.errors import ShareLinkError
from ansible_collections.sdops.webui.plugins.module_utils.xray.share_link import build_share_link, parse_share_link
from hypothesis import example, given, settings
from hypothesis import strategies as st

UUID = "1b4e28ba-2fa1-41d2-883f-0016d3cca427"
KEY = "dwrjY6KiAMPxKdlF7T4AWFXXBtsxeHCXtBQYeCOdZV4"
SHORT_ID = "6ba85179e30d4fc2"
SECRETS = (UUID, KEY, SHORT_ID)
GIVEN = {"security": "reality", "sni": "www.example.com", "pbk": KEY, "sid": SHORT_ID}


def link(user=UUID, address="xray.example.com:8443", fragment="", extra="", **parameters):
    """A good link, but for what is given; a parameter of None is left out. Values must be encoded already."""
    chosen = {**GIVEN, **parameters}
    query = "&".join(f"{name}={value}" for name, value in chosen.items() if value is not None)
    return f"vless://{user}@{address}?{query}{extra}" + (f"#{fragment}" if fragment else "")


def rejection(text):
    with pytest.raises(ShareLinkError) as caught:
        parse_share_link(text)
    message = str(caught.value)
    for secret in (*SECRETS, UUID.upper(), text):
        assert not secret or secret not in message
    # tracebacks show causes too
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return message


# --- what is read ------------------------------------------------------------------------------------------------
def test_a_whole_link():
    text = link(type="tcp", encryption="none", flow="xtls-rprx-vision", fp="firefox", spx="%2Fa%3Fb", headerType="none")
    assert parse_share_link(text + "&alpn=h2&host=x#Hong%20Kong") == {
        "server": "xray.example.com",
        "port": 8443,
        "uuid": UUID,
        "public_key": KEY,
        "server_name": "www.example.com",
        "short_id": SHORT_ID,
        "fingerprint": "firefox",
        "spider_x": "/a?b",
        "flow": "xtls-rprx-vision",
        "encryption": "none",
        "name": "Hong Kong",
        "ignored": ["alpn", "host"],
    }


def test_what_a_short_link_means():
    fields = parse_share_link(f"vless://{UUID}@xray.example.com?security=reality&pbk={KEY}")
    assert fields["port"] == 443
    assert fields["fingerprint"] == "chrome"
    assert fields["server_name"] == "xray.example.com"
    assert fields["flow"] == fields["short_id"] == fields["spider_x"] == fields["name"] == ""
    assert fields["encryption"] == "none"
    assert "mldsa65_verify" not in fields


@pytest.mark.parametrize("kind", ["tcp", "raw", "", None])
def test_kinds_of_plain_tcp(kind):
    assert parse_share_link(link(type=kind)) == parse_share_link(link())


@pytest.mark.parametrize("around", ["\n{}\n", "  {}\r\n", "\ufeff{}\u200b", "\t{} \u00a0"])
def test_what_copying_leaves_around_a_link(around):
    assert parse_share_link(around.format(link())) == parse_share_link(link())


@pytest.mark.parametrize(
    ("address", "server", "port"),
    [
        ("[2001:db8::1]:8443", "2001:db8::1", 8443),
        ("[2001:DB8:0::1]", "2001:db8::1", 443),
        ("203.0.113.7:1", "203.0.113.7", 1),
        ("example.com:", "example.com", 443),
        ("example.com:65535/", "example.com", 65535),
        ("百度.cn:443", "xn--wxtr44c.cn", 443),
        ("%E7%99%BE%E5%BA%A6.cn", "xn--wxtr44c.cn", 443),
        ("xn--wxtr44c.cn", "xn--wxtr44c.cn", 443),
        ("my_host-1.example.com", "my_host-1.example.com", 443),
    ],
)
def test_addresses(address, server, port):
    fields = parse_share_link(link(address=address))
    assert (fields["server"], fields["port"]) == (server, port)


@pytest.mark.parametrize("user", ["a", "my phone", "x" * 30, "\u9999\u6e2f" * 5])
def test_a_user_id_may_be_a_text_of_thirty_bytes(user):
    assert parse_share_link(link(user=quote(user)))["uuid"] == user


@pytest.mark.parametrize("user", ["", "x" * 31, "\u9999" * 11])
def test_a_longer_one_is_neither(user):
    with pytest.raises(ShareLinkError, match="user id.*30 bytes"):
        parse_share_link(link(user=quote(user)))


def test_a_uuid_without_hyphens_is_one_as_xray_takes_it():
    assert parse_share_link(link(user=UUID.replace("-", "")))["uuid"] == UUID.replace("-", "")


def test_percent_encoding_in_every_part():
    every = "".join(f"%{byte:02X}" for byte in UUID.encode())
    fields = parse_share_link(
        link(user=every, sni="www%2Eexample%2Ecom", sid=quote(SHORT_ID), fragment="%E9%A6%99%E6%B8%AF%20%231")
    )
    assert fields["uuid"] == UUID
    assert fields["server_name"] == "www.example.com"
    assert fields["name"] == "香港 #1"


@pytest.mark.parametrize(
    ("fragment", "name"), [("100% ok", "100% ok"), ("香港 1", "香港 1"), ("%FF", "\ufffd"), ("a%0A%1Bb", "a b")]
)
def test_a_name_is_never_a_reason_to_refuse(fragment, name):
    assert parse_share_link(link(fragment=fragment))["name"] == name


@pytest.mark.parametrize("padding", ["", "=", "%3D", "=="])
@pytest.mark.parametrize("plus", ["+", "%2B", "-"])
@pytest.mark.parametrize("slash", ["/", "%2F", "_"])
def test_public_keys_in_any_base64(padding, plus, slash):
    assert parse_share_link(link(pbk="A" * 41 + plus + slash + padding))["public_key"] == "A" * 41 + "-_"


def test_same_parameter_twice_with_one_value():
    assert parse_share_link(link(extra="&sni=www.example.com&alpn=h2&alpn=h3"))["ignored"] == ["alpn"]


def test_the_ml_dsa_key_and_vless_encryption():
    key = "A" * 2603
    fields = parse_share_link(link(pqv=key + "=", encryption="mlkem768x25519plus.native.0rtt." + KEY))
    assert fields["mldsa65_verify"] == key
    assert fields["encryption"] == "mlkem768x25519plus.native.0rtt." + KEY


# --- what is refused ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["ws", "grpc", "xhttp", "httpupgrade", "kcp", "quic"])
def test_other_transports_are_sent_to_a_whole_config(kind):
    message = rejection(link(type=kind))
    assert f"type={kind}" in message
    assert "xray_proxy_config" in message


@pytest.mark.parametrize("security", ["tls", "none", "xtls"])
def test_other_security_is_sent_to_a_whole_config(security):
    message = rejection(link(security=security))
    assert f"security={security}" in message
    assert "xray_proxy_config" in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (link(security=None), ["security", "xray_proxy_config"]),
        (link(security=UUID), ["security"]),
        (link(type=KEY), ["type"]),
        (link(headerType="http"), ["headerType=http", "xray_proxy_config"]),
        (link(fm="%7B%7D"), ["fm", "xray_proxy_config"]),
        (link(user=UUID[:-1]), ["user id", "UUID"]),
        (link(user=UUID + "%0A"), ["user id", "control"]),
        (link(user=UUID.replace("-", "") + "0"), ["user id", "UUID"]),
        (link(user=UUID + ":" + KEY), ["user id", "UUID"]),
        (link(user="%FF"), ["user id", "UTF-8"]),
        (f"vless://xray.example.com:443?security=reality&pbk={KEY}", ["@"]),
        (link(address=""), ["server address"]),
        (link(address=":443"), ["server address"]),
        (link(address="a:0"), ["port"]),
        (link(address="a:65536"), ["port"]),
        (link(address="a:٤٤٣"), ["port"]),
        (link(address=f"a:{UUID}"), ["port"]),
        (link(address="2001:db8::1"), ["brackets"]),
        (link(address="2001:db8::1:443"), ["brackets"]),
        (link(address="[2001:db8::1"), ["IPv6"]),
        (link(address="[2001:db8::1]443"), ["IPv6"]),
        (link(address="[fe80::1%25eth0]:443"), ["IPv6"]),
        (link(address="[203.0.113.7]"), ["IPv6"]),
        (link(address="203.0.113.700"), ["server address"]),
        (link(address="-a.example.com"), ["server address"]),
        (link(address="a..example.com"), ["server address"]),
        (link(address="a%2Fb"), ["server address"]),
        (link(address="a℀b.com"), ["server address"]),
        (link(address="straße.de"), ["xn--"]),
        (link(address="a" * 300), ["server address", "253"]),
        (link(address="a/path"), ["path"]),
        (link(pbk=None), ["pbk"]),
        (link(pbk=""), ["pbk"]),
        (link(pbk=KEY[:-1]), ["pbk", "43"]),
        (link(pbk=KEY + "A"), ["pbk", "43"]),
        (link(pbk="=" + KEY[1:]), ["pbk", "43"]),
        (link(pbk=KEY + "%0A"), ["pbk"]),
        (link(pqv="A" * 2602), ["pqv", "2603"]),
        (link(sid="abc"), ["sid", "hex"]),
        (link(sid=SHORT_ID + "ab"), ["sid", "hex"]),
        (link(sid="zz"), ["sid", "hex"]),
        (link(spx="a"), ["spx", "'/'"]),
        (link(spx="%2Fa%00"), ["spx", "control"]),
        (link(sni="a b".replace(" ", "%20")), ["sni"]),
        (link(sni=None, address="203.0.113.7:443"), ["sni"]),
        (link(sni=None, address="[2001:db8::1]:443"), ["sni"]),
        (link(fp="unsafe"), ["fp=unsafe"]),
        (link(fp="a%20b"), ["fp"]),
        (link(flow="xtls-rprx-direct"), ["flow=xtls-rprx-direct"]),
        (link(flow=UUID), ["flow"]),
        (link(encryption="aes-128-gcm"), ["encryption"]),
        (link(extra="&sni=other.example.com"), ["sni", "twice"]),
        (link(extra=f"&pbk={'B' * 43}"), ["pbk", "twice"]),
        (link(extra="&sid="), ["sid", "twice"]),
        (link().replace("&", "&amp;"), ["&amp;"]),
        (link().replace("sni=", "sni=\n"), ["line break"]),
        (link().replace("sni=", "sni= "), ["space"]),
        (link(fragment="a") + "\n" + link(), ["one link"]),
        ("", ["empty"]),
        (" \n", ["empty"]),
        (UUID, ["vless://"]),
        ("dmxlc3M6Ly8=", ["vless://"]),
        (f"{UUID}://x", ["vless://"]),
        (link().replace("vless", "vmess", 1), ["vmess://", "xray_proxy_config"]),
        (link(fragment="\ud800"), ["Unicode"]),
    ],
)
def test_what_is_wrong_is_named(text, words):
    message = rejection(text)
    for word in words:
        assert word in message
    assert message[0].isupper() and message.endswith(".")


@pytest.mark.parametrize(
    "name", ["type", "security", "headerType", "flow", "fp", "encryption", "sni", "sid", "spx", "pqv"]
)
@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_in_the_wrong_place_is_not_leaked(name, secret):
    assert name in rejection(link(**{name: secret + "!" * 30}))


@pytest.mark.parametrize("thing", [None, 5, b"vless://", {}, ["vless://"]])
def test_what_is_no_text(thing):
    with pytest.raises(ShareLinkError, match="text"):
        parse_share_link(thing)


# --- building ----------------------------------------------------------------------------------------------------
def test_a_built_link_follows_the_proposal():
    fields = {"server": "百度.cn", "uuid": UUID, "public_key": KEY + "=", "spider_x": "/?a&b", "name": "香港 #1"}
    assert build_share_link(fields) == (
        f"vless://{UUID}@xn--wxtr44c.cn:443?type=tcp&security=reality&encryption=none&sni=xn--wxtr44c.cn&fp=chrome"
        f"&pbk={KEY}&spx=%2F%3Fa%26b#%E9%A6%99%E6%B8%AF%20%231"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"server": ""},
        {"uuid": None},
        {"public_key": None},
        {"port": "443?sid=ab"},
        {"server": "::1]:9?sid=ab&x="},
        {"name": "\ud800"},
        {"secret": UUID},
    ],
)
def test_fields_that_make_no_link(wrong):
    with pytest.raises(ShareLinkError) as caught:
        build_share_link(
            {"server": "a.example.com", "server_name": "a.example.com", "uuid": UUID, "public_key": KEY, **wrong}
        )
    assert UUID not in str(caught.value)


# --- the filter --------------------------------------------------------------------------------------------------
def test_filter_parses_links_and_raises_ansible_errors():
    vless_link = FilterModule().filters()["vless_link"]
    assert vless_link(link()) == parse_share_link(link())
    with pytest.raises(AnsibleFilterError) as caught:
        vless_link(link(type="ws"))
    assert "type=ws" in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


# --- for any text ------------------------------------------------------------------------------------------------
LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
NAMES = st.builds("{}.{}".format, LABELS, st.sampled_from(["example.com", "xn--wxtr44c.cn", "test"]))
ADDRESSES = st.one_of(NAMES, st.ip_addresses().map(str))
BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
VISIBLE = st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])
FIELDS = st.fixed_dictionaries(
    {
        "server": ADDRESSES,
        "port": st.integers(1, 65535),
        "uuid": st.uuids().map(str),
        "public_key": st.text(BASE64URL, min_size=43, max_size=43),
        "server_name": NAMES,
        "short_id": st.binary(min_size=0, max_size=8).map(bytes.hex),
        "fingerprint": st.sampled_from(["chrome", "firefox", "randomizednoalpn"]),
        "spider_x": st.one_of(st.just(""), st.text(VISIBLE, max_size=20).map("/".__add__)),
        "flow": st.sampled_from(["", "xtls-rprx-vision", "xtls-rprx-vision-udp443"]),
        "encryption": st.sampled_from(["none", "mlkem768x25519plus.native.1rtt." + "A" * 43]),
        "name": st.text(VISIBLE, max_size=30).map(lambda text: " ".join(text.split())),
    },
    optional={"mldsa65_verify": st.sampled_from(["A" * 2603, "-_" * 1301 + "z"])},
)


@given(FIELDS)
@settings(max_examples=150, deadline=None)
def test_round_trip_from_fields(fields):
    built = build_share_link(fields)
    assert built.isascii()
    assert parse_share_link(built) == {**fields, "ignored": []}
    assert build_share_link(parse_share_link(built)) == built


# bits of links in any order reach much deeper than random characters do
PIECES = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        [
            "vless://",
            UUID,
            "@",
            "[",
            "]",
            ":",
            "::1",
            ":443",
            "/",
            "?",
            "&",
            "=",
            "#",
            "%",
            "%FF",
            "%C3%A4",
            "%00",
            "\n",
            " ",
        ]
        + [
            "a.example.com",
            "ä.example",
            "xn--",
            ".",
            "security=reality",
            "pbk=" + KEY,
            "sid=",
            SHORT_ID,
            "sni=",
            "spx=/",
        ]
        + ["type=", "ws", "flow=", "fp=", "pqv=", "encryption=", "\ud800", "\u200b", "\u00df", "A" * 64, "。", "٣"]
    ),
)
SCRAMBLED = st.lists(PIECES, max_size=20).map("".join)
TAILS = SCRAMBLED.map(link().__add__)
HEADS = SCRAMBLED.map(lambda text: link(user=UUID, address=text))
LATER = SCRAMBLED.map(lambda text: link(extra="&" + text))


@given(st.one_of(st.text(), SCRAMBLED, SCRAMBLED.map("vless://".__add__), TAILS, HEADS, LATER))
@example("vless://[@]")
@example("vless://" + UUID + "@[::1")
@example("vless://" + UUID + "@" + "." * 5000)
@example("vless://" + UUID + "@" + "\u3002" * 200)
@example("vless://" + " " * 50000 + "x")
@settings(max_examples=600, deadline=None)
def test_any_text_is_parsed_or_rejected(text):
    try:
        fields = parse_share_link(text)
    except ShareLinkError:
        return
    repeated = parse_share_link(build_share_link(fields))
    assert {**repeated, "ignored": fields["ignored"]} == fields


@st.composite
def spoiled(draw):
    """(text, its secrets): a good link with some characters of it changed, lost, doubled or moved."""
    fields = draw(FIELDS.filter(lambda fields: len(fields["short_id"]) >= 8))
    text = build_share_link(fields)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 60)))
        replacement = draw(
            st.one_of(SCRAMBLED, st.just(text[start:end] * 2), st.sampled_from(list(fields.values())).map(str))
        )
        text = text[:start] + replacement + text[end:]
    return text, [fields["uuid"], fields["public_key"], fields["short_id"], text]


@given(spoiled())
@settings(max_examples=500, deadline=None)
def test_no_error_leaks_a_secret(case):
    text, secrets = case
    try:
        parse_share_link(text)
    except ShareLinkError as exc:
        message = str(exc)
        for secret in secrets:
            assert not secret or secret not in message
        # nor a good part of one
        for part in re.findall(r"[0-9a-f]{8}|[A-Za-z0-9_-]{30}", message):
            assert part not in text

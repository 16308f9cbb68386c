"""Where a request goes is decided by urllib3, the oracle here: by its parser, and by the pool that it really opens."""

from __future__ import annotations

import random
import time

import pytest
import urllib3
from ansible_collections.sdops.webui.plugins.module_utils.errors import ConnectionFailedError, TransferError
from ansible_collections.sdops.webui.plugins.module_utils.transfer.http import HttpClient
from ansible_collections.sdops.webui.plugins.module_utils.urls import (
    check_url,
    resolve_redirect,
    url_origin,
)

HUB = ("huggingface.co", "hf.co")
PIECES = [
    *(
        "\\",
        "@",
        "/",
        "?",
        "#",
        ":",
        "%",
        ".",
        "..",
        "//",
        "[",
        "]",
        " ",
        "\t",
        "\n",
        "\r",
        "\0",
        "\x7f",
        "\x85",
        "\xa0",
    ),
    *("%40", "%5c", "%2f", "%00", "%0a", "%e3%80%82", ":443", ":80", ":0", ":", ":99999", ":８４４３", "user@", "u:p@"),
    *(
        "。",
        "．",
        "／",
        "＠",
        "：",
        "？",
        "ß",
        "ı",
        "İ",
        "ﬀ",
        "xn--",
        "\u200b",
        "\u202e",
        "\u2028",
        "\ufeff",
        "é",
        "例え",
    ),
    *(
        "[::1]",
        "[::ffff:1.2.3.4]",
        "[fe80::1%25eth0]",
        "127.1",
        "0x7f.1",
        "2130706433",
        "localhost",
        ";",
        "&",
        ",",
        "=",
        "|",
    ),
]
HOSTS = [
    "huggingface.co",
    "HuggingFace.CO",
    "hf.co",
    "evil.test",
    "huggingface.co.evil.test",
    "civitai.com",
    "127.0.0.1:8443",
]


def mutated(chance: random.Random) -> str:
    """A URL with a few pieces put in or cut out, most often about its host."""
    scheme = chance.choice(["https://", "https://", "http://", "HTTPS://", "https:/", "https:", "//"])
    url = scheme + chance.choice(HOSTS) + chance.choice(["", "/", "/x", "/x?y=z", "?y", "#z"])
    if chance.random() < 0.4:
        url += chance.choice(PIECES) + chance.choice(HOSTS) + "/x"
    for _ in range(chance.randrange(3)):
        at = chance.randrange(len(url) + 1)
        url = url[:at] + chance.choice(PIECES) + url[at + chance.randrange(2) :]
    return url


@pytest.fixture
def pools(monkeypatch) -> list:
    """(scheme, host, port, Authorization) of each connection that urllib3 is about to open; none is."""
    opened = []

    def urlopen(pool, method, url, headers=None, **options):
        opened.append((pool.scheme, pool.host, pool.port, (headers or {}).get("Authorization")))
        raise urllib3.exceptions.ProtocolError("no connection in this test")

    monkeypatch.setattr(urllib3.connectionpool.HTTPConnectionPool, "urlopen", urlopen)
    monkeypatch.setenv("no_proxy", "*")
    return opened


def test_the_origin_is_where_urllib3_goes(pools):
    http = HttpClient(retries=0, timeout=1, tokens={"https://huggingface.co": "secret"})
    chance = random.Random(20261128)
    accepted = rejected = 0
    for _ in range(8000):
        url = mutated(chance)
        pools.clear()
        try:
            own = url_origin(url)
            http.request("GET", url)
        except ConnectionFailedError:
            pass
        except TransferError:
            rejected += 1
            assert pools == [], url  # nothing was sent
            continue
        accepted += 1
        [(scheme, host, port, authorization)] = pools
        parsed = urllib3.util.parse_url(url)
        assert own == (scheme, host, port or {"https": 443, "http": 80}[scheme]), url
        # requests encodes other alphabets first, so the parser is asked what it makes of the same name
        assert own[1] == (parsed.host or "").strip("[]").lower() or not url.isascii(), url
        assert (authorization == "Bearer secret") == (own[0] == "https" and host in HUB and own[2] == 443), url
    assert accepted > 1000
    assert rejected > 1000


@pytest.mark.parametrize(
    "location",
    [
        "{evil}/\\@{hub}/x",
        "{evil}\\@{hub}/x",
        "http://user@{hub}/x",
        "\\\\{hub}/x",
        "/x y",
        "/x\ty",
        "/x\x1b[2J",
        "//u:p@{hub}/x",
    ],
)
def test_a_redirect_that_programs_read_differently_is_not_followed(serve, location):
    evil, seen_by_evil = serve(lambda path, headers: (200, {}, b"mine"))
    hub, seen_by_hub = serve(lambda path, headers: (200, {}, b"ours"))
    there = location.format(evil=evil, hub=hub[len("http://") :])
    source, _seen = serve(lambda path, headers: (302, {"Location": there}, b""))
    with pytest.raises(TransferError):
        HttpClient(retries=0, timeout=2, tokens={hub: "secret"}).request("GET", source + "/x")
    assert seen_by_evil == seen_by_hub == []


def test_a_location_in_utf_8_is_followed(serve):
    here, seen = serve(
        lambda path, headers: (
            (302, {"Location": "/模型".encode().decode("latin-1")}, b"") if path == "/x" else (200, {}, b"ok")
        )
    )
    assert HttpClient(retries=0, timeout=2).request("GET", here + "/x").text == "ok"
    assert seen[1][0] == "/%E6%A8%A1%E5%9E%8B"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://user:hunter2@host.test/x", "user name or password"),
        ("https://host.test\\x", "backslash"),
        ("https://host.test/a b", "white space"),
        ("https://host.test/\x1b", "control character"),
    ],
)
def test_a_url_that_was_given_is_rejected_with_a_reason(url, message):
    with pytest.raises(TransferError, match=message) as caught:
        check_url(url)
    assert "hunter2" not in str(caught.value)


def test_what_urljoin_would_drop_is_seen_before():
    with pytest.raises(TransferError):
        resolve_redirect("https://hub.example/x", "//hub\n.evil.test/")


# --- how much is read of what is no model


def endless(count: list, limit: int):
    """Pieces of 64 KiB, up to ``limit`` bytes; ``count`` is told what was sent."""
    while count[0] < limit:
        count[0] += 1 << 16
        yield b"x" * (1 << 16)


@pytest.mark.parametrize(("status", "most"), [(200, 40 << 20), (302, 8 << 20), (404, 8 << 20), (403, 8 << 20)])
def test_a_body_without_end_is_left(serve, status, most):
    sent = [0]
    here, _seen = serve(
        lambda path, headers: (
            status,
            {"Location": "/x" if status == 302 else None, "Content-Length": str(1 << 40)},
            endless(sent, 1 << 30),
        )
    )
    http = HttpClient(retries=0, timeout=5)
    if status in (200, 302):
        with pytest.raises(TransferError, match="more than 32 MiB" if status == 200 else "circles"):
            http.request("GET", here + "/y")
    else:
        assert len(http.request("GET", here + "/y").content) == 64 << 10
    time.sleep(0.2)
    assert sent[0] < most * (10 if status == 302 else 1)  # buffers of both sides among it; ten redirects are followed


def test_a_small_body_that_becomes_large_is_left(serve):
    import zlib

    pack = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(pack.compress(b"\0" * (1 << 20)) for _ in range(256)) + pack.flush()
    here, _seen = serve(lambda path, headers: (200, {"Content-Encoding": "gzip"}, bomb))
    with pytest.raises(TransferError, match="more than 32 MiB"):
        HttpClient(retries=0, timeout=5).request("GET", here + "/y")

"""Redirects, tokens and messages, against small servers that do one thing each."""

from __future__ import annotations

import threading

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.errors import ConnectionFailedError, TransferError
from ansible_collections.sdops.webui.plugins.module_utils.transfer import responses, retry
from ansible_collections.sdops.webui.plugins.module_utils.transfer.http import HttpClient
from ansible_collections.sdops.webui.plugins.module_utils.urls import redact_url

from lab.ports import free_port

SIGNATURE = "X-Amz-Signature=deadbeefcafe"


def make(**options) -> HttpClient:
    options.setdefault("sleep", lambda seconds: None)
    return HttpClient(**{"retries": 2, "timeout": 2, **options})


def test_a_token_stays_with_its_origin(serve):
    there, seen_there = serve(lambda path, headers: (200, {}, b"ok"))
    here, seen_here = serve(lambda path, headers: (307, {"Location": there + "/file?" + SIGNATURE}, b""))
    answer = make(tokens={here: "secret"}).request("GET", here + "/x")
    assert answer.text == "ok"
    assert seen_here == [("/x", "Bearer secret")]
    assert seen_there == [("/file?" + SIGNATURE, None)]


def test_a_token_is_not_sent_in_the_clear_to_others(monkeypatch):
    http = make(tokens={"http://hub.example": "secret", "https://hub.example": "secret"})
    assert http._headers("http://hub.example/x", {}) == {}
    assert http._headers("https://hub.example/x", {}) == {"Authorization": "Bearer secret"}
    assert http._headers("https://hub.example:8443/x", {}) == {}
    assert http._headers("https://hub.example.evil/x", {}) == {}


@pytest.mark.parametrize(
    ("base", "sister"), [("https://civitai.com", "civitai.red"), ("https://huggingface.co", "hf.co")]
)
def test_one_service_under_several_names_keeps_its_token(base, sister):
    http = make(tokens={base: "secret"})
    assert http._headers(f"https://{sister}/x", {})["Authorization"] == "Bearer secret"
    assert http._headers(f"https://x{sister}/x", {}) == {}
    assert http._headers(f"http://{sister}/x", {}) == {}


def test_netrc_is_not_read(serve, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password other-secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    here, seen = serve(lambda path, headers: (200, {}, b""))
    make().request("GET", here + "/x")
    assert seen == [("/x", None)]


def test_circles_and_downgrades_are_rejected(serve, monkeypatch):
    here, _seen = serve(lambda path, headers: (302, {"Location": "/again"}, b""))
    with pytest.raises(TransferError, match="circles"):
        make().request("GET", here + "/x")

    class Answer:
        status_code = 302
        headers = {"Location": "http://hub.example/x"}
        content = b""

    http = make()
    monkeypatch.setattr(http, "send", lambda *args, **kwargs: Answer())
    with pytest.raises(TransferError, match="away from TLS"):
        http.follow("GET", "https://hub.example/x", {})


def test_retries_wait_as_requested(serve):
    waits = []
    answers = iter(
        [
            (429, {"Retry-After": "7"}, b""),
            (429, {"RateLimit": '"resolvers";r=0;t=41'}, b""),
            (503, {"RateLimit": '"resolvers";r=5;t=41'}, b""),
            (200, {}, b"fine"),
        ]
    )
    here, _seen = serve(lambda path, headers: next(answers))
    assert make(retries=3, sleep=waits.append).request("GET", here).text == "fine"
    assert waits[:2] == [7, 42]
    assert 1 <= waits[2] <= 4


def test_a_date_in_retry_after_is_understood_and_nonsense_is_not(monkeypatch):
    monkeypatch.setattr(retry.time, "time", lambda: 784111777.0 - 20)

    class Answer:
        def __init__(self, value):
            self.headers = {"Retry-After": value}

    assert retry.retry_after(Answer("Sun, 06 Nov 1994 08:49:37 GMT")) == 20
    assert retry.retry_after(Answer("soon")) is None
    assert retry.retry_after(Answer("99999999")) == retry.MAX_RETRY_AFTER


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("http://127.0.0.1:{closed}/m.bin?" + SIGNATURE, {}, "connection refused"),
        ("http://nowhere.invalid/m.bin?" + SIGNATURE, {}, "name cannot be resolved"),
        ("http://127.0.0.1:9/m.bin?" + SIGNATURE, {"proxy": "http://user:hunter2@127.0.0.1:{closed}"}, "the proxy"),
        ("http://[bad/m.bin?" + SIGNATURE, {}, ""),
    ],
)
def test_messages_say_why_and_never_the_signature(url, options, message):
    port = free_port()
    options = {key: value.format(closed=port) for key, value in options.items()}
    with pytest.raises((TransferError, ValueError)) as caught:
        make(retries=0, **options).request("GET", url.format(closed=port))
    text = str(caught.value) + repr(caught.value.__cause__)
    assert message in text
    assert "deadbeef" not in text
    assert "hunter2" not in text


def test_silence_is_named(serve):
    release = threading.Event()

    def answer(path, headers):
        release.wait(5)
        return 200, {}, b""

    here, _seen = serve(answer)
    with pytest.raises(ConnectionFailedError, match="not a byte for 0.3 seconds"):
        make(retries=0, timeout=0.3).request("GET", here + "/x")
    release.set()


class Body:
    def __init__(self, content: bytes) -> None:
        self.content = content


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"error": "Early Access", "message": "Buy it"}', "Early Access; Buy it"),
        (b"<?xml?><Error><Code>AccessDenied</Code><Message>Request has expired</Message><SignatureProvided>deadbeef"
         b"</SignatureProvided></Error>", "AccessDenied: Request has expired"),
        (b"<html><title>Just a moment</title><script>1</script></html>", 'a web page "Just a moment"'),
        (b"see https://x.example/y?token=deadbeef now", "see https://x.example/y now"),
        (b"\xff\xfe" + b"x" * 5000, None),
        (b"", ""),
    ],
)  # fmt: skip
def test_error_message_is_short_and_sanitised(body, expected):
    text = responses.response_summary(Body(body))
    assert len(text) <= 200
    assert "deadbeef" not in text
    assert expected in (None, text)


def test_scrub():
    assert redact_url("https://user:pass@host:1/a/b?c=d#e") == "https://host:1/a/b"


def test_a_missing_ca_bundle_is_named():
    with pytest.raises(TransferError, match="/nowhere/ca.pem"):
        make(ca_path="/nowhere/ca.pem")

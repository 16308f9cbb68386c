"""Whatever a user or a server writes: no traceback, and no message without object, cause and next step.

Inputs are good ones with random changes, by hypothesis. A large run:

    SDOPS_FUZZ_INPUTS=20000 SDOPS_FUZZ_SEED=1 .work/venv/bin/pytest tests/unit/test_random_inputs.py -q -s
"""

from __future__ import annotations

import io
import os
import re
import tempfile
from collections import Counter
from typing import Any

import pytest
import requests
import urllib3
from ansible.errors import AnsibleFilterError
from ansible_collections.sdops.webui.plugins.filter.vless_link import FilterModule as VlessLink
from ansible_collections.sdops.webui.plugins.module_utils.errors import SdopsError
from ansible_collections.sdops.webui.plugins.module_utils.models import arguments, spec
from ansible_collections.sdops.webui.plugins.module_utils.sources import direct, huggingface, magnet
from ansible_collections.sdops.webui.plugins.module_utils.terminal import has_unseen
from ansible_collections.sdops.webui.plugins.module_utils.transfer.download import Downloader
from ansible_collections.sdops.webui.plugins.module_utils.transfer.http import HttpClient
from ansible_collections.sdops.webui.plugins.module_utils.variables.validation import variable_errors
from ansible_collections.sdops.webui.plugins.plugin_utils.role_options import role_options
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

# of each kind; all five together are SDOPS_FUZZ_INPUTS
INPUTS = int(os.environ.get("SDOPS_FUZZ_INPUTS", "2500")) // 5
SEED = int(os.environ.get("SDOPS_FUZZ_SEED", "20261128"))

NEXT_STEP = re.compile(
    r"\b(must (be|start|stand|have)|must not|may hold|needs? a|give|set|take|use|write|copy|check|choose|put|run|remove|make|accept|wait|install|"
    r"look|there (are|is)|is one of|is none of|did you mean|it has|(is )?not of the form|say|name|point|correct|map|fetch)\b",
    re.IGNORECASE,
)
COUNTS: Counter[str] = Counter()


def check_message(error: BaseException | str, objects: list[str]) -> None:
    """A message has one of ``objects`` in it, is one line that can be printed, says why, and what to do."""
    message = str(error)
    COUNTS["messages"] += 1
    message.encode("utf-8")  # a lone surrogate ends a module's result
    assert not has_unseen(message), message
    assert message.endswith((".", ".)")), message
    assert any(what and what.lower() in message.lower() for what in objects), (message, objects)
    assert len(message.split()) >= 5, message
    assert NEXT_STEP.search(message), message


def fuzz(**strategies: st.SearchStrategy) -> Any:
    def decorate(test: Any) -> Any:
        options = {
            "max_examples": INPUTS,
            "deadline": None,
            "database": None,
            "suppress_health_check": list(HealthCheck),
        }
        return seed(SEED)(settings(**options)(given(**strategies)(test)))

    return decorate


# --- inputs ------------------------------------------------------------------------------------------------------------

FRAGMENTS = [
    "", " ", "\n", "\r\n", "\t", "\0", "\x1b[31m", "\x85", "\u2028", "\u202e", "\ufeff", "\ud800", "\u00e9", "\u6a21\u578b", "\U0001f600", "\\", "/", "//", "..", "../..",
    ":", "::", "@", "@@", "#", "?", "&", "=", "%", "%00", "%0a", "%zz", "%ff", "%2f", "+", ";", ",", "'", '"', "<", ">", "*", "|", "$(id)", "{{ x }}",
    "[", "]", "[::1]", "[::", "]:80", ":0", ":99999", ":-1", ":\u0663", "a" * 300, "0", "-1", "9" * 30, "9" * 5000, "\u00b2", "\u0661\u0662", "None", "true", "http://", "user:pw@", "xn--", "\u00df",
    "?token=abcdefghijklmnopqrstuvwxyz", "hf://", "civitai://", "urn:air:", "magnet:?", "file://", "vless://",
]  # fmt: skip
HASH = "6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa"
SOURCES = [
    "sdxl-base-1.0", "no-such-model", "hf://Bingsu/adetailer/face_yolov8m.pt", "hf://owner/repo/dir/a.safetensors@main",
    "hf://owner/repo@refs%2Fpr%2F1/a b.safetensors", "hf://models/owner/repo/a.safetensors", "civitai://128713", "civitai://128713?type=Model&format=SafeTensor&size=full&fp=fp16",
    "civitai://1?fileId=2", "urn:air:sd1:lora:civitai:82098@87153", "urn:air:sdxl:checkpoint:civitai:101055@128078.safetensors", "civitai:82098@87153", "urn:air:flux-1:LORA:civitai:1@2+3",
    "https://huggingface.co/owner/repo/resolve/main/a.safetensors", "https://hf.co/owner/repo/blob/main/d/a.safetensors?download=true", "https://civitai.com/models/1234?modelVersionId=5678",
    "https://civitai.red/models/1234/name", "https://civitai.com/api/download/models/5678?type=Model&format=SafeTensor", "https://civitai.com/api/v1/model-versions/5678",
    "https://example.org/a/b.safetensors", "http://127.0.0.1:8080/x.ckpt", "https://example.org:8443/a%20b.safetensors?X-Amz-Signature=0123456789abcdef#x", "https://[2001:db8::1]/a.pt",
    "magnet:?xt=urn:btih:0123456789abcdef0123456789abcdef01234567&dn=a.safetensors&tr=udp%3A%2F%2Ftracker.example.org", "MAGNET:?xt=urn:btmh:1220abcd", "file:///data/a.safetensors",
    "ms://owner/repo/a.safetensors@master", "ftp://example.org/a",
]  # fmt: skip
VLESS = [
    "vless://b831381d-6324-4d53-ad4f-8cda48b30811@203.0.113.5:443?type=tcp&security=reality&sni=www.example.com&fp=chrome&flow=xtls-rprx-vision"
    "&pbk=SbVKOEMjK0sIlbwg4akyBg5mL5KZwwB-ed4eEE7YnRc&sid=6ba85179e30d4fc2&spx=%2F#name",
    "vless://user@[2001:db8::1]:8443?security=reality&type=raw&pbk=SbVKOEMjK0sIlbwg4akyBg5mL5KZwwB-ed4eEE7YnRc&sni=a.example&encryption=none&headerType=none",
    "vmess://eyJhZGQiOiIxMjcuMC4wLjEifQ==",
    "",
]
VALUES = [
    "/opt/sdops", "/root/autodl-tmp", "/data/my disk", "relative", "https://github.com", "https://user:pw@pypi.example.org/simple", "conda-forge",
    "10809", 6006, 0, -1, 65536, 1.5, True, None, [], ["8.6"], ["8.6", 9.0], "8.6", {"a": [1]}, ["localhost", "10.0.0.0/8", "bad entry"], b"bytes", HASH,
]  # fmt: skip


def changed(text: str, edits: list[tuple[int, int, str]]) -> str:
    for place, dropped, added in edits:
        at = place % (len(text) + 1)
        text = text[:at] + added + text[at + dropped :]
    return text


def texts(good: list[str]) -> st.SearchStrategy[str]:
    edit = st.tuples(st.integers(0, 400), st.integers(0, 8), st.sampled_from(FRAGMENTS) | st.text(max_size=3))
    return st.builds(changed, st.sampled_from(good), st.lists(edit, max_size=4))


def values() -> st.SearchStrategy[Any]:
    plain = (
        st.sampled_from(VALUES)
        | texts([value for value in VALUES if isinstance(value, str)])
        | st.integers()
        | st.floats()
    )
    return plain | st.lists(plain, max_size=3) | st.dictionaries(st.text(max_size=5), plain, max_size=2)


def entries() -> st.SearchStrategy[Any]:
    source = texts(SOURCES)
    sidecar = source | st.fixed_dictionaries(
        {}, optional={"source": source | values(), "sha256": values(), "trusted": values(), "x": values()}
    )
    fields = {
        "source": source | source | source | values(),
        "kind": st.sampled_from(["checkpoint", "lora", "vae", "embedding", "nonsense"]) | values(),
        "name": texts(["a.safetensors", "b.ckpt"]) | values(),
        "sha256": st.sampled_from([HASH, HASH.upper(), f" {HASH}\n"]) | texts([HASH]) | values(),
        "config": sidecar | values(),
        "vae": sidecar,
        "file": texts(["a.safetensors"]) | values(),
        "trusted": st.booleans() | values(),
        "accept_change": st.booleans() | values(),
        "typo": values(),
    }
    return source | source | st.fixed_dictionaries({}, optional=fields) | values()


def pieces(given: Any) -> list[str]:
    """What a message may quote of an input: its texts and the names of its fields, as Python or the message shows them."""
    if isinstance(given, dict):
        return [piece for pair in given.items() for each in pair for piece in pieces(each)] + ["entry"]
    if isinstance(given, (list, tuple)):
        return [piece for each in given for piece in pieces(each)] + [repr(given)[:20]]
    text = str(given)
    clean = "".join(c if c.isprintable() else " " for c in text)
    words = [word for word in re.split(r"[\s?#&'\"\\]+", clean) if word]
    # a source is shown without the spaces around it, and its scheme in small letters
    displayed = repr(text.strip() if isinstance(given, str) else given)[:40]
    return [displayed, *words, *(part for word in words for part in re.split(r"[@/:]", word) if len(part) > 2)]


# --- the tests ---------------------------------------------------------------------------------------------------------


@fuzz(entry=entries())
def test_model_entries(entry):
    spec.find_entry_secrets(entry)
    try:
        found = spec.parse_model_entry(entry)
    except SdopsError as exc:
        # what stands behind one of these marks may be a token
        return check_message(
            exc, [*pieces(entry), "The model entry", "The model source '?...'", "The model source '#...'"]
        )
    COUNTS["good entries"] += 1
    assert found.origin and found.source_id and not has_unseen(found.label)
    assert all(isinstance(part, str) for part in found.secrets)
    if found.origin == "magnet":
        try:
            magnet.parse_magnet_link(found.locator["url"])
        except SdopsError as exc:
            check_message(exc, ["magnet link", "Magnet links", *pieces(entry)])


@fuzz(link=texts(VLESS) | values())
def test_share_links(link):
    try:
        found = VlessLink().filters()["vless_link"](link)
    except AnsibleFilterError as exc:
        message = str(exc)
        check_message(message, ["share link", "vless:// link"])
        # a link is a secret as a whole
        assert not isinstance(link, str) or not any(
            len(word) > 12 and word in message for word in re.split(r"[^\w-]", link)
        )
    else:
        COUNTS["good links"] += 1
        assert found["server"] and 0 < found["port"] < 65536


VARIABLES = role_options()


@fuzz(given=st.dictionaries(st.sampled_from([*VARIABLES, "other"]), values(), max_size=8))
def test_variables(given):
    for message in variable_errors(given, VARIABLES):
        name = message.partition(" ")[0].rstrip(":")
        assert name in VARIABLES
        check_message(message, [name])


PARAMS = {name: option.get("default") for name, option in arguments.TRANSFER_ARGUMENTS.items()}
URLS = ["https://huggingface.co", "https://hf-mirror.com/", "http://127.0.0.1:8080/hub", "https://example.org:8443"]
# what AnsibleModule has made of a value by then
OPTIONS = {
    "str": texts(URLS) | texts([str(value) for value in VALUES]),
    "path": texts(["/etc/ssl/certs/ca.pem"]),
    "int": st.integers(-2, 1 << 40),
    "bool": st.booleans(),
}


@fuzz(
    given=st.fixed_dictionaries(
        {}, optional={name: OPTIONS[option["type"]] for name, option in arguments.TRANSFER_ARGUMENTS.items()}
    )
)
def test_model_arguments(given):
    params = {**PARAMS, **given}
    objects = [*params, *(piece for value in given.values() for piece in pieces(value))]
    try:
        installer = arguments.make_installer(params, "/nonexistent", True)
        sentences = arguments.describe_unsent_tokens(params)
    except SdopsError as exc:
        return check_message(exc, objects)
    COUNTS["good arguments"] += 1
    assert installer
    for message in sentences:
        check_message(message, ["_token"])


class Server:
    """Stands for requests' adapter: one scripted answer for each request, the last one for all that follow."""

    def __init__(self, answers: list[tuple[int, dict[str, str], bytes]]) -> None:
        self.answers = list(answers)

    def send(self, request: requests.PreparedRequest, **_options: Any) -> requests.Response:
        status, headers, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        answer = requests.Response()
        answer.status_code, answer.url, answer.request = status, request.url, request
        fields = urllib3.HTTPHeaderDict(headers)
        answer.raw = urllib3.HTTPResponse(
            io.BytesIO(b"" if request.method == "HEAD" else body), headers=fields, status=status, preload_content=False
        )
        answer.headers = requests.structures.CaseInsensitiveDict(fields)
        return answer


def client(answers: list[tuple[int, dict[str, str], bytes]]) -> HttpClient:
    http = HttpClient(retries=1, sleep=lambda seconds: None, tokens={"https://example.org": "token"})
    server = Server(answers)
    http._session.get_adapter = lambda _url: server
    return http


HEADERS = {
    "Content-Disposition": ['attachment; filename="a.safetensors"', "attachment; filename*=UTF-8''a%20b.pt", "inline; filename=a b.bin", 'filename="\\"x\\""'],
    "Location": ["https://cdn.example.org/x?sig=1", "/y", "//other.example.org/z", "http://127.0.0.1/q", "https://example.org/a.safetensors", "?"],
    "ETag": ['"abc"', 'W/"abc"', f'"{HASH}"', "abc"],
    "X-Linked-Etag": [f'"{HASH}"', '"' + HASH[:40] + '"'],
    "X-Linked-Size": ["4", "-1"],
    "X-Repo-Commit": [HASH[:40], "main"],
    "X-Error-Code": ["GatedRepo", "RepoNotFound", "EntryNotFound", "RevisionNotFound"],
    "X-Error-Message": ["Invalid credentials", "disabled", "a text"],
    "Content-Length": ["4", "0", "1000000000000000"],
    "Content-Range": ["bytes 0-0/4", "bytes 0-3/4", "bytes */0", "bytes */4", "bytes 0-0/*"],
    "Content-Encoding": ["gzip", "identity", "aws-chunked", "br"],
    "Content-Type": ["text/html", "application/octet-stream", "text/html; charset=x"],
    "Retry-After": ["3", "0", "-1", "Wed, 21 Oct 2026 07:28:00 GMT", "99999999999"],
    "RateLimit": ['"api";r=0;t=55', "r=0;t=999999999"],
    "Last-Modified": ["Wed, 21 Oct 2026 07:28:00 GMT"],

    "Set-Cookie": ["a=b; Max-Age=9", "=; Expires=x"],
}  # fmt: skip


def on_the_wire(text: str) -> str:
    """A header's value as http.client gives it: any bytes but line ends, read as Latin-1."""
    return re.sub(r"[\r\n]", "", text.encode("utf-8", "surrogatepass").decode("latin-1"))


def answers() -> st.SearchStrategy[tuple[int, dict[str, str], bytes]]:
    header = st.sampled_from(sorted(HEADERS)).flatmap(
        lambda name: st.tuples(st.just(name), texts(HEADERS[name]).map(on_the_wire))
    )
    headers = st.lists(header, max_size=5).map(dict)
    status = st.sampled_from(
        [200, 200, 206, 206, 301, 302, 307, 308, 204, 304, 400, 401, 403, 404, 410, 416, 429, 451, 500, 503]
    )
    body = st.sampled_from(
        [b"", b"data", b"data more", b"<html><title>x</title>", b'{"error": "x"}', b"\xff\xfe", b'{"a":' * 2000]
    )
    return st.tuples(status, headers, body)


@fuzz(
    script=st.lists(answers(), min_size=1, max_size=4),
    fetched=st.integers(0, 9),  # with threads it takes long: a tenth of them
    url=st.sampled_from(
        ["https://example.org/a.safetensors", "http://127.0.0.1:8080/d/?x=1", "https://example.org/%E6%A8%A1.pt"]
    ),
)
def test_headers(script, url, fetched):
    host = url.split("/")[2]
    hosts = [host, "cdn.example.org", "other.example.org", "://"]
    try:
        remote = direct.resolve_url({"url": url}, client(script))
    except SdopsError as exc:
        check_message(exc, [*hosts, "file name"])
    else:
        COUNTS["good answers"] += 1
        # a server may tell no name: the user's own is enough
        assert remote.filename == os.path.basename(remote.filename)
        if not fetched and (remote.size or 0) < 1 << 20:
            with tempfile.TemporaryDirectory() as directory:
                try:
                    Downloader(client(script[::-1]), 1).download(remote, os.path.join(directory, "x"))
                except SdopsError as exc:
                    check_message(exc, [*hosts, remote.filename or "x"])
    where = {"repo": "owner/repo", "file": "a.safetensors", "revision": "main"}
    try:
        remote = huggingface.resolve_hub_file(where, client(script), "https://example.org", True)
    except SdopsError as exc:
        check_message(exc, [*hosts, "owner/repo"])
    else:
        assert remote.filename == "a.safetensors"


@pytest.fixture(scope="module", autouse=True)
def summary():
    yield
    print(f"\n{INPUTS} inputs of each of five kinds: {dict(COUNTS)}")
    assert COUNTS["messages"] > 0, "nothing was refused: the inputs are too tame"

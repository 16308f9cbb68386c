"""What people write for a model: links of the services and of their mirrors, the Hub's own form, AIR URNs, several spellings.

Oracles: huggingface_hub's own parser, the hosts that a proxy is asked for, and the files on the disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import threading

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.errors import SpecError
from ansible_collections.sdops.webui.plugins.module_utils.models.spec import (
    Endpoints,
    find_entry_problems,
    parse_model_entries,
    parse_model_entry,
    parse_source,
)
from ansible_collections.sdops.webui.plugins.module_utils.transfer.http import HttpClient
from huggingface_hub import hf_hub_url
from huggingface_hub.errors import HfUriError
from huggingface_hub.utils import parse_hf_uri
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lab.servers.build import models

HUB = "hf://lab-fakes/tiny-sd15/v1-5-pruned-emaonly.safetensors@main"
PLACE = "models/Stable-diffusion/v1-5-pruned-emaonly.safetensors"
COMMIT = "0123456789abcdef" * 2 + "01234567"


def hub(repo: str, file: str, revision: str = "main") -> dict[str, str]:
    return {"repo": repo, "file": file, "revision": revision}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- the Hub's own form, and ours


def by_huggingface_hub(uri: str) -> dict[str, str] | None:
    """What huggingface_hub reads; None for what it refuses, or what names no file."""
    try:
        found = parse_hf_uri(uri)
    except HfUriError:
        return None
    if found.type == "bucket" or not found.path_in_repo:
        return None
    prefix = "" if found.type == "model" else found.type + "s/"
    return hub(prefix + found.id, found.path_in_repo, found.revision or "main")


def by_us(uri: str) -> dict[str, str] | None:
    try:
        found = parse_source(uri)
    except SpecError as exc:
        assert "hf://OWNER/REPO" in str(exc)
        return None
    assert found.origin == "huggingface"
    return found.locator


NAME = (
    st.text("abcXYZ019._-", min_size=1, max_size=6)
    .map(lambda text: f"a{text}z")
    .filter(lambda text: "--" not in text and ".." not in text)
)
FILE = st.builds(
    lambda folders, name, extension: "/".join([*folders, name]) + extension,
    st.lists(st.text("abc@# ~é.-_", min_size=1, max_size=5).filter(lambda text: text not in (".", "..")), max_size=2),
    st.text("abc019@# ?~é-_", min_size=1, max_size=9),
    st.sampled_from([".safetensors", ".ckpt", ".PT", ".yaml", ".bin", ".onnx"]),
)
REVISION = st.one_of(
    st.just("main"), st.just(COMMIT), st.just("refs/pr/12"), st.just("refs/convert/parquet-v2"), st.just("v1.0@b"),
    st.just("feature%2Ffoo"), NAME,
)  # fmt: skip


@settings(max_examples=800, deadline=None)
@given(
    kind=st.sampled_from(["", "models/", "datasets/", "spaces/", "kernels/", "buckets/"]),
    owner=NAME,
    repo=NAME,
    revision=st.none() | REVISION,
    file=FILE | st.just(""),
)
@example(kind="", owner="o", repo="r", revision=None, file="style@1.safetensors")
@example(kind="", owner="o", repo="r", revision="main", file="a@b")
@example(kind="models/", owner="o", repo="r", revision="refs/pr/3", file="dir@2/f.safetensors")
@example(kind="datasets/", owner="gsdf", repo="EasyNegative", revision=None, file="EasyNegative.safetensors")
@example(kind="", owner="o", repo="r", revision="main", file="50%25.safetensors")
def test_the_hubs_own_form_means_what_it_means_to_the_hub(kind, owner, repo, revision, file):
    uri = f"hf://{kind}{owner}/{repo}" + (f"@{revision}" if revision else "") + (f"/{file}" if file else "")
    assert by_us(uri) == by_huggingface_hub(uri), uri


@pytest.mark.parametrize(
    ("written", "where"),
    [
        ("hf://o/r/f.safetensors", hub("o/r", "f.safetensors")),
        ("hf://o/r/f.safetensors@v1", hub("o/r", "f.safetensors", "v1")),
        ("hf://o/r/f.safetensors@refs/pr/3", hub("o/r", "f.safetensors", "refs/pr/3")),
        ("hf://o/r/style@1.safetensors@main", hub("o/r", "style@1.safetensors")),
        ("hf://o/r/style%401.safetensors@main", hub("o/r", "style@1.safetensors")),
        ("hf://o/r/f.safetensors@pkg@1.0", hub("o/r", "f.safetensors", "pkg@1.0")),
        ("hf://o/r/a%20b.safetensors@fea%2Fture", hub("o/r", "a b.safetensors", "fea/ture")),
        ("hf://o/r/LICENSE@v1.0", hub("o/r", "LICENSE", "v1.0")),
        ("hf://o/r/d/e@2/f.vae.pt@main", hub("o/r", "d/e@2/f.vae.pt")),
        ("hf://models/o/r/f.safetensors@v1", hub("o/r", "f.safetensors", "v1")),
        ("hf://datasets/o/r/f.pt@v1", hub("datasets/o/r", "f.pt", "v1")),
        ("HF://o/r@v1/f.pt", hub("o/r", "f.pt", "v1")),
    ],
)
def test_canonical_form_is_unchanged(written, where):
    assert parse_source(written).locator == where


@pytest.mark.parametrize(
    "written", ["hf://o/r", "hf://o/r@main", "hf://o/r@/f", "hf://o@main/r/f", "hf://datasets/o/f.pt", "hf://o/r/a//b", "hf://o/r/../x.pt",
                "hf://o/r@main/./x.pt", "hf://buckets/o/r/f.pt", "hf://", "hf://o r/x/f.pt"],
)  # fmt: skip
def test_what_names_no_file_is_reported_with_the_forms(written):
    with pytest.raises(SpecError, match="hf://OWNER/REPO@REVISION/PATH"):
        parse_source(written)


def test_a_data_sets_file_is_requested_below_datasets(serve, tmp_path, run_module):
    data = models.safetensors_bytes("embedding", models.checkpoint_tensors(1, "F16"))

    def answer(path, headers):
        if path.startswith("/api/datasets/gsdf/EasyNegative/tree/"):
            listed = [{"path": "EasyNegative.safetensors", "size": len(data)}]
            return 200, {"Content-Type": "application/json"}, json.dumps(listed).encode()
        if not path.startswith("/datasets/gsdf/EasyNegative/resolve/"):
            return 404, {}, b""
        metadata = {"ETag": f'"{sha(data)}"', "X-Repo-Commit": COMMIT}
        return 200, {**metadata, "Content-Length": None} if "main" in path else metadata, data

    url, _ = serve(answer)
    found = run_module(
        "model_files", webui_dir=str(tmp_path), huggingface_endpoint=url, retries=1, create=True,
        models=[{"source": "https://huggingface.co/datasets/gsdf/EasyNegative/blob/main/EasyNegative.safetensors", "kind": "embedding"}],
    )  # fmt: skip
    assert not found["failed"], found["msg"]
    assert found["models"][0]["sha256"] == sha(data)


# --- AIR


@pytest.mark.parametrize(
    ("written", "where"),
    [
        ("urn:air:sd1:lora:civitai:33208@112969", {"version_id": "112969"}),
        ("URN:AIR:SDXL:LoRA:Civitai:33208@112969", {"version_id": "112969"}),
        ("urn:air:flux-1:text-encoders:civitai:1@2", {"version_id": "2"}),
        ("urn:air:sdxl:lora:civitai:328553@368189:unet", {"version_id": "368189"}),
        ("urn:air:sdxl:lora:civitai:328553@368189:unet_2.safetensor", {"version_id": "368189"}),
        ("urn:air:sd1:model:civitai:2421@43533.tensor-rt", {"version_id": "43533"}),
        ("urn:air:sdxl:checkpoint:civitai:1@2+3.safetensors", {"version_id": "2", "fileId": "3"}),
        ("urn:air:sdxl:checkpoint:civitai:1@2+3:vae", {"version_id": "2", "fileId": "3"}),
        ("air:sdxl:civitai:1@2", {"version_id": "2"}),
        ("civitai:7:layer", {"model_id": "7"}),
        ("Civitai:7", {"model_id": "7"}),
    ],
)
def test_airs(written, where):
    found = parse_source(written)
    assert (found.origin, found.locator) == ("civitai", where)


@pytest.mark.parametrize("written", ["urn:air:sd1:lora:civitai:x@2", "urn:air:sd1:lora:huggingface:1@2", "urn:air:a:b:c:civitai:1@2",
                                     "urn:air:sd1:lora:civitai:1@٢", "civitai:1@2:a:b"])  # fmt: skip
def test_no_airs(written):
    with pytest.raises(SpecError, match="urn:air:sd1:lora:civitai:MODEL@VERSION"):
        parse_source(written)


# --- links

RED, GREEN = "https://civitai.red", "https://civitai.green"


@pytest.mark.parametrize(
    ("link", "where", "endpoint"),
    [
        ("https://civitai.com/models/33208?modelVersionId=112969", {"version_id": "112969"}, None),
        ("https://www.civitai.com/models/33208/film-velvia", {"model_id": "33208"}, None),
        ("https://civitai.com/model-versions/112969", {"version_id": "112969"}, None),
        ("https://civitai.com/api/v1/model-versions/112969", {"version_id": "112969"}, None),
        ("https://civitai.com/api/v1/models/33208", {"model_id": "33208"}, None),
        ("https://civitai.com/api/download/models/112969?type=Model&format=SafeTensor&x=1",
         {"version_id": "112969", "type": "Model", "format": "SafeTensor"}, None),
        ("https://civitai.red/models/33208?modelVersionId=112969", {"version_id": "112969"}, RED),
        ("https://www.civitai.red/model-versions/112969/", {"version_id": "112969"}, RED),
        ("http://civitai.red/models/33208", {"model_id": "33208"}, RED),
        ("https://CIVITAI.green/api/download/models/112969?fileId=5", {"version_id": "112969", "fileId": "5"}, GREEN),
    ],
)  # fmt: skip
def test_links_of_civitai(link, where, endpoint):
    found = parse_source(link)
    assert (found.origin, found.locator, found.endpoint) == ("civitai", where, endpoint)


MIRRORS = Endpoints("https://mirror.test:8443/hf/", "https://mirror.test/civitai")


@pytest.mark.parametrize(
    ("link", "origin", "where"),
    [
        ("https://mirror.test:8443/hf/o/r/resolve/main/d/f.safetensors?download=true", "huggingface", hub("o/r", "d/f.safetensors")),
        ("https://MIRROR.test:8443/hf/datasets/o/r/blob/refs%2Fpr%2F1/f%401.pt", "huggingface", hub("datasets/o/r", "f@1.pt", "refs/pr/1")),
        ("https://huggingface.co/o/r/blob/refs/pr/1/f.pt", "huggingface", hub("o/r", "f.pt", "refs/pr/1")),
        ("https://hf.co/models/o/r/resolve/v1/f.pt", "huggingface", hub("o/r", "f.pt", "v1")),
        ("https://mirror.test/civitai/models/1?modelVersionId=2", "civitai", {"version_id": "2"}),
        ("https://mirror.test/civitai/api/v1/model-versions/2", "civitai", {"version_id": "2"}),
        # another port, scheme, path, host or page
        ("https://mirror.test/hf/o/r/resolve/main/f.safetensors", "url", None),
        ("http://mirror.test/civitai/models/1", "url", None),
        ("https://mirror.test/civitai2/models/1", "url", None),
        ("https://mirror.test.evil.example/civitai/models/1", "url", None),
        ("https://civitai.red.evil.example/models/1", "url", None),
        ("https://civitai.red:8443/models/1", "url", None),
        ("https://mirror.test/civitai/files/1x", "url", None),
        ("https://mirror.test/civitai/models/x.safetensors", "url", None),
        ("https://mirror.test:8443/hf/f.safetensors", "url", None),
        ("https://huggingface.co/o/r/raw/main/config.yaml", "url", None),
        ("https://civitai.com/api/download/training-data/1", "url", None),
        ("https://mirror.test:8443/hf/files/f.safetensors", "url", None),
        ("https://mirror.test/civitai/other?token=x", "url", None),
    ],
)  # fmt: skip
def test_links_of_mirrors(link, origin, where):
    found = parse_source(link, MIRRORS)
    assert (found.origin, found.locator) == (origin, where or {"url": link})
    assert found.endpoint is None


@pytest.mark.parametrize(
    ("link", "form"),
    [
        *(
            (site + page, "/blob/REVISION/PATH")
            for site in ("https://huggingface.co", "https://www.hf.co", "https://mirror.test:8443/hf")
            for page in ("/a", "/a/b", "/a/b/", "/a/b?x=1", "/datasets/a/b", "/a/b/tree/main", "/a/b/tree/main/d", "/a/tree/main", "/a/b/discussions/1")
        ),
        *(
            (site + page, "civitai://VERSION_ID")
            for site in ("https://civitai.com", "https://www.civitai.red", "https://mirror.test/civitai")
            for page in ("/models/abc", "/models", "/models/1x", "/user/x", "/user/x/models", "/images/5", "/model-versions/x")
        ),
        ("https://huggingface.co", "/blob/REVISION/PATH"),
        ("https://civitai.com/", "civitai://VERSION_ID"),
    ],
)  # fmt: skip
def test_page_that_names_no_file_is_refused(link, form):
    with pytest.raises(SpecError) as caught:
        parse_source(link, MIRRORS)
    assert link.partition("?")[0] in str(caught.value) and form in str(caught.value)


@pytest.mark.parametrize(
    "link", ["https://mirror.test/civitai/api/download/models/1?token=abc", "https://civitai.red/models/1?token=abc"]
)
def test_a_token_in_a_link_is_rejected_at_a_mirror_too(link):
    with pytest.raises(SpecError, match="civitai_token") as caught:
        parse_source(link, MIRRORS)
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize(("repo", "kind"), [("gpt2", None), ("squad", "dataset"), ("bert-base-uncased", "model")])
def test_old_repositories_of_the_hub_have_no_owner(repo, kind):
    """Oracle: the address that the Hub's library makes for one."""
    link = hf_hub_url(repo, "model.safetensors", subfolder="d", repo_type=kind, revision="main")
    assert parse_source(link).locator == hub(("datasets/" if kind == "dataset" else "") + repo, "d/model.safetensors")


@pytest.mark.parametrize("around", ["\n", " ", "\r\n\t"])
def test_white_space_around_texts_does_not_count(around):
    plain = {
        "source": "https://models.test/a.safetensors", "kind": "lora", "name": "z.safetensors", "sha256": "ab" * 32,
        "config": {"source": "file:///x.yaml", "sha256": "cd" * 32}, "vae": "file:///v.safetensors",
    }  # fmt: skip
    assert parse_model_entry(with_around(plain, around)) == parse_model_entry(plain)
    assert parse_model_entry(around + plain["source"] + around) == parse_model_entry(plain["source"])


def with_around(value, around: str):
    return {k: with_around(v, around) for k, v in value.items()} if isinstance(value, dict) else around + value + around


@settings(max_examples=300, deadline=None)
@given(revision=st.sampled_from(["main", "refs/pr/3", "refs%2Fpr%2F3", "v1%2F2"]), repo=NAME,
       file=st.from_regex(r"[a-z@]{1,5}(/[a-z@-]{1,5})?\.(safetensors|pt|yaml)", fullmatch=True),
       base=st.sampled_from(["https://huggingface.co", "https://hf.co", "http://localhost:8080/hf", "https://hub.example"]),
       action=st.sampled_from(["blob", "resolve"]), kind=st.sampled_from(["", "datasets/", "spaces/", "models/"]))  # fmt: skip
def test_a_link_of_the_hub_means_what_it_means_to_the_hub(revision, repo, file, base, action, kind):
    link = f"{base}/{kind}own-er/{repo}/{action}/{revision}/{file}?download=true"
    theirs = parse_hf_uri(link, endpoint=base)
    found = parse_source(link, Endpoints(base))
    prefix = "" if theirs.type == "model" else theirs.type + "s/"
    assert found.locator == hub(prefix + theirs.id, theirs.path_in_repo, theirs.revision)


def test_a_link_from_the_mirror_is_verified_by_the_hubs_hash(target, run_module):
    link = (
        target.arguments["huggingface_endpoint"] + "/lab-fakes/tiny-sd15/resolve/main/v1-5-pruned-emaonly.safetensors"
    )
    found = run_module("model_files", check=True, **target.arguments, models=[{"source": link, "kind": "checkpoint"}])
    official = run_module("model_files", check=True, **target.arguments, models=[{"source": HUB, "kind": "checkpoint"}])
    assert found["models"][0]["sha256"] == official["models"][0]["sha256"] is not None
    assert len(found["models"][0]["revision"]) == 40
    link = target.arguments["civitai_endpoint"] + "/model-versions/112969"
    found = run_module("model_files", check=True, **target.arguments, models=[link])
    assert found["models"][0]["revision"] == "112969", found


# --- who is asked, and who gets the token


@contextlib.contextmanager
def recording_proxy():
    """A proxy that lets nothing through; gives its URL and the hosts that it was asked for."""
    requested: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        requested.append(connection.recv(4096).split(b" ")[1].decode())
                        connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", requested
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("source", "host"),
    [
        ("https://civitai.red/models/1?modelVersionId=2", "civitai.red:443"),
        ("http://civitai.green/model-versions/2", "civitai.green:443"),
        ("https://civitai.com/models/1", "civitai.com:443"),
        ("civitai://2", "civitai.com:443"),
    ],
)
def test_a_link_queries_its_own_site_and_the_message_names_it(tmp_path, run_module, source, host):
    with recording_proxy() as (proxy, requested):
        found = run_module("model_files", webui_dir=str(tmp_path), models=[source], retries=0, proxy=proxy)
    assert found["failed"] and host.partition(":")[0] in found["msg"]
    assert set(requested) == {host}


@pytest.mark.parametrize(
    ("endpoint", "requested", "sent"),
    [
        ("https://civitai.com", "https://civitai.red", True),
        ("https://civitai.red", "https://civitai.com", True),
        ("https://mirror.example", "https://civitai.red", False),
        ("https://mirror.example", "https://civitai.com", False),
        ("https://civitai.com.example", "https://civitai.com", False),
        ("http://civitai.com", "https://civitai.red", False),
        ("http://civitai.com", "http://civitai.com", False),
    ],
)
def test_who_may_have_the_token(endpoint, requested, sent):
    assert HttpClient(tokens={endpoint: "secret"}).sends_token(requested) is sent


def test_a_token_for_a_mirror_is_not_given_to_another_site(target, tmp_path, run_module):
    with recording_proxy() as (proxy, _requested):
        found = run_module(
            "model_files", check=True, **{**target.arguments, "retries": 0}, models=["https://civitai.red/models/1"],
            civitai_token="lab_civitai_member", civitai_proxy=proxy,
        )  # fmt: skip
    [warning] = [w for w in map(str, found["warnings"]) if "civitai_token" in w]
    assert "https://civitai.red" in warning and target.arguments["civitai_endpoint"] in warning
    assert "civitai_endpoint" in warning and "lab_civitai_member" not in json.dumps(found.get("warnings"))


@pytest.mark.parametrize("version", ["70002", "70099999", "70001"])
def test_a_message_of_civitai_names_the_site(target, run_module, version):
    found = run_module("model_files", **target.arguments, models=[{"source": f"civitai://{version}", "kind": "lora"}])
    if version != "70001":
        assert "127.0.0.1" in found["msg"]
    assert found["failed"]


# --- entries that cannot be understood

BAD = [
    "no-such-name",
    "ftp://host/file.safetensors",
    {"kind": "lora"},
    5,
    None,
    {"source": "hf://o/r/f.pt", "kind": "nonsense"},
    {"source": "hf://o/r/f.pt", "sha256": "12"},
    {"source": "hf://o/r/f.pt", "config": {"x": 1}},
    ["hf://o/r/f.pt"],
    "hf://o/r",
]


def test_one_entry_that_cannot_be_understood_does_not_stop_the_others(target, run_module):
    good = {"source": HUB, "kind": "checkpoint"}
    arguments = {**target.arguments, "models": [BAD[0], good, *BAD[1:]]}
    planned = run_module("model_files", check=True, **arguments)
    assert [m["status"] for m in planned["models"]] == ["failed", "fetch", *["failed"] * (len(BAD) - 1)]
    for _ in range(2):  # the second run is no success either, though there is nothing left to do
        found = run_module("model_files", **arguments)
        assert found["failed"]
        assert target.path(PLACE).is_file()
        assert [m["status"] for m in found["models"]][1] in ("fetched", "ok")
        assert "10 of 11 files failed" in found["msg"]
        for name in (
            "no-such-name",
            "ftp://host/file.safetensors",
            "kind",
            "5",
            "nonsense",
            "64 hex digits",
            "config",
            "hf://o/r'",
        ):
            assert name in found["msg"]
    assert found["changed"] is False
    removed = run_module("model_files", **arguments, state="absent")
    assert removed["failed"] and "no-such-name" in removed["msg"]
    assert not target.path(PLACE).exists()


def test_a_secret_in_an_entry_that_cannot_be_understood_stays_secret(target, run_module):
    found = run_module(
        "model_files",
        **target.arguments,
        models=["https://user:hunter2secret@host/f.safetensors?sig=AbCdEfGh0123", "bad"],
    )
    displayed = json.dumps({k: v for k, v in found.items() if k != "invocation"})
    assert found["failed"] and "hunter2secret" not in displayed and "AbCdEfGh0123" not in displayed


TEXT = st.text(max_size=20) | st.sampled_from(
    ["", "hf://", "hf://a/b/c", "civitai:", "https://", "https://[", "magnet:", "file:///", "//", "@", "\x00"]
)
ENTRY = st.one_of(
    TEXT,
    st.builds("".join, st.lists(st.sampled_from(["hf://", "https://", "civitai", ":", "/", "@", "o", "r", "urn:air:", "1", ".pt", "?", "&", "%", "[", "]",
                                                 "huggingface.co", "/resolve/", "main", "civitai.red", "models", "..", "token=", "٣"]), max_size=12)),
    st.integers() | st.none() | st.booleans() | st.floats(),
    st.dictionaries(
        st.sampled_from(["source", "kind", "name", "sha256", "config", "vae", "trusted", "accept_change", "file", "x"]) | TEXT,
        TEXT | st.integers() | st.none() | st.booleans() | st.lists(TEXT, max_size=2) | st.dictionaries(st.sampled_from(["source", "sha256", "trusted"]), TEXT, max_size=3),
        max_size=4,
    ),
)  # fmt: skip


@settings(max_examples=3000, deadline=None)
@given(st.lists(ENTRY, max_size=3))
def test_whatever_stands_in_the_list_there_is_a_sentence(entries):
    found = parse_model_entries(entries, MIRRORS)
    assert len(found) == len(entries)
    for spec in found:
        assert isinstance(spec.label, str) and isinstance(spec.secrets, list)
        if spec.problem:
            assert spec.problem.endswith((".", ")")) and len(spec.problem) > 30, spec.problem
        else:
            assert spec.origin in ("huggingface", "civitai", "url", "magnet", "file")


# --- several spellings of one file

OFFICIAL = "hf://lab-fakes/tiny-sd15@main/v1-5-pruned-emaonly.safetensors"
LINK = "https://huggingface.co/lab-fakes/tiny-sd15/blob/main/v1-5-pruned-emaonly.safetensors"


def test_spellings_of_one_file_are_one_file(target, lab_server, run_module):
    specs = [{"source": source, "kind": "checkpoint"} for source in (HUB, OFFICIAL, LINK)]
    found = run_module("model_files", **target.arguments, models=specs)
    assert not found["failed"], found["msg"]
    assert [m["status"] for m in found["models"]] == ["fetched", "ok", "ok"]
    assert sorted(p.name for p in target.path(PLACE).parent.iterdir()) == [target.path(PLACE).name]
    lab_server.log.entries.clear()
    repeated = run_module("model_files", **target.arguments, models=specs)
    assert (repeated["failed"], repeated["changed"]) == (False, False)
    assert list(lab_server.log.entries) == []  # nobody is asked for the other spellings either


def test_sources_with_equal_hashes_are_one_file(target, serve, run_module, tmp_path):
    """Another server's copy of a file, called the same: by its hash it is the same one."""
    first = run_module("model_files", **target.arguments, models=[{"source": HUB, "kind": "checkpoint"}])["models"][0]
    data = target.path(PLACE).read_bytes()
    url, _ = serve(lambda path, headers: (200, {"ETag": '"x"'}, data))
    other = {"source": f"{url}/copy/v1-5-pruned-emaonly.safetensors", "kind": "checkpoint"}
    rejected = run_module("model_files", **target.arguments, models=[{"source": HUB, "kind": "checkpoint"}, other])
    target.path(PLACE).unlink()
    arguments = {
        **target.arguments,
        "models": [{"source": HUB, "kind": "checkpoint"}, {**other, "sha256": first["sha256"].upper()}],
    }
    found = run_module("model_files", **arguments)
    assert not found["failed"], found["msg"]
    assert [m["status"] for m in found["models"]] == ["fetched", "ok"]
    assert run_module("model_files", **arguments)["changed"] is False
    wrong = run_module(
        "model_files", **target.arguments, models=[{"source": HUB, "kind": "checkpoint"}, {**other, "sha256": "0" * 64}]
    )
    assert wrong["failed"] and sha(target.path(PLACE).read_bytes()) == first["sha256"]
    assert rejected is not None


def test_a_spelling_counts_for_the_model_that_it_is_in():
    one, other, third = parse_model_entries(
        [{"source": HUB, "kind": "vae"}, {"source": OFFICIAL, "name": "x.safetensors"}, "hf://a/b/c.pt"], Endpoints()
    )
    assert (other.source, other.kind, other.name) == (one.source, None, "x.safetensors")
    assert third.source == "hf://a/b/c.pt" == parse_model_entry("hf://a/b/c.pt").source


@pytest.mark.parametrize(
    "entry",
    [
        {"source": "https://a.example/x.pt?token=SECRET12", "kind": "loras"},
        {"source": "https://user:SECRET12@a.example/x.pt"},
        {"source": "hf://o/r/x.pt", "name": ["https://a.example/?token=SECRET12"]},
        {"source": "hf://o/r/x.pt", "sha256": {"a": "https://user:SECRET12@a.example/"}},
        {"source": "hf://o/r/x.pt", "vae": {"source": ["https://a.example/?access_token=SECRET12"]}},
        ["https://a.example/?key=SECRET12"],
        {"sources": "https://a.example/?signature=SECRET12"},
        "magnet:?tr=http://t.example/SECRET12/announce&xt=urn:btih:%",
        "https://a.example:port/x?passkey=SECRET12",
    ],
)
def test_problems_are_named_without_what_is_secret(entry):
    """Beside good entries, which have none."""
    good = ["hf://o/r/x.safetensors", "https://mirror.example/hub/o/r/resolve/main/x.pt"]
    found = find_entry_problems([good[0], entry, good[1]], MIRRORS)
    assert len(found) <= 1 and "SECRET12" not in "".join(found), found
    assert found or "magnet" in entry
    assert find_entry_problems(good, MIRRORS) == []

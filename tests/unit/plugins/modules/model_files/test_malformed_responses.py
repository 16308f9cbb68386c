"""Servers and files that are not as anybody promised: a sentence for each, and the rest of the batch goes on."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.content_scan.sanitize import parse_hex_digits, sanitize_name
from ansible_collections.sdops.webui.plugins.module_utils.content_scan.scan import scan_file
from ansible_collections.sdops.webui.plugins.module_utils.errors import ContentError, SdopsError, TransferError
from ansible_collections.sdops.webui.plugins.module_utils.models.download_cache import find_cache_path
from ansible_collections.sdops.webui.plugins.module_utils.models.spec import parse_model_entry
from ansible_collections.sdops.webui.plugins.module_utils.sources import civitai, direct, huggingface
from ansible_collections.sdops.webui.plugins.module_utils.transfer.http import COMPRESSIONS, HttpClient
from ansible_collections.sdops.webui.plugins.module_utils.transfer.remote_file import RemoteFile

from lab.servers.build import models

GOOD = "hf://lab-fakes/tiny-vae/vae-ft-mse-840000-ema-pruned.safetensors@main"
COMMIT = "c" * 40


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def safetensors(count: int = 1000) -> bytes:
    header = json.dumps({"w": {"dtype": "U8", "shape": [count], "data_offsets": [0, count]}}).encode()
    return len(header).to_bytes(8, "little") + header + b"x" * count


# --- hashes that end up in paths


def test_a_hash_from_the_network_is_no_path(target, serve, run_module, tmp_path):
    precious = tmp_path / "precious" / "data.txt"
    precious.parent.mkdir()
    precious.write_text("mine")
    etag = "../" + "./" * 22 + "precious/data.txt"
    assert len(etag) == 64 and (tmp_path / "cache" / "sha256" / etag[:2] / etag).resolve() == precious
    (tmp_path / "cache" / "sha256").mkdir(parents=True)
    content = safetensors()

    def answer(path, headers):
        metadata = {"X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(content))}
        return 200, metadata, content

    here, _ = serve(answer)
    options = {"source": "hf://a/b/m.safetensors@main", "kind": "checkpoint"}
    arguments = {**target.arguments, "huggingface_endpoint": here, "cache_dir": str(tmp_path / "cache")}
    found = run_module("model_files", **arguments, models=[options])
    assert precious.read_text() == "mine"
    assert not found["failed"], found.get("msg")
    assert found["models"][0]["sha256"] == hashlib.sha256(content).hexdigest()
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file()] == []


@pytest.mark.parametrize(
    ("value", "count", "expected"),
    [
        ("AB" * 32, 64, "ab" * 32),
        ("ab" * 32 + "\n", 64, None),
        ("../" + "a" * 61, 64, None),
        ("ab" * 20, 64, None),
        ("\u0661" * 64, 64, None),
        ("ab" * 20, 40, "ab" * 20),
        (5, 64, None),
        (None, 64, None),
        (["ab" * 32], 64, None),
    ],
)
def test_what_is_a_hash(value, count, expected):
    assert parse_hex_digits(value, count) == expected


def test_the_last_door_to_the_cache_is_shut_too(tmp_path):
    remote = RemoteFile("https://x/y", "y.safetensors", sha256="../" + "a" * 61)
    assert find_cache_path(str(tmp_path), remote) is None


@pytest.mark.parametrize("module", ["huggingface_download", "civitai_download"])
def test_a_users_hash_is_one(target, run_module, tmp_path, module):
    what = {"repo": "a/b", "file": "c"} if module == "huggingface_download" else {}
    arguments = {k: v for k, v in target.arguments.items() if k != "webui_dir"}
    found = run_module(module, **what, sha256="../../x", dest=str(tmp_path / "x.safetensors"), **arguments)
    assert found["failed"]
    assert "64 hex digits" in found["msg"]


# --- Civitai


def civitai_answer(version, data=b"") -> object:
    def answer(path, headers):
        if path.startswith("/api/v1/"):
            return (
                200,
                {"Content-Type": "application/json"},
                version if isinstance(version, bytes) else json.dumps(version).encode(),
            )
        return 200, {"Content-Type": "application/octet-stream"}, data

    return answer


WHOLE = {"id": 1, "name": "v", "model": {"name": "M", "type": "LORA"}}
FILE = {
    "id": 11,
    "name": "m.safetensors",
    "type": "Model",
    "sizeKB": 1.0,
    "metadata": {},
    "hashes": {},
    "primary": True,
}


@pytest.mark.parametrize(
    "version",
    [
        [],
        5,
        None,
        {},
        {**WHOLE, "files": "none"},
        {**WHOLE, "files": [5]},
        {**WHOLE, "files": [{**FILE, "name": None}]},
        {**WHOLE, "files": [{k: v for k, v in FILE.items() if k != "id"}]},
        {**WHOLE, "id": {"a": 1}, "files": [FILE]},
        b"{not json",
    ],
    ids=lambda version: str(version)[:60],
)
def test_an_odd_answer_of_civitai_gets_a_sentence_and_the_others_go_on(target, serve, run_module, version):
    here, _ = serve(civitai_answer(version))
    specs = ["civitai://1", {"source": GOOD, "kind": "vae"}]
    found = run_module("model_files", **{**target.arguments, "civitai_endpoint": here}, models=specs)
    assert found["failed"]
    assert "not what its API promises" in found["msg"]
    assert [m["status"] for m in found["models"]] == ["failed", "fetched"]


@pytest.mark.parametrize(
    "odd",
    [
        {"hashes": []},
        {"hashes": {"SHA256": "../" + "a" * 61, "AutoV2": ["x"]}},
        {"sizeKB": "big"},
        {"sizeKB": -1},
        {"metadata": "none"},
        {"name": "\ud800m.safetensors"},
    ],
    ids=str,
)
def test_oddities_that_do_not_matter(target, serve, run_module, odd):
    data = safetensors()
    version = {**WHOLE, "files": [{**FILE, **odd}]}
    here, _ = serve(civitai_answer(version, data))
    found = run_module("model_files", **{**target.arguments, "civitai_endpoint": here}, models=["civitai://1"])
    assert not found["failed"], found.get("msg")
    assert found["models"][0]["sha256"] == hashlib.sha256(data).hexdigest()


def test_a_type_that_is_no_text_leaves_the_kind_to_the_user(target, serve, run_module):
    version = {**WHOLE, "model": {"name": "M", "type": ["LORA"]}, "files": [FILE]}
    here, _ = serve(civitai_answer(version, safetensors()))
    found = run_module("model_files", **{**target.arguments, "civitai_endpoint": here}, models=["civitai://1"])
    assert found["failed"]
    assert "set kind" in found["msg"]


def test_the_file_of_the_hash_and_not_the_primary_one(target, lab_server, run_module, tmp_path):
    expected_sha256 = sha256(lab_server.root / "civitai" / "files" / "11745001")
    dest = tmp_path / "x.safetensors"
    arguments = {k: v for k, v in target.arguments.items() if k != "webui_dir"}
    found = run_module("civitai_download", sha256=expected_sha256, dest=str(dest), **arguments)
    assert not found["failed"], found.get("msg")
    assert sha256(dest) == expected_sha256


def test_the_filters_of_a_file_are_reported_as_they_were_written(target, run_module):
    """The query of a link is masked as a secret; what was asked for can still be read."""
    link = "https://civitai.com/api/download/models/11745?type=Model&format=ONNX"
    found = run_module("model_files", **target.arguments, models=[link])
    assert "type=Model, format=ONNX" in found["msg"]


def real_hash(target, run_module, tmp_path, version):
    """SHA-256 of the bytes that Civitai's double really sends for a version whose listed hash is another one."""
    found = run_module(
        "civitai_download", version_id=version, dest=str(tmp_path / "x.safetensors"), **without_dir(target)
    )
    real = re.search(r"its SHA-256 is ([0-9a-f]{64}) and", found["msg"])
    assert real, found["msg"]
    return real[1]


def without_dir(target) -> dict:
    return {key: value for key, value in target.arguments.items() if key != "webui_dir"}


@pytest.mark.parametrize("version", [71012, 71015])
def test_the_users_hash_decides_where_civitais_list_is_wrong(target, lab_server, run_module, tmp_path, version):
    """Oracle: hashlib on the file. Civitai's list had wrong hashes for years (Civitai-Helper 278, civitai 426)."""
    real = real_hash(target, run_module, tmp_path, version)
    options = {"source": f"civitai://{version}", "kind": "lora", "name": "m.safetensors", "sha256": real.upper()}
    planned = run_module("model_files", check=True, **target.arguments, models=[options])
    assert [m["status"] for m in planned["models"]] == ["fetch"], planned.get("msg")
    found = run_module("model_files", **target.arguments, models=[options])
    assert not found["failed"], found["msg"]
    assert sha256(target.path("models/Lora/m.safetensors")) == real == found["models"][0]["sha256"]
    if version == 71012:
        for result in (planned, found):
            assert any(real in w and "0" * 63 + "1" in w for w in map(str, result["warnings"])), result["warnings"]
    lab_server.log.entries.clear()
    repeated = run_module("model_files", **target.arguments, models=[options])
    assert (repeated["failed"], repeated["changed"], list(lab_server.log.entries)) == (False, False, [])
    one = run_module(
        "civitai_download", version_id=version, sha256=real, dest=str(tmp_path / "y.safetensors"), **without_dir(target)
    )
    assert not one["failed"] and sha256(tmp_path / "y.safetensors") == real
    assert (version != 71012) or any(real in str(w) for w in one["warnings"])


def test_a_users_hash_that_the_file_does_not_have_is_still_rejected(target, run_module):
    options = {"source": "civitai://112969", "sha256": "ab" * 32}
    found = run_module("model_files", **target.arguments, models=[options])
    assert found["failed"] and "ab" * 32 in found["msg"] and "thrown away" in found["msg"]
    assert not target.path("models/Lora").exists() or list(target.path("models/Lora").iterdir()) == []


def test_a_users_hash_says_which_of_several_files_is_meant(serve):
    other = {**FILE, "id": 12, "name": "other.safetensors", "primary": False, "hashes": {"SHA256": "CD" * 32}}
    first = {**FILE, "hashes": {"SHA256": "AB" * 32}}
    here, _ = serve(civitai_answer({**WHOLE, "files": [first, other]}))
    http = HttpClient(retries=0, timeout=2)
    for expected_sha256, name in (
        ("cd" * 32, "other.safetensors"),
        ("ab" * 32, "m.safetensors"),
        ("ef" * 32, "m.safetensors"),
    ):
        assert civitai.resolve_civitai_file({"version_id": "1"}, http, here, sha256=expected_sha256).filename == name


# --- the Hub and plain URLs


def hub_answer(headers, seen=None, data=b"12345"):
    return lambda path, requested: (200, {**headers}, data)


SHA1, SHA = "d" * 40, "e" * 64
FULL = {"repo": "a/b", "file": "m.safetensors", "revision": COMMIT}


@pytest.mark.parametrize(
    ("headers", "sha256", "git_sha1"),
    [
        ({"ETag": f'"{SHA}"'}, SHA, None),
        ({"ETag": SHA1}, None, None),  # Artifactory: of the content, and no git blob
        ({"ETag": SHA1, "X-Checksum-Sha256": SHA.upper()}, SHA, None),
        ({"ETag": '"x"'}, None, None),
        ({"ETag": f'"{SHA1}"', "X-Linked-Etag": f'"{SHA}"'}, SHA, None),
        ({"ETag": f'"{SHA1}"', "X-Repo-Commit": COMMIT}, None, SHA1),
    ],
)
def test_a_full_commit_is_not_reported(serve, headers, sha256, git_sha1):
    here, seen = serve(hub_answer(headers))
    found = huggingface.resolve_hub_file(FULL, HttpClient(retries=0, timeout=2), here)
    assert (found.sha256, found.git_sha1, found.revision, found.size) == (sha256, git_sha1, COMMIT, 5)
    assert found.url == f"{here}/a/b/resolve/{COMMIT}/m.safetensors"


@pytest.mark.parametrize("revision", ["main", "v1", COMMIT[:12], "refs/pr/1", COMMIT + "0"])
def test_a_revision_that_may_move_needs_its_commit(serve, revision):
    here, _ = serve(hub_answer({"ETag": f'"{SHA}"'}))
    with pytest.raises(huggingface.HubError, match="no X-Repo-Commit.*full commit"):
        huggingface.resolve_hub_file({**FULL, "revision": revision}, HttpClient(retries=0, timeout=2), here)


def test_a_proxy_that_redirects_to_a_storage_is_not_followed_past_the_hash(serve):
    storage, requested = serve(lambda path, headers: (403, {}, b""))
    metadata = {"location": storage + "/x?sig=1", "x-linked-etag": f'"{SHA}"', "x-linked-size": "7"}
    here, _ = serve(lambda path, headers: (302, metadata, b""))
    found = huggingface.resolve_hub_file(FULL, HttpClient(retries=0, timeout=2), here)
    assert (found.sha256, found.size, requested) == (SHA, 7, [])


def test_a_model_behind_a_proxy_of_packages_arrives(target, serve, run_module):
    content = safetensors()
    metadata = {"ETag": hashlib.sha1(content).hexdigest(), "X-Checksum-Sha256": hashlib.sha256(content).hexdigest()}
    here, _ = serve(hub_answer(metadata, data=content))
    arguments = {**target.arguments, "huggingface_endpoint": here}
    found = run_module(
        "model_files", **arguments, models=[{"source": f"hf://a/b@{COMMIT}/m.safetensors", "kind": "lora"}]
    )
    assert not found["failed"], found["msg"]
    assert found["models"][0]["sha256"] == hashlib.sha256(content).hexdigest()


def test_a_tree_that_is_none_costs_nothing_but_the_size(serve):
    def answer(path, headers):
        if path.startswith("/api/"):
            return 200, {"Content-Type": "application/json"}, b'{"error": "x"}'
        return 307, {"X-Repo-Commit": COMMIT, "X-Linked-Etag": '"' + "a" * 64 + '"'}, b""

    here, _ = serve(answer)
    where = {"repo": "a/b", "file": "m.safetensors", "revision": "main"}
    assert huggingface.resolve_hub_file(where, HttpClient(retries=0, timeout=2), here).size is None


@pytest.mark.parametrize("length", ["1e3", "\xb2", "-5", "5, 5"])
def test_a_length_that_is_no_number(serve, length):
    from ansible_collections.sdops.webui.plugins.module_utils.transfer.responses import header_number

    assert header_number(length) is None


def test_a_plain_urls_length_that_is_no_number(monkeypatch):
    class Answer:
        status_code, url = 200, "https://x/m.bin"
        headers = {"Content-Length": "big"}

        def close(self):
            pass

    http = HttpClient(retries=0)
    monkeypatch.setattr(http, "request", lambda *args, **more: Answer())
    assert direct.resolve_url({"url": "https://x/m.bin"}, http).size is None


@pytest.mark.parametrize("location", ["http://127.0.0.1:eighty/x", "http://[::1/x", "//[x/"])
def test_a_redirect_to_no_url(target, serve, run_module, location):
    here, seen = serve(lambda path, headers: (302, {"Location": location + "?sig=very-secret-key"}, b""))
    specs = [{"source": here + "/m.safetensors", "kind": "lora"}, {"source": GOOD, "kind": "vae"}]
    found = run_module("model_files", **target.arguments, models=specs)
    assert found["failed"]
    assert "no valid URL" in found["msg"]
    assert "very-secret-key" not in json.dumps(found)
    assert [m["status"] for m in found["models"]] == ["failed", "fetched"]
    assert len(seen) == 1


def test_tls_is_not_left_however_it_is_spelt(monkeypatch):
    class Answer:
        status_code = 302
        headers = {"Location": "http://hub.example/x"}
        content = b""

        def close(self):
            pass

    http = HttpClient(retries=0)
    monkeypatch.setattr(http, "send", lambda *args, **more: Answer())
    with pytest.raises(TransferError, match="away from TLS"):
        http.follow("GET", "HTTPS://hub.example/x", {})
    Answer.headers = {"Location": "HTTPS://hub.example/y"}
    with pytest.raises(TransferError, match="circles"):
        http.follow("GET", "https://hub.example/x", {})


def test_a_compressed_file_is_not_stored_as_it_comes(target, serve, run_module):
    here, _ = serve(lambda path, headers: (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b" + b"x" * 99))
    found = run_module(
        "model_files",
        **target.arguments,
        models=[{"source": here + "/m.yaml", "kind": "lora", "name": "m.pt"}],
        allow_pickle=True,
    )
    assert found["failed"]
    assert "compressed (gzip)" in found["msg"]


@pytest.mark.parametrize("endpoint", ["huggingface.co", "ftp://hub", "https://hub:port", "https://[hub", ""])
def test_an_endpoint_that_is_no_url(target, run_module, endpoint):
    arguments = {**target.arguments, "huggingface_endpoint": endpoint, "huggingface_token": "hf_lab_granted"}
    found = run_module("model_files", **arguments, models=[{"source": GOOD, "kind": "vae"}])
    assert found["failed"]
    assert "huggingface_endpoint must be a URL like https://huggingface.co" in found["msg"]


def test_a_token_that_is_not_sent_is_reported(target, run_module):
    arguments = {
        **target.arguments,
        "civitai_endpoint": "http://civitai.lab.invalid",
        "civitai_token": "lab_civitai_member",
    }
    found = run_module("model_files", **arguments, models=[{"source": GOOD, "kind": "vae"}])
    assert not found["failed"], found.get("msg")
    assert any("civitai_token is not sent to http://civitai.lab.invalid" in str(w) for w in found["warnings"])
    assert not run_module("model_files", **target.arguments, models=[{"source": GOOD, "kind": "vae"}]).get("warnings")


# --- entries and records


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (5, "neither a source nor a mapping"),
        (["x"], "neither a source nor a mapping"),
        (None, "neither a source nor a mapping"),
        ({"source": 5}, "has no source"),
        ({"source": GOOD, "name": 5}, "name must be a text"),
        ({"source": GOOD, "kind": ["vae"]}, "kind must be a text"),
        ({"source": GOOD, "config": 5}, "config must be a text"),
        ({"source": GOOD, "vae": [GOOD]}, "vae must be a text"),
        ({"source": GOOD, "vae": "ftp://x/y"}, "none of"),
        ({"source": GOOD, "name": "a\0b.safetensors"}, "plain file name"),
        ({"source": GOOD, "trusted": "perhaps"}, "trusted must be true or false"),
        ("magnet:?xt=urn:btih:" + "a" * 40 + "\n dir=/", "control characters"),
        ("https://host:port/x", "no valid URL"),
    ],
    ids=str,
)
@pytest.mark.parametrize("state", ["present", "absent"])
def test_entries_of_the_wrong_type_are_named(target, run_module, entry, message, state):
    found = run_module("model_files", **target.arguments, models=[entry], state=state)
    assert found["failed"]
    assert message in found["msg"]


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "not json",
        '{"models/VAE/x.safetensors": 5}',
        '{"models/VAE/x.safetensors": {"source_id": "%s", "bytes": 1, "mtime_ns": 1, "sha256": "a"}}',
        '{"models/VAE/x.safetensors": {"source_id": "%s", "bytes": "1", "mtime_ns": 1, "sha256": "a", "kind": "vae"}}',
        '{"../x": {"source_id": "%s", "bytes": 1, "mtime_ns": 1, "sha256": "a", "kind": "vae"}}',
    ],
)
@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_damaged_record_is_as_good_as_none(target, run_module, tmp_path, content, state):
    (target.webui / ".sdops").mkdir()
    outside = tmp_path / "x"
    outside.write_text("1")
    (target.webui / ".sdops" / "models.json").write_text(content.replace("%s", parse_model_entry(GOOD).source_id))
    found = run_module("model_files", **target.arguments, models=[{"source": GOOD, "kind": "vae"}], state=state)
    assert not found["failed"], found.get("msg")
    assert found["changed"] is (state == "present")
    assert outside.exists()


@pytest.mark.parametrize(
    ("source", "where"),
    [
        ("hf://a/b/x%20y.safetensors@main", {"file": "x y.safetensors", "revision": "main"}),
        ("hf://a/b/c#1.safetensors", {"file": "c#1.safetensors", "revision": "main"}),
        ("hf://a/b/d/c?.safetensors@refs%2Fpr%2F1", {"file": "d/c?.safetensors", "revision": "refs/pr/1"}),
    ],
)
def test_a_path_on_the_hub_as_it_is_written(source, where):
    assert parse_model_entry(source).locator == {"repo": "a/b", **where}


# --- what nobody foresaw


def test_a_defect_in_one_model_does_not_end_the_batch(target, monkeypatch):
    from ansible_collections.sdops.webui.plugins.module_utils.models.arguments import TRANSFER_ARGUMENTS, make_installer

    def resolve(where, *more):
        raise KeyError("very-secret-key")

    monkeypatch.setattr(civitai, "resolve_civitai_file", resolve)
    params = {name: option.get("default") for name, option in TRANSFER_ARGUMENTS.items()}
    specs = [parse_model_entry("civitai://1"), parse_model_entry({"source": GOOD, "kind": "vae"})]
    installer = make_installer({**params, **target.arguments}, str(target.webui), False)
    first, second = installer.install_all(specs, 2)
    assert (first.status.value, second.status.value) == ("failed", "fetched")
    assert "KeyError" in first.reason and "nobody foresaw" in first.reason
    assert "very-secret-key" not in first.reason
    with pytest.raises(SdopsError, match="nobody foresaw.*KeyError"):
        installer.install_at(specs[0], str(target.webui / "x.safetensors"))


def test_a_removal_that_fails_does_not_stop_the_others(target, run_module):
    specs = [
        {"source": GOOD, "kind": "vae", "name": "a.safetensors"},
        {"source": GOOD, "kind": "vae", "name": "b.safetensors"},
    ]
    assert not run_module("model_files", **target.arguments, models=specs)["failed"]
    first = target.path("models/VAE/a.safetensors")
    first.unlink()
    first.mkdir()  # whatever the reason: unlink fails
    record = target.webui / ".sdops" / "models.json"
    entries = json.loads(record.read_text())
    entries["models/VAE/a.safetensors"].update(bytes=first.stat().st_size, mtime_ns=first.stat().st_mtime_ns)
    record.write_text(json.dumps(entries))
    found = run_module("model_files", **target.arguments, models=specs, state="absent")
    assert found["failed"] and found["changed"]
    assert [m["status"] for m in found["models"]] == ["failed", "removed"]
    assert not target.path("models/VAE/b.safetensors").exists()


def test_a_varint_as_large_as_can_be(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(bytes([7 << 3 | 2]) + b"\xff" * 9 + b"\x7f" + b"\0" * 50)
    with pytest.raises(ContentError, match="no onnx file"):
        scan_file(str(path), "m.onnx", False)


def test_a_file_that_makes_the_check_stumble_is_not_let_through(tmp_path, monkeypatch):
    from ansible_collections.sdops.webui.plugins.module_utils.content_scan import scan

    def stumble(*_):
        raise RecursionError

    monkeypatch.setattr(scan, "check_safetensors", stumble)
    path = tmp_path / "m.safetensors"
    path.write_bytes(safetensors())
    with pytest.raises(ContentError, match="cannot be judged .RecursionError"):
        scan_file(str(path), "m.safetensors", False)


def test_a_name_that_no_encoding_has():
    assert sanitize_name("\ud800x.safetensors").encode()


@pytest.mark.parametrize("redirected", [False, True], ids=["", "redirected"])
def test_a_plain_url_never_carries_a_token(target, lab_server, serve, run_module, redirected):
    """Even at the endpoint's own address, where it is no link of the Hub, and wherever it redirects to: a link is anybody's."""
    hub = lab_server.url("huggingface.lab.test")
    link = hub + "/lab-fakes/gated/gated.safetensors"
    if redirected:
        file = hub + "/lab-fakes/gated/resolve/main/gated.safetensors"
        link = serve(lambda path, headers: (302, {"Location": file}, b""))[0] + "/gated.safetensors"
    tokens = {"huggingface_token": "hf_lab-granted", "civitai_token": "lab-civitai-token"}
    found = run_module(
        "model_files", **{**target.arguments, "retries": 0}, **tokens, models=[{"source": link, "kind": "checkpoint"}]
    )
    assert found["failed"]
    requested = [entry for entry in lab_server.log.entries if entry["host"] == "huggingface.lab.test"]
    assert requested
    assert not any(entry["authorization"] for entry in lab_server.log.entries)


@pytest.mark.parametrize(
    ("kind", "disposition"),
    [
        ("text/html; charset=UTF-8", 'attachment; filename="m.safetensors"'),
        ("text/html", ""),
        ("Text/HTML", 'filename="=?UTF-8?B?5qihLnNhZmV0ZW5zb3Jz?="'),
    ],
)
def test_the_bytes_decide_what_a_page_is(target, serve, run_module, kind, disposition):
    """PHP calls whatever it sends text/html."""
    data = models.safetensors_bytes("page", models.checkpoint_tensors(1, "F16"))
    metadata = {"Content-Type": kind, **({"Content-Disposition": disposition} if disposition else {})}
    here, _ = serve(lambda path, headers: (200, metadata, data if "model" in path else b"<html>log in</html>"))
    specs = [{"source": f"{here}/{name}.safetensors", "kind": "checkpoint"} for name in ("model", "page")]
    found = run_module("model_files", **target.arguments, models=specs)
    assert [m["status"] for m in found["models"]] == ["fetched", "failed"], found["msg"]
    assert Path(found["models"][0]["path"]).read_bytes() == data and "web page" in found["msg"]


def test_the_name_is_that_of_the_url_which_has_one(target, serve, run_module):
    data = models.safetensors_bytes("name", models.checkpoint_tensors(1, "F16"))
    here, _ = serve(
        lambda path, headers: (
            (302, {"Location": "/files/m.safetensors?x=1"}, b"") if path == "/get/5" else (200, {}, data)
        )
    )
    found = run_module("model_files", **target.arguments, models=[{"source": here + "/get/5", "kind": "checkpoint"}])
    assert not found["failed"] and found["models"][0]["name"] == "m.safetensors", found


# --- names that servers tell, and words in Content-Encoding


def metadata(text: str) -> str:
    """As a header of http.server that goes out as UTF-8."""
    return text.encode().decode("latin-1")


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('attachment; filename="\u6a21\u578b.safetensors"', "\u6a21\u578b.safetensors"),
        ("attachment; filename=\u6a21\u578b v2.safetensors", "\u6a21\u578b v2.safetensors"),
        ("attachment; filename=caf\u00e9 noir.safetensors; size=9", "caf\u00e9 noir.safetensors"),
        ("attachment; filename=x.safetensors; filename*=UTF-8''%E6%A8%A1.safetensors", "\u6a21.safetensors"),
    ],
)
def test_names_in_utf8(target, serve, run_module, header, name):
    here, _ = serve(lambda path, headers: (200, {"Content-Disposition": metadata(header)}, safetensors()))
    found = run_module("model_files", **target.arguments, models=[{"source": here + "/download", "kind": "lora"}])
    assert not found["failed"], found.get("msg")
    assert [m["name"] for m in found["models"]] == [name]


@pytest.mark.parametrize("end", ["/models/1/download/", "/", "", "/a/..", "/%20"])
def test_a_given_name_makes_the_servers_name_unnecessary(target, serve, run_module, end):
    here, _ = serve(lambda path, headers: (200, {}, safetensors()))
    options = {"source": here + end, "kind": "lora"}
    found = run_module("model_files", **target.arguments, models=[options])
    assert found["failed"] and "set name" in found["msg"], found
    found = run_module("model_files", **target.arguments, models=[{**options, "name": "mine.safetensors"}])
    assert not found["failed"], found.get("msg")
    assert (
        run_module("model_files", **target.arguments, models=[{**options, "name": "mine.safetensors"}])["changed"]
        is False
    )


@pytest.mark.parametrize(
    "coding", ["aws-chunked", "utf-8", "binary", "none", "AWS-Chunked, identity", "application/octet-stream"]
)
def test_a_word_that_is_no_compression_is_none(target, serve, run_module, coding):
    """Oracle: urllib3, which would decode what is compressed."""
    here, _ = serve(lambda path, headers: (200, {"Content-Encoding": coding}, safetensors()))
    found = run_module("model_files", **target.arguments, models=[{"source": here + "/x.safetensors", "kind": "lora"}])
    assert not found["failed"], found.get("msg")
    import requests

    assert requests.get(here, timeout=5).content == target.path("models/Lora/x.safetensors").read_bytes()


def test_every_coding_that_urllib3_decodes_is_a_compression():
    from urllib3.response import HTTPResponse

    assert {*HTTPResponse.CONTENT_DECODERS, "br", "zstd"} <= COMPRESSIONS


@pytest.mark.parametrize("coding", ["br", "x-gzip", "aws-chunked, gzip", "ZSTD"])
def test_compressed_files_are_rejected(target, serve, run_module, coding):
    here, _ = serve(lambda path, headers: (200, {"Content-Encoding": coding}, safetensors()))
    found = run_module(
        "model_files",
        **{**target.arguments, "retries": 0},
        models=[{"source": here + "/x.safetensors", "kind": "lora"}],
    )
    assert found["failed"] and "compressed" in found["msg"]

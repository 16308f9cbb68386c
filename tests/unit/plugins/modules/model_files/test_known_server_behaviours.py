"""What the Hub, its mirrors, Civitai and their storages are known to do to a download, each through the real modules.

A test says what a user sees: the right file, or a message that helps and nothing under the final name. After every test,
no storage has seen a token.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from pathlib import Path

import pytest

from lab.servers import hosts
from lab.servers.build.models import CIVITAI_NAMES, HUB_NAMES
from lab.servers.faults import Fault
from lab.servers.hosts.big import Big, big_path, big_sha256
from lab.servers.hosts.civitai import resolver_failed

REPO = "lab-fakes/tiny-sd15"
FILE = "v1-5-pruned-emaonly.safetensors"
CHECKPOINT = f"hf://{REPO}/{FILE}@main"
STORAGES = (hosts.HUB_STORAGE, hosts.CIVITAI_STORAGE, hosts.CIVITAI_B2, hosts.BIG)
MEMBER, GRANTED = "lab_civitai_member", "hf_lab_granted"
SECRETS = (MEMBER, GRANTED, "X-Amz-Signature", "hf_lab_", "lab_civitai_", "3_lab_")
DOWNLOADS = "/api/download/models/*"


@pytest.fixture(autouse=True)
def no_token_at_a_storage(lab_server):
    yield
    lab_server.log.wait_until_written()
    for entry in lab_server.log.entries:
        if entry["host"] in STORAGES:
            assert not entry["authorization"], entry
            assert "token=" not in entry["query"], entry


def visible(target) -> list[Path]:
    """The files that the WebUI would see: hidden ones are ours."""
    found = (path for path in target.webui.rglob("*") if path.is_file())
    return [path for path in found if not any(part.startswith(".") for part in path.relative_to(target.webui).parts)]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def hub_file(lab_server, name: str = FILE, repo: str = REPO) -> Path:
    return lab_server.root / "huggingface" / "files" / repo / name


def civitai_file(lab_server, number: int) -> Path:
    return lab_server.root / "civitai" / "files" / str(number)


def requests_to(lab_server, host: str) -> list[dict]:
    lab_server.log.wait_until_written()
    return [entry for entry in lab_server.log.entries if entry["host"] == host]


@pytest.fixture
def fetch(target, run_module):
    """One model by its source; further arguments are the module's."""

    def run(source: str, kind: str | None = "lora", **more: object):
        spec = {"source": source, **({"kind": kind} if kind else {})}
        found = run_module("model_files", **{**target.arguments, **more}, models=[spec])
        messages = json.dumps({key: value for key, value in found.items() if key != "invocation"})
        assert not [secret for secret in SECRETS if secret in messages]
        return found

    return run


def arrived(target, found, expected: str) -> None:
    """The module is content, and the one visible file is the right one."""
    assert not found["failed"], found.get("msg")
    assert [sha256(path) for path in visible(target)] == [expected]
    assert found["models"][0]["sha256"] == expected


def assert_rejected(target, found, *words: str) -> None:
    """The module failed with a message that matches every one of ``words``, and nothing lies about."""
    assert found["failed"], found
    for word in words:
        assert re.search(word, found["msg"], re.IGNORECASE), (word, found["msg"])
    assert visible(target) == []


# --- the Hub: links and redirects


def test_small_file_by_a_relative_redirect(target, lab_server, tmp_path, four_times):
    endpoints = {key: value for key, value in target.arguments.items() if key != "webui_dir"}
    dest = tmp_path / "README.md"
    four_times("huggingface_download", repo=REPO, file="README.md", dest=str(dest), **endpoints)
    assert dest.read_bytes() == hub_file(lab_server, "README.md").read_bytes()
    assert {entry["status"] for entry in requests_to(lab_server, hosts.HUB)} == {200, 206, 307}


@pytest.mark.parametrize("style", ["s3", "cloudfront"])
def test_large_file_by_a_signed_link(target, lab_server, fetch, style):
    lab_server.settings.hub_link_style = style
    found = fetch(CHECKPOINT, "checkpoint", huggingface_token=GRANTED)
    arrived(target, found, sha256(hub_file(lab_server)))
    assert all(entry["authorization"] for entry in requests_to(lab_server, hosts.HUB))
    # the storage answers HEAD and tokens with 403: neither was tried
    assert {entry["status"] for entry in requests_to(lab_server, hosts.HUB_STORAGE)} <= {200, 206}


def test_renamed_repository(target, lab_server, fetch):
    found = fetch(f"hf://lab-fakes/tiny-sd15-old/{FILE}@main", "checkpoint")
    arrived(target, found, sha256(hub_file(lab_server)))


def test_link_that_expires_under_way(target, lab_server, fetch):
    lab_server.faults.add(Fault("expire", host=hosts.HUB, seconds=1.0))
    lab_server.faults.add(Fault("slow", host=hosts.HUB_STORAGE, rate=8_000_000, times=1))
    lab_server.faults.add(Fault("disconnect", host=hosts.HUB_STORAGE, after=12_000_000, times=1))
    arrived(target, fetch(CHECKPOINT, "checkpoint"), sha256(hub_file(lab_server)))


def test_links_that_are_always_expired(target, lab_server, fetch):
    lab_server.faults.add(Fault("expire", host=hosts.HUB))
    assert_rejected(target, fetch(CHECKPOINT, "checkpoint"), "403|expired")
    assert len(requests_to(lab_server, hosts.HUB_STORAGE)) <= 20  # no endless asking for new links


def test_a_403_that_is_no_expiry_shows_its_cause(target, lab_server, fetch):
    lab_server.faults.add(Fault("status", host=hosts.HUB_STORAGE, status=403, body="Auth failed: invalid range"))
    assert_rejected(target, fetch(CHECKPOINT, "checkpoint"), "403", "invalid range")
    assert len(requests_to(lab_server, hosts.HUB_STORAGE)) <= 20


# --- the Hub: ranges, cuts, silence


def test_ranges_are_requested_so_that_they_are_sent(target, lab_server, fetch):
    """The network in front of the storage sends everything to those who take gzip."""
    lab_server.faults.add(Fault("disconnect", host=hosts.HUB_STORAGE, after=5_000_000, times=1))
    arrived(target, fetch(CHECKPOINT, "checkpoint"), sha256(hub_file(lab_server)))
    entries = requests_to(lab_server, hosts.HUB_STORAGE)
    assert any(entry["range"] for entry in entries)
    assert {entry["status"] for entry in entries if entry["range"]} == {206}
    assert sum(entry["bytes"] for entry in entries) <= hub_file(lab_server).stat().st_size + (4 << 20)


def test_a_416_starts_over(target, lab_server, fetch):
    lab_server.faults.add(Fault("disconnect", host=hosts.HUB_STORAGE, after=5_000_000, times=1))
    lab_server.faults.add(Fault("status", host=hosts.HUB_STORAGE, status=416, ranged=True, times=1))
    arrived(target, fetch(CHECKPOINT, "checkpoint"), sha256(hub_file(lab_server)))


def test_half_a_file_that_calls_itself_whole(target, lab_server, fetch):
    lab_server.faults.add(Fault("short", host=hosts.HUB_STORAGE, after=700_000))
    found = fetch("hf://lab-fakes/tiny-vae/vae-ft-mse-840000-ema-pruned.safetensors@main", "vae")
    # it was had in pieces
    vae = hub_file(lab_server, "vae-ft-mse-840000-ema-pruned.safetensors", "lab-fakes/tiny-vae")
    arrived(target, found, sha256(vae))


def test_nothing_comes_any_more(target, lab_server, fetch):
    lab_server.faults.add(Fault("stall", host=hosts.HUB_STORAGE, after=1_000_000, seconds=60, times=1))
    started = time.monotonic()
    found = fetch(CHECKPOINT, "checkpoint", timeout=2)
    arrived(target, found, sha256(hub_file(lab_server)))
    assert time.monotonic() - started < 30


def test_no_length_at_the_storage(target, lab_server, fetch):
    lab_server.faults.add(Fault("headers", host=hosts.HUB_STORAGE, headers={"Content-Length": None}))
    arrived(target, fetch(CHECKPOINT, "checkpoint"), sha256(hub_file(lab_server)))


def test_no_length_anywhere_and_an_interruption_that_looks_like_an_end(target, lab_server, fetch):
    lab_server.settings.hub_tree_page = 1
    lab_server.faults.add(Fault("headers", host=hosts.HUB, path="*/resolve/*", headers={"X-Linked-Size": None}))
    lab_server.faults.add(Fault("until_close", host=hosts.HUB_STORAGE))
    lab_server.faults.add(Fault("disconnect", host=hosts.HUB_STORAGE, after=5_000_000, times=1))
    arrived(target, fetch(CHECKPOINT, "checkpoint"), sha256(hub_file(lab_server)))


def test_listing_in_pages_has_the_size_on_whatever_page(target, lab_server, fetch):
    lab_server.settings.hub_tree_page = 1
    lab_server.faults.add(Fault("headers", host=hosts.HUB, path="*/resolve/*", headers={"X-Linked-Size": None}))
    size = hub_file(lab_server).stat().st_size
    planned = fetch(CHECKPOINT, "checkpoint", check=True)
    assert len([e for e in requests_to(lab_server, hosts.HUB) if e["path"].startswith("/api/models/")]) > 1
    assert planned["bytes_planned"] == planned["space_needed"] == planned["models"][0]["bytes"] == size
    arrived(target, fetch(CHECKPOINT, "checkpoint"), sha256(hub_file(lab_server)))


# --- the Hub: limits and refusals


def test_rate_limit_is_waited_for_as_long_as_it_says(target, lab_server, run_module):
    """No Retry-After: the time is in RateLimit."""
    window = lab_server.settings.hub_window = 6
    lab_server.settings.hub_resolvers = 2
    specs = [
        {"source": CHECKPOINT, "kind": "checkpoint"},
        {"source": "hf://lab-fakes/tiny-vae/vae-ft-mse-840000-ema-pruned.safetensors@main", "kind": "vae"},
    ]
    time.sleep(window - time.time() % window)  # the window begins now
    found = run_module("model_files", **target.arguments, models=specs, parallel=1)
    assert not found["failed"], found.get("msg")
    assert len(visible(target)) == 2
    assert len([entry for entry in requests_to(lab_server, hosts.HUB) if entry["status"] == 429]) <= 2


def test_rate_limit_without_end(target, lab_server, fetch):
    lab_server.settings.hub_window, lab_server.settings.hub_resolvers = 2, 0
    assert_rejected(target, fetch(CHECKPOINT, "checkpoint"), "429|rate limit")


@pytest.mark.parametrize(
    ("source", "token", "words"),
    [
        ("hf://lab-fakes/gated/gated.safetensors@main", None, ["gated", "huggingface_token"]),
        ("hf://lab-fakes/gated/gated.safetensors@main", "hf_lab_ungranted", ["gated", "terms|ask for access"]),
        ("hf://lab-fakes/gated/gated.safetensors@main", "hf_lab_narrow", ["fine-grained"]),
        ("hf://lab-fakes/private/private.safetensors@main", None, ["does not exist", "private", "huggingface_token"]),
        ("hf://lab-fakes/nothing/x.safetensors@main", None, ["does not exist", "private"]),
        ("hf://lab-fakes/nothing/x.safetensors@main", "hf_lab_ungranted", ["does not exist"]),
        (CHECKPOINT, "hf_lab_mistyped", ["token", "wrong|invalid|refused|expired"]),
        (f"hf://{REPO}/{FILE}@nowhere", None, ["no revision", "nowhere"]),
        (f"hf://{REPO}/nothing.safetensors@main", None, ["no file", r"nothing\.safetensors"]),
        ("hf://lab-fakes/disabled/x.safetensors@main", None, ["disabled"]),
    ],
)  # fmt: skip
def test_hub_refusals(target, fetch, source, token, words):
    assert_rejected(target, fetch(source, huggingface_token=token), *words)


# --- mirrors and the short name


@pytest.mark.parametrize("name", [hosts.HUB_MIRROR, hosts.HUB_SHORT])
def test_endpoint_that_only_redirects_to_the_hub(target, lab_server, fetch, name):
    """It works; the token stays with the endpoint that it was given for."""
    found = fetch(CHECKPOINT, "checkpoint", huggingface_endpoint=lab_server.url(name), huggingface_token=GRANTED)
    arrived(target, found, sha256(hub_file(lab_server)))
    assert requests_to(lab_server, name)
    assert not any(entry["authorization"] for entry in requests_to(lab_server, hosts.HUB))


def test_mirror_that_passes_metadata_on(target, lab_server, fetch):
    arrived(
        target,
        fetch(
            CHECKPOINT, "checkpoint", huggingface_endpoint=lab_server.url(hosts.HUB_PROXY), huggingface_token=GRANTED
        ),
        sha256(hub_file(lab_server)),
    )
    assert not requests_to(lab_server, hosts.HUB)


def test_mirror_without_ranges_and_lengths(target, lab_server, fetch):
    lab_server.faults.add(Fault("ignore_range", host=hosts.HUB_STORAGE))
    lab_server.faults.add(
        Fault("headers", host=hosts.HUB_STORAGE, headers={"Content-Length": None, "Accept-Ranges": None})
    )
    lab_server.faults.add(Fault("disconnect", host=hosts.HUB_STORAGE, after=5_000_000, times=1))
    found = fetch(CHECKPOINT, "checkpoint", huggingface_endpoint=lab_server.url(hosts.HUB_PROXY))
    arrived(target, found, sha256(hub_file(lab_server)))


# --- files that change


def half_done(lab_server, fetch) -> None:
    """A first run that leaves part of the file behind."""
    truncated = lab_server.faults.add(Fault("disconnect", host=hosts.HUB_STORAGE, after=3_000_000))
    reject = lab_server.faults.add(Fault("status", host=hosts.HUB_STORAGE, status=403, body="not now", skip=1))
    assert fetch(CHECKPOINT, "checkpoint")["failed"]
    assert truncated.hits and reject.hits
    lab_server.faults.clear()
    lab_server.log.entries.clear()


@pytest.mark.parametrize("size", [1_000_000, 30_000_000])
def test_another_file_on_the_branch_between_two_runs(target, lab_server, fetch, size):
    half_done(lab_server, fetch)
    assert visible(target) == []
    made = lab_server.replace_hub_file(REPO, FILE, Big(size, "new"))
    found = fetch(CHECKPOINT, "checkpoint")
    arrived(target, found, made["sha256"])
    assert found["models"][0]["revision"] == made["commit"]


@pytest.mark.parametrize(
    "how",
    [{}, {"squash": True}, {"commit": False}],
    ids=["new-commit", "squashed", "same-commit-other-etag"],
)
def test_another_file_while_it_comes_down(target, lab_server, fetch, how):
    """The link that was given leads to the old file until its end."""
    old = sha256(hub_file(lab_server))
    lab_server.faults.add(Fault("disconnect", host=hosts.HUB_STORAGE, after=5_000_000, times=1))
    made = {}

    def replace() -> None:
        deadline = time.monotonic() + 20
        while (
            not any(e["host"] == hosts.HUB_STORAGE for e in list(lab_server.log.entries))
            and time.monotonic() < deadline
        ):
            time.sleep(0.005)
        made.update(lab_server.replace_hub_file(REPO, FILE, Big(hub_file(lab_server).stat().st_size, "new"), **how))

    thread = threading.Thread(target=replace)
    thread.start()
    found = fetch(CHECKPOINT, "checkpoint")
    thread.join()
    assert made["sha256"] != old
    arrived(target, found, old)


def test_plain_url_whose_file_changes_between_two_tries(target, lab_server, fetch):
    url = lab_server.url(hosts.BIG) + big_path(20_000_000, "a")
    lab_server.faults.add(Fault("disconnect", host=hosts.BIG, after=5_000_000, times=3))
    # from the second answer on it is another file, and says so
    lab_server.faults.add(Fault("headers", host=hosts.BIG, headers={"ETag": '"other"'}, skip=2))
    lab_server.faults.add(Fault("wrong_bytes", host=hosts.BIG, after=1_000_000, skip=2))
    old = b"".join(Big(20_000_000, "a").slice(0, 20_000_000).chunks())
    new = old[:1_000_000] + bytes([old[1_000_000] ^ 0xFF]) + old[1_000_001:]
    arrived(target, fetch(url, "checkpoint"), hashlib.sha256(new).hexdigest())


def test_pointer_instead_of_the_file(target, lab_server, fetch):
    """The raw link of a large file gives the few lines that git keeps for it."""
    assert_rejected(
        target, fetch(lab_server.url(hosts.HUB) + f"/{REPO}/raw/main/{FILE}", "checkpoint"), "safetensors|pointer"
    )


def test_big_file_by_url(target, lab_server, run_module):
    size = 64 << 20
    spec = {
        "source": lab_server.url(hosts.BIG) + big_path(size, "u"),
        "kind": "checkpoint",
        "sha256": big_sha256(size, "u"),
    }
    lab_server.faults.add(Fault("until_close", host=hosts.BIG))
    lab_server.faults.add(Fault("disconnect", host=hosts.BIG, after=30_000_000, times=4))
    arrived(target, run_module("model_files", **target.arguments, models=[spec]), big_sha256(size, "u"))


@pytest.mark.parametrize("name", HUB_NAMES)
def test_hard_names_on_the_hub(target, lab_server, tmp_path, run_module, name):
    dest = tmp_path / "target"
    dest.mkdir()
    endpoints = {key: value for key, value in target.arguments.items() if key != "webui_dir"}
    found = run_module("huggingface_download", repo="lab-fakes/names", file=name, dest=str(dest), **endpoints)
    assert not found["failed"], found.get("msg")
    path = Path(found["path"])
    assert (path.parent, path.suffix) == (dest, ".safetensors")
    assert sha256(path) == sha256(hub_file(lab_server, name, "lab-fakes/names"))
    assert [entry.name for entry in dest.iterdir()] == [path.name]


# --- Civitai: what the download link answers


@pytest.mark.parametrize(
    ("version", "token", "words"),
    [
        (112969, "lab_civitai_banned", ["403|forbidden|blocked"]),
        (70004, None, ["deleted|unpublished|hidden"]),
        (70003, None, ["archived"]),
        (70006, None, ["disabled downloads"]),
        (70002, None, ["login", "civitai_token"]),
        (70002, "expired-token", ["login", "token", "wrong|expired|invalid"]),
        (70001, None, ["early access"]),
        (70001, MEMBER, ["early access", "bought|buy"]),
        (70005, MEMBER, ["access"]),
    ],
)
def test_civitai_refusals(target, lab_server, fetch, version, token, words):
    assert_rejected(target, fetch(f"civitai://{version}", "checkpoint", civitai_token=token), *words)
    agents = {entry["agent"] for entry in requests_to(lab_server, hosts.CIVITAI)}
    # browsers get a login page with status 200 instead of an error
    assert not [agent for agent in agents if re.search("mozilla|chrome|safari|firefox|opera|edge", agent, re.I)]


@pytest.mark.parametrize("version", [70001, 70005])
def test_civitai_grants(target, lab_server, fetch, version):
    found = fetch(f"civitai://{version}", "checkpoint", civitai_token="lab_civitai_buyer")
    arrived(target, found, sha256(civitai_file(lab_server, version * 1000 + 1)))


def test_civitai_blacklist(target, lab_server, fetch):
    lab_server.settings.civitai_blacklisted = True
    assert_rejected(target, fetch("civitai://112969"), "403|forbidden|blocked")


def test_civitai_too_many_downloads(target, lab_server, fetch):
    lab_server.settings.civitai_too_many = True
    assert_rejected(target, fetch("civitai://112969"), "429|unusual amount|too many")


def test_civitai_too_many_for_a_moment(target, lab_server, fetch):
    lab_server.faults.add(Fault("status", host=hosts.CIVITAI, path=DOWNLOADS, status=429, times=1))
    arrived(target, fetch("civitai://112969"), sha256(civitai_file(lab_server, 112969001)))


def test_civitai_region(target, lab_server, fetch):
    lab_server.settings.civitai_region_blocked = True
    assert_rejected(target, fetch("civitai://112969"), "region", "proxy")


@pytest.mark.parametrize("times", [1, 2])
def test_civitai_storage_resolver_fails_for_a_moment(target, lab_server, fetch, times):
    lab_server.faults.add(resolver_failed(times))
    arrived(target, fetch("civitai://112969"), sha256(civitai_file(lab_server, 112969001)))


def test_civitai_storage_resolver_fails_for_good(target, lab_server, fetch):
    lab_server.faults.add(resolver_failed(None))
    assert_rejected(target, fetch("civitai://112969"), "404|not found")
    assert len(requests_to(lab_server, hosts.CIVITAI)) <= 10


def test_civitai_login_page_by_redirect(target, lab_server, fetch):
    page = {"Location": "/login?returnUrl=%2Fmodel-versions%2F112969&reason=download-auth"}
    lab_server.faults.add(Fault("status", host=hosts.CIVITAI, path=DOWNLOADS, status=307, headers=page))
    assert_rejected(target, fetch("civitai://112969"), "login", "civitai_token")


@pytest.mark.parametrize(
    ("version", "kind_of_page", "body"),
    [
        (112969, "text/html; charset=utf-8", "<!doctype html><title>Just a moment...</title>"),
        (112969, "application/octet-stream", "<!doctype html><title>Just a moment...</title>"),
        (71011, "application/octet-stream", '{"error":"Unauthorized","message":"log in"}' * 500),
    ],
    ids=["html", "html-in-disguise", "json-and-no-hash"],
)
def test_page_instead_of_the_file(target, lab_server, fetch, version, kind_of_page, body):
    headers = {"Content-Type": kind_of_page}
    lab_server.faults.add(Fault("status", host=hosts.CIVITAI_STORAGE, status=200, headers=headers, body=body))
    assert_rejected(target, fetch(f"civitai://{version}"), "web page|SHA-256|safetensors|bytes")


# --- Civitai: storages


def test_civitai_token_stays_where_it_belongs(target, lab_server, fetch):
    arrived(target, fetch("civitai://70002", None, civitai_token=MEMBER), sha256(civitai_file(lab_server, 70002001)))
    assert any(entry["authorization"] for entry in requests_to(lab_server, hosts.CIVITAI))
    assert {entry["status"] for entry in requests_to(lab_server, hosts.CIVITAI_STORAGE)} <= {200, 206}
    assert "token=" not in "".join(entry["query"] for entry in lab_server.log.entries)


def test_storage_without_a_name_for_the_file(target, lab_server, fetch):
    found = fetch("civitai://71031", civitai_token=MEMBER)
    arrived(target, found, sha256(civitai_file(lab_server, 71031001)))
    assert visible(target)[0].name == "from-b2.safetensors"


@pytest.mark.parametrize("storage", ["r2", "b2"])
def test_civitai_link_that_expires_under_way(target, lab_server, fetch, storage):
    lab_server.settings.civitai_storage = storage
    host = hosts.CIVITAI_B2 if storage == "b2" else hosts.CIVITAI_STORAGE
    lab_server.faults.add(Fault("expire", host=hosts.CIVITAI, seconds=1.0))
    lab_server.faults.add(Fault("slow", host=host, rate=4_000_000, times=1))
    lab_server.faults.add(Fault("disconnect", host=host, after=6_000_000, times=1))
    found = fetch("civitai://11745?fileId=11745001", None)
    arrived(target, found, sha256(civitai_file(lab_server, 11745001)))


@pytest.mark.parametrize("storage", ["r2", "b2"])
def test_civitai_links_that_are_always_expired(target, lab_server, fetch, storage):
    lab_server.settings.civitai_storage = storage
    lab_server.faults.add(Fault("expire", host=hosts.CIVITAI))
    assert_rejected(target, fetch("civitai://112969"), "expired")


def test_civitai_storage_without_length(target, lab_server, fetch):
    lab_server.faults.add(Fault("until_close", host=hosts.CIVITAI_STORAGE))
    lab_server.faults.add(Fault("disconnect", host=hosts.CIVITAI_STORAGE, after=5_000_000, times=1))
    arrived(target, fetch("civitai://11745?fileId=11745001", None), sha256(civitai_file(lab_server, 11745001)))


# --- Civitai: hashes


@pytest.mark.parametrize("version", [71011, 71013, 71014], ids=["none", "pending", "no-sha256"])
def test_hashes_that_are_missing(target, lab_server, fetch, version):
    arrived(target, fetch(f"civitai://{version}"), sha256(civitai_file(lab_server, version * 1000 + 1)))
    assert fetch(f"civitai://{version}")["changed"] is False


def test_hash_that_is_wrong(target, fetch):
    assert_rejected(target, fetch("civitai://71012"), "SHA-256")


def test_short_hash_that_is_wrong(target, fetch):
    """AutoV2 is the beginning of the SHA-256: better than nothing, when nothing else is there."""
    assert_rejected(target, fetch("civitai://71015"), "AutoV2|SHA-256|hash")


@pytest.mark.parametrize("change", [str.upper, str.lower])
def test_hashes_in_any_case(target, lab_server, tmp_path, run_module, change):
    expected = sha256(civitai_file(lab_server, 112969001))
    endpoints = {key: value for key, value in target.arguments.items() if key != "webui_dir"}
    dest = tmp_path / "x.safetensors"
    found = run_module("civitai_download", sha256=change(expected), dest=str(dest), **endpoints)
    assert not found["failed"], found.get("msg")
    assert sha256(dest) == expected


# --- Civitai: which file, under which name


@pytest.mark.parametrize(
    ("source", "number"),
    [
        ("civitai://11745", 11745002),
        ("civitai://11745?fileId=11745001", 11745001),
        ("civitai://71022", 71022002),
        ("urn:air:sd1:checkpoint:civitai:6424@11745", 11745002),
        ("air:sd1:checkpoint:civitai:6424@11745", 11745002),
        ("civitai:6424@11745", 11745002),
        ("urn:air:sd1:checkpoint:civitai:6424@11745+11745001", 11745001),
        ("urn:air:sd1:checkpoint:civitai:6424@11745.safetensors", 11745002),
        ("urn:air:sd1:checkpoint:civitai:6424", 11745002),
    ],
)
def test_which_file_is_meant(target, lab_server, fetch, source, number):
    arrived(target, fetch(source, None), sha256(civitai_file(lab_server, number)))


def test_the_same_file_for_every_client(target, lab_server, fetch):
    """The bare link gives this account another file than the API names."""
    found = fetch("civitai://11745", None, civitai_token="lab_civitai_fp32")
    arrived(target, found, sha256(civitai_file(lab_server, 11745002)))


def test_format_that_a_version_does_not_have(target, fetch):
    assert_rejected(target, fetch("civitai://71021?format=SafeTensor"), "format=SafeTensor", "Q8_0", "71021001")


def test_file_that_only_its_id_finds(target, lab_server, tmp_path, run_module):
    endpoints = {key: value for key, value in target.arguments.items() if key != "webui_dir"}
    dest = tmp_path / "tiny.gguf"
    found = run_module("civitai_download", version_id=71021, file_id=71021002, dest=str(dest), **endpoints)
    assert not found["failed"], found.get("msg")
    assert sha256(dest) == sha256(civitai_file(lab_server, 71021002))


@pytest.mark.parametrize("version", CIVITAI_NAMES)
def test_hard_names_on_civitai(target, lab_server, fetch, version):
    found = fetch(f"civitai://{version}")
    arrived(target, found, sha256(civitai_file(lab_server, version * 1000 + 1)))
    (path,) = visible(target)
    assert (path.parent, path.suffix) == (target.path("models/Lora"), ".safetensors")
    assert len(path.name.encode()) <= 255 and not re.search(r'[\x00-\x1f"\\/:]', path.name)
    assert not list(target.webui.parent.glob("*.safetensors"))
    assert fetch(f"civitai://{version}")["changed"] is False

"""The HuggingFace fake answers like the Hub (facts: headers, redirects, errors, limits)."""

from __future__ import annotations

import hashlib
import json
import time
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
import requests

from lab.servers import hosts
from lab.servers.build.models import HUB_NAMES
from lab.servers.faults import Fault
from lab.servers.server import LabServer
from lab.servers.signing import Signer

from .conftest import Built

SD = "lab-fakes/tiny-sd15"
BIG = "v1-5-pruned-emaonly.safetensors"


def hub(lab_server: LabServer, path: str) -> str:
    return lab_server.url(hosts.HUB) + path


def signed(lab_server: LabServer, http: requests.Session, path: str = f"/{SD}/resolve/main/{BIG}") -> str:
    answer = http.head(hub(lab_server, path), allow_redirects=False)
    assert answer.status_code == 302
    return answer.headers["Location"]


def test_large_file_redirects_to_signed_storage(lab_server: LabServer, built: Built, http: requests.Session) -> None:
    answer = http.head(hub(lab_server, f"/{SD}/resolve/main/{BIG}"), allow_redirects=False)
    known = built.hub[SD]["files"][BIG]
    assert answer.status_code == 302
    assert answer.headers["X-Repo-Commit"] == built.hub[SD]["commit"]
    assert answer.headers["X-Linked-Etag"] == f'"{known["sha256"]}"'
    assert int(answer.headers["X-Linked-Size"]) == known["size"] > 20_000_000
    assert answer.headers["X-Xet-Hash"] != known["sha256"]
    assert int(answer.headers["Content-Length"]) < 2000  # of the redirect, not of the file
    location = answer.headers["Location"]
    assert urlsplit(location).netloc != urlsplit(hub(lab_server, "")).netloc
    whole = http.get(location)
    assert hashlib.sha256(whole.content).hexdigest() == known["sha256"]


def test_small_file_goes_through_the_resolve_cache(lab_server: LabServer, http: requests.Session) -> None:
    first = http.head(hub(lab_server, f"/{SD}/resolve/main/vae/config.json"), allow_redirects=False)
    assert first.status_code == 307
    assert first.headers["Location"].startswith("/api/resolve-cache/models/")
    second = http.get(hub(lab_server, first.headers["Location"]), allow_redirects=False)
    blob = b"blob %d\0" % len(second.content) + second.content
    assert second.status_code == 200
    assert second.headers["ETag"] == f'"{hashlib.sha1(blob).hexdigest()}"'
    assert second.headers["X-Repo-Commit"] == first.headers["X-Repo-Commit"]
    repeated = http.get(hub(lab_server, first.headers["Location"]), headers={"If-None-Match": second.headers["ETag"]})
    assert repeated.status_code == 304


def test_storage_serves_ranges(lab_server: LabServer, http: requests.Session, built: Built) -> None:
    url, size = signed(lab_server, http), built.hub[SD]["files"][BIG]["size"]
    part = http.get(url, headers={"Range": "bytes=8-107"})
    assert (part.status_code, len(part.content)) == (206, 100)
    assert part.headers["Content-Range"] == f"bytes 8-107/{size}"
    beyond = http.get(url, headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{size}")
    # the network in front of the storage forgets Range for clients that take gzip
    compressed = http.get(url, headers={"Range": "bytes=0-0", "Accept-Encoding": "gzip"}, stream=True)
    assert compressed.status_code == 200
    compressed.close()


def test_storage_refuses_tokens_heads_and_forgeries(lab_server: LabServer, http: requests.Session) -> None:
    url = signed(lab_server, http)
    assert http.get(url, headers={"Authorization": "Bearer hf_lab_granted"}).status_code == 403
    assert http.head(url).status_code == 403
    assert http.get(url.split("?")[0]).status_code == 403
    assert http.get(url[:-1] + ("0" if url[-1] != "0" else "1")).status_code == 403


def test_signed_links_expire(lab_server: LabServer, http: requests.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    url = signed(lab_server, http)
    monkeypatch.setattr(lab_server.signer, "clock", lambda: time.time() + 3601)
    late = http.get(url)
    assert late.status_code == 403
    assert "Request has expired" in late.text
    assert http.get(signed(lab_server, http), headers={"Range": "bytes=0-0"}).status_code == 206


def test_signature_covers_path_and_parameters() -> None:
    now = 1_000_000.0
    signer = Signer(lambda: now)
    path, query = signer.sign("/a/b", 60, response_content_disposition='inline; filename="x"').split("?")
    assert signer.check(path, query) == "ok"
    assert signer.check("/a/c", query) == "invalid"
    assert signer.check(path, query.replace("Expires=60", "Expires=6000")) == "invalid"
    assert signer.check(path, "") == "missing"
    now += 61
    assert signer.check(path, query) == "expired"


@pytest.mark.parametrize(
    ("path", "token", "status", "code"),
    [
        ("/lab-fakes/gated/resolve/main/gated.safetensors", None, 401, "GatedRepo"),
        ("/lab-fakes/gated/resolve/main/gated.safetensors", "hf_lab_ungranted", 403, "GatedRepo"),
        ("/lab-fakes/gated/resolve/main/gated.safetensors", "hf_lab_granted", 302, None),
        ("/lab-fakes/private/resolve/main/private.safetensors", None, 401, "RepoNotFound"),
        ("/lab-fakes/private/resolve/main/private.safetensors", "hf_lab_granted", 302, None),
        ("/lab-fakes/nothing/resolve/main/x.bin", None, 401, "RepoNotFound"),
        ("/lab-fakes/nothing/resolve/main/x.bin", "hf_lab_ungranted", 404, "RepoNotFound"),
        (f"/{SD}/resolve/main/{BIG}", "hf_wrong", 401, None),
        (f"/{SD}/resolve/nowhere/{BIG}", None, 404, "RevisionNotFound"),
        (f"/{SD}/resolve/main/nothing.bin", None, 404, "EntryNotFound"),
        ("/lab-fakes/disabled/resolve/main/README.md", None, 403, None),
        (f"/lab-fakes/tiny-sd15-old/resolve/main/{BIG}", None, 307, None),
    ],
)
def test_who_may_have_what(
    lab_server: LabServer, http: requests.Session, path: str, token: str | None, status: int, code: str | None
) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = http.head(hub(lab_server, path), headers=headers, allow_redirects=False)
    assert (answer.status_code, answer.headers.get("X-Error-Code")) == (status, code)
    assert answer.headers["RateLimit-Policy"] == '"fixed window";"resolvers";q=3000;w=300'
    assert answer.headers["X-Request-Id"].startswith("Root=")
    if code == "EntryNotFound":
        assert len(answer.headers["X-Repo-Commit"]) == 40


def test_metadata_api(lab_server: LabServer, http: requests.Session, built: Built) -> None:
    info = http.get(hub(lab_server, f"/api/models/{SD}?blobs=true")).json()
    assert info["sha"] == built.hub[SD]["commit"]
    listed = {item["rfilename"]: item for item in info["siblings"]}
    assert listed[BIG]["lfs"]["sha256"] == built.hub[SD]["files"][BIG]["sha256"]
    assert "lfs" not in listed["README.md"]
    pinned = http.get(hub(lab_server, f"/api/models/{SD}/revision/{info['sha']}")).json()
    assert pinned["siblings"][0].keys() == {"rfilename"}
    flat = http.get(hub(lab_server, f"/api/models/{SD}/tree/main")).json()
    assert {"vae": "directory", BIG: "file"}.items() <= {item["path"]: item["type"] for item in flat}.items()
    deep = http.get(hub(lab_server, f"/api/models/{SD}/tree/main?recursive=true")).json()
    assert "vae/config.json" in {item["path"] for item in deep}
    assert [item["path"] for item in http.get(hub(lab_server, f"/api/models/{SD}/tree/main/vae")).json()] == [
        "vae/config.json"
    ]
    some = http.post(hub(lab_server, f"/api/models/{SD}/paths-info/main"), data={"paths": [BIG, "nothing"]}).json()
    assert [item["path"] for item in some] == [BIG]


def test_long_listings_come_in_pages(
    lab_server: LabServer, http: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab_server.settings, "hub_tree_page", 2)
    url, paths = hub(lab_server, f"/api/models/{SD}/tree/main?recursive=true"), []
    while url:
        answer = http.get(url)
        assert len(answer.json()) <= 2
        paths += [item["path"] for item in answer.json()]
        url = answer.links.get("next", {}).get("url", "")
    assert BIG in paths and "vae/config.json" in paths and len(paths) == len(set(paths))


def test_rate_limit(lab_server: LabServer, http: requests.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_server.settings, "hub_api", 0)
    answer = http.get(hub(lab_server, f"/api/models/{SD}"))
    assert answer.status_code == 429
    assert answer.headers["RateLimit"].startswith('"api";r=0;t=')


def test_raw_of_a_large_file_is_its_pointer(lab_server: LabServer, http: requests.Session) -> None:
    assert http.get(hub(lab_server, f"/{SD}/raw/main/{BIG}")).text.startswith(
        "version https://git-lfs.github.com/spec/v1\noid sha256:"
    )


def test_files_are_well_formed(built: Built) -> None:
    path = built.root / "huggingface" / "files" / SD / BIG
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert "fake" in header.pop("__metadata__")["lab"]
    assert 8 + length + max(item["data_offsets"][1] for item in header.values()) == len(data)
    for item in header.values():
        rows, columns = item["shape"]
        assert item["data_offsets"][1] - item["data_offsets"][0] == rows * columns * 2


# --- what was added for the downloads' checklist


def test_short_name_and_mirror_redirect_absolutely(lab_server: LabServer, http: requests.Session) -> None:
    path = f"/{SD}/resolve/refs%2Fpr%2F1/{BIG}?a=b"
    for name, status in ((hosts.HUB_SHORT, 307), (hosts.HUB_MIRROR, 308)):
        answer = http.head(lab_server.url(name) + path, allow_redirects=False)
        assert (answer.status_code, answer.headers["Location"]) == (status, hub(lab_server, path))
        assert "X-Repo-Commit" not in answer.headers


def test_proxying_mirror_leaves_the_data_at_the_storage(lab_server: LabServer, http: requests.Session) -> None:
    answer = http.head(lab_server.url(hosts.HUB_PROXY) + f"/{SD}/resolve/main/{BIG}", allow_redirects=False)
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(lab_server.url(hosts.HUB_STORAGE))
    assert answer.links["xet-auth"]["url"].startswith(lab_server.url(hosts.HUB_PROXY))


def test_replaced_file_has_a_new_etag_and_commit(lab_server: LabServer, http: requests.Session, built: Built) -> None:
    url = hub(lab_server, f"/{SD}/resolve/main/{BIG}")
    before = http.head(url, allow_redirects=False).headers
    made = lab_server.replace_hub_file(SD, BIG, b"other content")
    after = http.head(url, allow_redirects=False).headers
    assert after["X-Repo-Commit"] == made["commit"] != before["X-Repo-Commit"]
    assert after["X-Linked-Etag"] == f'"{made["sha256"]}"' != before["X-Linked-Etag"]
    assert http.get(after["Location"]).content == b"other content"
    old = http.head(url.replace("main", before["X-Repo-Commit"]), allow_redirects=False).headers
    assert old["X-Linked-Etag"] == before["X-Linked-Etag"]
    assert http.get(old["Location"], headers={"Range": "bytes=0-9"}).status_code == 206

    lab_server.replace_hub_file(SD, BIG, b"again", squash=True)
    missing = http.head(url.replace("main", made["commit"]), allow_redirects=False)
    assert (missing.status_code, missing.headers["X-Error-Code"]) == (404, "RevisionNotFound")
    assert http.get(after["Location"]).content == b"other content"  # links live longer than commits

    same = http.head(url, allow_redirects=False).headers["X-Repo-Commit"]
    assert lab_server.replace_hub_file(SD, BIG, b"mixed up", commit=False)["commit"] == same
    assert http.get(http.head(url, allow_redirects=False).headers["Location"]).content == b"mixed up"
    small = lab_server.replace_hub_file("lab-fakes/new", "README.md", b"hello")
    assert http.get(hub(lab_server, "/lab-fakes/new/resolve/main/README.md")).headers["ETag"] == f'"{small["oid"]}"'

    lab_server.reset()
    assert http.head(url, allow_redirects=False).headers["X-Repo-Commit"] == before["X-Repo-Commit"]


def test_expire_fault(lab_server: LabServer, http: requests.Session) -> None:
    lab_server.faults.add(Fault("expire", host=hosts.HUB, times=1))
    lab_server.faults.add(Fault("expire", host=hosts.HUB, times=1, skip=1, seconds=0.6))
    first, second, third = (signed(lab_server, http) for _ in range(3))
    late = http.get(first)
    assert (late.status_code, "Request has expired" in late.text) == (403, True)
    assert http.get(second, headers={"Range": "bytes=0-0"}).status_code == 206
    time.sleep(0.7)
    assert http.get(second, headers={"Range": "bytes=0-0"}).status_code == 403
    assert http.get(third, headers={"Range": "bytes=0-0"}).status_code == 206


def test_cloudfront_links(lab_server: LabServer, http: requests.Session) -> None:
    lab_server.settings.hub_link_style = "cloudfront"
    url = signed(lab_server, http)
    assert {"Expires", "Signature", "Key-Pair-Id"} <= {name for name, _value in parse_qsl(urlsplit(url).query)}
    assert http.get(url, headers={"Range": "bytes=0-0"}).status_code == 206
    assert http.get(url.replace("Expires=", "Expires=1")).status_code == 403


def test_text_files_are_compressed_on_request(lab_server: LabServer, http: requests.Session) -> None:
    url = hub(lab_server, f"/{SD}/resolve/main/README.md")
    plain = http.get(url)
    packed = http.get(url, headers={"Accept-Encoding": "gzip"})
    assert (packed.headers["Content-Encoding"], packed.content) == ("gzip", plain.content)
    assert "Content-Length" not in packed.headers and "Content-Length" in plain.headers


def test_narrow_token_and_expanded_listing(lab_server: LabServer, http: requests.Session) -> None:
    url = hub(lab_server, "/lab-fakes/gated/resolve/main/gated.safetensors")
    rejected = http.head(url, headers={"Authorization": "Bearer hf_lab_narrow"}, allow_redirects=False)
    assert (rejected.status_code, "X-Error-Code" in rejected.headers) == (403, False)
    assert "fine-grained token" in rejected.headers["X-Error-Message"]
    listed = http.get(hub(lab_server, f"/api/models/{SD}/tree/main?expand=true")).json()
    assert all("lastCommit" in item for item in listed)


def test_rate_limit_of_links_has_no_retry_after(lab_server: LabServer, http: requests.Session) -> None:
    lab_server.settings.hub_resolvers = 0
    answer = http.head(hub(lab_server, f"/{SD}/resolve/main/{BIG}"), allow_redirects=False)
    assert (answer.status_code, "Retry-After" in answer.headers) == (429, False)
    assert answer.headers["RateLimit"].startswith('"resolvers";r=0;t=')


def test_hard_names(lab_server: LabServer, http: requests.Session) -> None:
    listed = http.get(hub(lab_server, "/api/models/lab-fakes/names/tree/main?recursive=true")).json()
    names = [item["path"] for item in listed if item["type"] == "file"]
    assert set(names) == set(HUB_NAMES)
    for name in names:
        answer = http.get(hub(lab_server, f"/lab-fakes/names/resolve/main/{quote(name)}"))
        assert answer.status_code == 200
        assert "X-Injected" not in answer.headers

"""The Civitai fake: the table of download answers, file choice, storage rules, hashes."""

from __future__ import annotations

import hashlib
import pickle
import pickletools
import time
import zipfile
from urllib.parse import urlsplit

import pytest
import requests

from lab.servers import hosts
from lab.servers.build.models import CIVITAI_NAMES
from lab.servers.faults import Fault
from lab.servers.hosts.civitai import resolver_failed
from lab.servers.server import LabServer

from .conftest import Built


def site(lab_server: LabServer, path: str) -> str:
    return lab_server.url(hosts.CIVITAI) + path


def chosen(lab_server: LabServer, http: requests.Session, query: str) -> str:
    """The name of the file that a download link leads to."""
    answer = http.get(site(lab_server, f"/api/download/models/{query}"), allow_redirects=False)
    assert answer.status_code == 307, answer.text
    assert answer.headers["Cache-Control"] == "no-store, max-age=0"
    assert urlsplit(answer.headers["Location"]).netloc != urlsplit(site(lab_server, "")).netloc
    whole = http.get(answer.headers["Location"], headers={"Range": "bytes=0-0"})
    assert whole.status_code == 206
    return whole.headers["Content-Disposition"].split('"')[1]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("11745", "chilloutmix_NiPrunedFp16Fix.safetensors"),
        ("11745?type=Model&format=SafeTensor&size=full&fp=fp32", "chilloutmix_NiPrunedFp32Fix.safetensors"),
        ("11745?fileId=11745001", "chilloutmix_NiPrunedFp32Fix.safetensors"),
        ("11745?fileId=11745003", "chilloutmix.yaml"),
        ("112969", "FilmVelvia3.safetensors"),
        ("66043?format=PickleTensor", "bad_pictures.pt"),
        ("70002?token=lab_civitai_member", "login.safetensors"),
    ],
)
def test_which_file_a_query_means(lab_server: LabServer, http: requests.Session, query: str, name: str) -> None:
    assert chosen(lab_server, http, query) == name
    lab_server.log.wait_until_written()
    assert "lab_civitai_member" not in str(list(lab_server.log.entries))


@pytest.mark.parametrize(
    ("query", "token", "status", "error"),
    [
        ("x", None, 400, "Invalid input"),
        ("11745?format=Parquet", None, 400, "Invalid option"),
        ("11745?format=GGUF", None, 404, "File not found"),
        ("71021?format=SafeTensor", None, 404, "File not found"),
        ("71021?type=Model&format=GGUF", None, 404, "File not found"),
        ("112969", "lab_civitai_banned", 403, "Forbidden"),
        ("11745?fileId=112969001", None, 404, "File not found"),
        ("424242", None, 404, "File not found"),
        ("70004", None, 404, "File not found"),
        ("70003", None, 410, "Model archived, not available for download"),
        ("70006", None, 401, "Unauthorized"),
        ("70002", None, 401, "Unauthorized"),
        ("70002", "expired-token", 401, "Unauthorized"),
        ("70002", "lab_civitai_member", 307, ""),
        ("70001", "lab_civitai_member", 403, "Early Access"),
        ("70001", "lab_civitai_buyer", 307, ""),
        ("70005", "lab_civitai_member", 403, "You do not have access to download this file"),
        ("70005", "lab_civitai_buyer", 307, ""),
    ],
)
def test_download_answers(
    lab_server: LabServer, http: requests.Session, query: str, token: str | None, status: int, error: str
) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = http.get(site(lab_server, f"/api/download/models/{query}"), headers=headers, allow_redirects=False)
    assert answer.status_code == status
    if error:
        assert answer.json()["error"].startswith(error)


def test_browsers_get_pages_instead_of_errors(lab_server: LabServer, http: requests.Session) -> None:
    browser = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)"}
    answer = http.get(site(lab_server, "/api/download/models/70002"), headers=browser, allow_redirects=False)
    assert answer.status_code == 307
    assert answer.headers["Location"].startswith("/login?returnUrl=%2Fmodel-versions%2F70002&reason=download-auth")
    page = http.get(site(lab_server, answer.headers["Location"]), headers=browser)
    assert (page.status_code, page.headers["Content-Type"].split(";")[0]) == (200, "text/html")
    missing = http.get(site(lab_server, "/api/download/models/424242"), headers=browser)
    assert (missing.status_code, missing.text) == (404, "File not found")


def test_storage_rules(lab_server: LabServer, http: requests.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    url = http.get(site(lab_server, "/api/download/models/112969"), allow_redirects=False).headers["Location"]
    assert "X-Amz-Expires=86400" in url
    rejected = http.get(url, headers={"Authorization": "Bearer lab_civitai_member"})
    assert (rejected.status_code, "InvalidRequest" in rejected.text) == (400, True)
    assert http.head(url).status_code == 403
    monkeypatch.setattr(lab_server.signer, "clock", lambda: time.time() + 86402)
    late = http.get(url)
    assert (late.status_code, "ExpiredRequest" in late.text) == (403, True)


def test_json_api(lab_server: LabServer, http: requests.Session, built: Built) -> None:
    version = http.get(site(lab_server, "/api/v1/model-versions/11745")).json()
    assert (version["id"], version["model"]["type"], len(version["files"])) == (11745, "Checkpoint", 3)
    assert version["air"] == "urn:air:sd1:checkpoint:civitai:6424@11745"
    assert "lab" not in version
    primary = [file for file in version["files"] if file.get("primary")]
    assert [file["name"] for file in primary] == ["chilloutmix_NiPrunedFp16Fix.safetensors"]
    assert primary[0]["downloadUrl"] == version["downloadUrl"] == site(lab_server, "/api/download/models/11745")
    other = version["files"][0]
    assert other["downloadUrl"].endswith("?type=Model&format=SafeTensor&size=full&fp=fp32")

    data = (built.root / "civitai" / "files" / str(other["id"])).read_bytes()
    sha256 = hashlib.sha256(data).hexdigest().upper()
    assert other["hashes"]["SHA256"] == sha256
    assert other["hashes"]["AutoV2"] == sha256[:10]
    for digest in (sha256.lower(), sha256[:10], other["hashes"]["AutoV3"], other["hashes"]["CRC32"]):
        assert http.get(site(lab_server, f"/api/v1/model-versions/by-hash/{digest}")).json()["id"] == 11745
    assert http.get(site(lab_server, "/api/v1/model-versions/by-hash/0123456789")).status_code == 404

    model = http.get(site(lab_server, "/api/v1/models/99004")).json()
    assert [item["id"] for item in model["modelVersions"]] == [70001, 70002, 70005, 70006]  # not the deleted one
    assert http.get(site(lab_server, "/api/v1/model-versions/70003")).json()["files"] == []
    assert http.get(site(lab_server, "/api/v1/model-versions/70004")).json() == {"error": "Model not found"}
    assert http.get(site(lab_server, "/api/v1/models/5")).json() == {"error": "No model with id 5"}
    assert http.get(site(lab_server, "/api/v1/models/99999999999")).status_code == 400


class _Recorder(pickle.Unpickler):
    """Reads a pickle of containers and tensors; a tensor becomes its shape, anything else an error."""

    def persistent_load(self, identifier: tuple[object, ...]) -> object:
        return identifier[0]

    def find_class(self, module: str, name: str) -> object:
        if (module, name) == ("collections", "OrderedDict"):
            return super().find_class(module, name)
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda _storage, _offset, shape, *_rest: shape
        if (module, name) == ("torch", "FloatStorage"):
            return object()
        raise pickle.UnpicklingError(f"{module}.{name}")


def test_pickles(built: Built) -> None:
    folder = built.root / "civitai" / "files"
    with zipfile.ZipFile(folder / "66043001") as bundle:
        assert bundle.namelist() == ["bad_pictures/data.pkl", "bad_pictures/version", "bad_pictures/data/0"]
        with bundle.open("bad_pictures/data.pkl") as handle:
            value = _Recorder(handle).load()
        assert len(bundle.read("bad_pictures/data/0")) == 2 * 768 * 4
    assert (value["name"], value["string_to_param"]["*"]) == ("bad_pictures", (2, 768))
    with zipfile.ZipFile(folder / "66666001") as bundle:
        pickled = bundle.read("malicious/data.pkl")
        with bundle.open("malicious/data.pkl") as handle, pytest.raises(pickle.UnpicklingError, match="system"):
            _Recorder(handle).load()
    assert any(opcode.name == "REDUCE" for opcode, _argument, _place in pickletools.genops(pickled))


# --- what was added for the downloads' checklist


def test_blocked_region(lab_server: LabServer, http: requests.Session) -> None:
    lab_server.settings.civitai_region_blocked = True
    for path in ("/api/v1/model-versions/11745", "/api/download/models/11745"):
        answer = http.get(site(lab_server, path))
        assert (answer.status_code, answer.json()["code"]) == (451, "REGION_BLOCKED")
    assert http.get(site(lab_server, "/models/1"), allow_redirects=False).headers["Location"] == "/region-blocked"


def test_blacklist_and_too_many_downloads(lab_server: LabServer, http: requests.Session) -> None:
    lab_server.settings.civitai_too_many = True
    answer = http.get(site(lab_server, "/api/download/models/11745"))
    assert (answer.status_code, "Retry-After" in answer.headers) == (429, False)
    assert "unusual amount" in answer.json()["error"]
    lab_server.settings.civitai_blacklisted = True
    assert http.get(site(lab_server, "/api/download/models/11745")).json() == {"error": "Forbidden"}
    assert http.get(site(lab_server, "/api/v1/model-versions/11745")).status_code == 200


def test_storage_resolver_that_fails_for_a_moment(lab_server: LabServer, http: requests.Session) -> None:
    lab_server.faults.add(resolver_failed(2))
    answers = [http.get(site(lab_server, "/api/download/models/112969"), allow_redirects=False) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [404, 404, 307]
    assert answers[0].json() == {"error": "File not found"}
    assert answers[0].headers["Cache-Control"] == "private, no-store"


def test_the_same_link_means_another_file_for_somebody_else(lab_server: LabServer, http: requests.Session) -> None:
    assert chosen(lab_server, http, "11745") == "chilloutmix_NiPrunedFp16Fix.safetensors"
    assert chosen(lab_server, http, "11745?token=lab_civitai_fp32") == "chilloutmix_NiPrunedFp32Fix.safetensors"
    assert chosen(lab_server, http, "11745?fileId=11745002&token=lab_civitai_fp32").endswith("Fp16Fix.safetensors")


def test_links_of_the_api_itself_may_find_nothing(lab_server: LabServer, http: requests.Session) -> None:
    files = http.get(site(lab_server, "/api/v1/model-versions/71021")).json()["files"]
    assert [file["metadata"]["quantType"] for file in files] == ["Q8_0", "Q4_K_M"]
    other = next(file for file in files if not file.get("primary"))
    assert http.get(other["downloadUrl"]).status_code == 404
    assert chosen(lab_server, http, f"71021?fileId={other['id']}") == other["name"]
    assert http.get(site(lab_server, "/api/v1/model-versions/71022")).json()["files"][0]["name"].endswith(".zip")
    assert chosen(lab_server, http, "71022") == "behind-the-zip.safetensors"


def test_other_storage(lab_server: LabServer, http: requests.Session) -> None:
    url = http.get(site(lab_server, "/api/download/models/71031"), allow_redirects=False).headers["Location"]
    assert url.startswith(lab_server.url(hosts.CIVITAI_B2) + "/file/civitai-modelfiles/")
    assert urlsplit(url).query.startswith("Authorization=")
    part = http.get(url, headers={"Range": "bytes=0-7"})
    assert (part.status_code, "Content-Disposition" in part.headers) == (206, False)
    assert http.head(url).status_code == 200
    assert http.get(url, headers={"Authorization": "Bearer lab_civitai_member"}).status_code == 401
    assert http.get(url.split("?")[0]).status_code == 401
    assert http.get(url.replace("71031001", "11745001")).status_code == 401
    lab_server.faults.add(Fault("expire", host=hosts.CIVITAI))
    late = http.get(site(lab_server, "/api/download/models/71031"))
    assert (late.status_code, late.json()["code"]) == (401, "expired_auth_token")
    lab_server.settings.civitai_storage = "b2"
    lab_server.faults.clear()
    moved = http.get(site(lab_server, "/api/download/models/11745"), allow_redirects=False)
    assert moved.headers["Location"].startswith(lab_server.url(hosts.CIVITAI_B2))


def test_hashes_that_do_not_help(lab_server: LabServer, http: requests.Session, built: Built) -> None:
    def displayed(version: int) -> dict[str, object]:
        return dict(http.get(site(lab_server, f"/api/v1/model-versions/{version}")).json()["files"][0])

    real = hashlib.sha256((built.root / "civitai/files/71012001").read_bytes()).hexdigest().upper()
    wrong = displayed(71012)["hashes"]
    assert isinstance(wrong, dict) and wrong["SHA256"] != real and wrong["AutoV2"] == real[:10]
    assert displayed(71011)["hashes"] == {}
    assert (displayed(71013)["hashes"], displayed(71013)["pickleScanResult"]) == ({}, "Pending")
    assert set(displayed(71014)["hashes"]) == {"AutoV2", "AutoV3", "CRC32"}
    assert displayed(71015)["hashes"]["AutoV2"] == "00000BAD00"  # type: ignore[index]
    assert chosen(lab_server, http, "71011") == "hashes-71011001.safetensors"


def test_lookup_of_several_hashes(lab_server: LabServer, http: requests.Session) -> None:
    table = http.get(site(lab_server, "/api/v1/model-versions/112969")).json()["files"][0]["hashes"]
    expected = [table["AutoV3"].lower(), "0123456789", table["AutoV1"]]
    url = site(lab_server, "/api/v1/model-versions/by-hash")
    assert [version["id"] for version in http.post(url, json=expected).json()] == [112969, 112969]
    assert http.post(f"{url}/ids", json=expected[:2]).json() == [{"modelVersionId": 112969, "hash": expected[0]}]


@pytest.mark.parametrize("version", CIVITAI_NAMES)
def test_hard_names(lab_server: LabServer, http: requests.Session, version: int) -> None:
    name = CIVITAI_NAMES[version]
    assert http.get(site(lab_server, f"/api/v1/model-versions/{version}")).json()["files"][0]["name"] == name
    answer = http.get(site(lab_server, f"/api/download/models/{version}"))
    assert answer.status_code == 200
    disposition = answer.headers["Content-Disposition"].encode("latin-1").decode()
    assert disposition == 'attachment; filename="{}"'.format(name.replace("\r\n", "  "))
    assert "X-Injected" not in answer.headers

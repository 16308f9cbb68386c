"""Files of any size that nobody stores."""

from __future__ import annotations

import hashlib
import json

import pytest
import requests

from lab.servers import hosts
from lab.servers.faults import Fault
from lab.servers.hosts.big import BLOCK, Big, big_path, big_sha256
from lab.servers.server import LabServer

from .conftest import Built


def url(lab_server: LabServer, size: int, seed: str = "a", extension: str = "bin") -> str:
    return lab_server.url(hosts.BIG) + big_path(size, seed, extension)


@pytest.mark.parametrize("extension", ["bin", "safetensors"])
def test_whole_and_hash(lab_server: LabServer, http: requests.Session, extension: str) -> None:
    size = 3 * BLOCK + 4711
    data = http.get(url(lab_server, size, extension=extension)).content
    assert len(data) == size
    assert hashlib.sha256(data).hexdigest() == big_sha256(size, "a", extension) == Big(size, "a", extension).sha256()
    assert big_sha256(size, "b", extension) != big_sha256(size, "a", extension)


def test_pieces_lie_where_they_belong(lab_server: LabServer, http: requests.Session) -> None:
    size = 5 * BLOCK + 10
    whole = http.get(url(lab_server, size, extension="safetensors")).content
    assert len({whole[place : place + 4096] for place in range(0, size, 4096)}) > 5 * BLOCK // 4096
    for first, last in ((0, 0), (100, 300), (BLOCK - 5, 2 * BLOCK + 300), (size - 3, size - 1), (0, size - 1)):
        part = http.get(url(lab_server, size, extension="safetensors"), headers={"Range": f"bytes={first}-{last}"})
        assert part.status_code == 206
        assert part.content == whole[first : last + 1]


def test_head_etag_and_ranges(lab_server: LabServer, http: requests.Session) -> None:
    size = 10**15  # nobody has that much disk
    head = http.head(url(lab_server, size))
    assert (head.status_code, int(head.headers["Content-Length"]), head.headers["Accept-Ranges"]) == (
        200,
        size,
        "bytes",
    )
    etag = head.headers["ETag"]
    end = {"Range": f"bytes={size - 100}-", "If-Range": etag}
    assert len(http.get(url(lab_server, size), headers=end).content) == 100
    assert http.get(url(lab_server, size), headers={"If-None-Match": etag}).status_code == 304
    assert http.get(url(lab_server, size), headers={"Range": f"bytes={size}-"}).status_code == 416
    assert http.head(url(lab_server, size, "b")).headers["ETag"] != etag
    assert http.head(lab_server.url(hosts.BIG) + "/nothing").status_code == 404


def test_safetensors_add_up() -> None:
    head = b"".join(Big(100_000, "a").slice(0, 264).chunks())
    length = int.from_bytes(head[:8], "little")
    tensors = json.loads(head[8 : 8 + length])
    assert 8 + length + max(item["data_offsets"][1] for item in tensors.values()) == 100_000


def test_faults_and_tls(lab_server: LabServer, http: requests.Session, built: Built) -> None:
    lab_server.faults.add(Fault("wrong_bytes", host=hosts.BIG, after=BLOCK + 3, times=1))
    size = 2 * BLOCK
    wrong, right = (http.get(url(lab_server, size)).content for _ in range(2))
    assert [place for place in range(size) if wrong[place] != right[place]] == [BLOCK + 3]
    over_tls = http.get(
        lab_server.listeners[0].origin + big_path(size, "a", "bin"), headers={"Host": hosts.BIG}, verify=str(built.ca)
    )
    assert over_tls.content == right


def test_big_file_behind_the_hub(lab_server: LabServer, http: requests.Session) -> None:
    big = Big(3 * BLOCK, "hub")
    made = lab_server.replace_hub_file("lab-fakes/big", "big.safetensors", big)
    answer = http.get(lab_server.url(hosts.HUB) + "/lab-fakes/big/resolve/main/big.safetensors")
    assert hashlib.sha256(answer.content).hexdigest() == made["sha256"] == big_sha256(3 * BLOCK, "hub")

"""A batch as a whole: room, cache, other people's files, progress, secrets."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.errors import SdopsError, TransferError
from ansible_collections.sdops.webui.plugins.module_utils.models.arguments import TRANSFER_ARGUMENTS, make_installer
from ansible_collections.sdops.webui.plugins.module_utils.models.spec import parse_model_entry

from lab.servers.build import models
from lab.servers.faults import Fault

CHECKPOINT = {"source": "hf://lab-fakes/tiny-sd15/v1-5-pruned-emaonly.safetensors@main", "kind": "checkpoint"}
VAE = {"source": "hf://lab-fakes/tiny-vae/vae-ft-mse-840000-ema-pruned.safetensors@main", "kind": "vae"}
PLACE = "models/Stable-diffusion/v1-5-pruned-emaonly.safetensors"
STORAGE = "cdn.huggingface.lab.test"


def make_test_installer(target, check_mode=False, **more):
    """The same objects as in the module, in this process."""
    params = {name: option.get("default") for name, option in TRANSFER_ARGUMENTS.items()}
    return make_installer({**params, **target.arguments, **more}, str(target.webui), check_mode)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files(target) -> list[str]:
    return sorted(
        str(p.relative_to(target.webui)) for p in target.webui.rglob("*") if p.is_file() and ".sdops" not in p.parts
    )


# --- room ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check_mode", [True, False])
def test_space_for_the_whole_batch_or_not_a_byte(target, lab_server, monkeypatch, check_mode):
    """Each file alone would fit; both do not."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1 << 40, 0, (64 << 20) + 25_500_000))
    with pytest.raises(TransferError, match="Free space"):
        make_test_installer(target, check_mode).install_all([parse_model_entry(CHECKPOINT), parse_model_entry(VAE)], 2)
    assert not [e for e in lab_server.log.entries if e["host"] == STORAGE]
    assert files(target) == []
    for options in (CHECKPOINT, VAE):
        assert make_test_installer(target, True).install_all([parse_model_entry(options)], 2)[0].status.value == "fetch"


# --- other people's files --------------------------------------------------------------------------------------------


def test_somebody_elses_file_stays(target, run_module):
    own = target.path(PLACE)
    own.parent.mkdir(parents=True)
    own.write_bytes(models.safetensors_bytes("mine", models.checkpoint_tensors(1, "F16")))
    before = own.read_bytes()
    for check in (True, False):
        found = run_module("model_files", check=check, **target.arguments, models=[CHECKPOINT])
        assert found["failed"]
        assert "not placed by us" in found["msg"]
    assert own.read_bytes() == before


@pytest.mark.parametrize("rubbish", [b"<!DOCTYPE html><html>log in</html>", b"", b"version https://git-lfs"])
def test_a_damaged_file_is_replaced(target, run_module, rubbish):
    target.path(PLACE).parent.mkdir(parents=True)
    target.path(PLACE).write_bytes(rubbish)
    found = run_module("model_files", **target.arguments, models=[CHECKPOINT])
    assert not found["failed"], found.get("msg")
    assert found["models"][0]["sha256"] == sha256(target.path(PLACE))


def test_two_requests_for_one_path_are_an_error(target, run_module):
    other = {**VAE, "kind": "checkpoint", "name": Path(PLACE).name}
    found = run_module("model_files", check=True, **target.arguments, models=[CHECKPOINT, other])
    assert found["failed"]
    assert "would overwrite" in found["msg"]
    found = run_module("model_files", **target.arguments, models=[CHECKPOINT, CHECKPOINT])
    assert not found["failed"], found.get("msg")
    assert files(target) == [PLACE]


def test_a_changed_file_is_not_removed(target, run_module):
    run_module("model_files", **target.arguments, models=[CHECKPOINT])
    target.path(PLACE).write_bytes(b"edited by hand")
    found = run_module("model_files", **target.arguments, models=[CHECKPOINT], state="absent")
    assert found["failed"]
    assert "it stays" in found["msg"]
    assert target.path(PLACE).read_bytes() == b"edited by hand"


# --- cache -----------------------------------------------------------------------------------------------------------


def test_on_one_disk_the_cache_costs_no_space(target, run_module, tmp_path):
    run_module("model_files", **target.arguments, models=[CHECKPOINT], cache_dir=str(tmp_path / "cache"))
    cached = [p for p in (tmp_path / "cache").rglob("*") if p.is_file() and p.stat().st_size]
    assert [p.name for p in cached] == [sha256(target.path(PLACE))]
    assert cached[0].samefile(target.path(PLACE))


def test_a_damaged_cache_is_not_believed(target, lab_server, run_module, tmp_path):
    cache = tmp_path / "cache"
    run_module("model_files", **target.arguments, models=[CHECKPOINT], cache_dir=str(cache))
    good = sha256(target.path(PLACE))
    shutil.rmtree(target.webui / "models")
    cached = next(p for p in cache.rglob(good))
    data = bytearray(cached.read_bytes())
    data[5_000_000] ^= 1
    cached.write_bytes(data)
    lab_server.log.entries.clear()
    found = run_module("model_files", **target.arguments, models=[CHECKPOINT], cache_dir=str(cache))
    assert [m["status"] for m in found["models"]] == ["fetched"]
    assert sha256(target.path(PLACE)) == sha256(cached) == good


def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(target, run_module, tmp_path):
    (tmp_path / "cache").write_text("a file where the directory should be")
    found = run_module("model_files", **target.arguments, models=[CHECKPOINT], cache_dir=str(tmp_path / "cache"))
    assert not found["failed"], found.get("msg")
    assert [m["status"] for m in found["models"]] == ["fetched"]


def start(target, tmp_path, **arguments) -> subprocess.Popen:
    """The module as a process of its own; its result is in ``stdout``."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ansible_collections.sdops.webui.plugins.modules.model_files"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p.endswith("collections"))},
    )
    process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": {**target.arguments, **arguments}}).encode())
    process.stdin.close()
    process.stdin = None
    return process


def test_several_hosts_fetch_once_into_a_shared_cache(target, lab_server, tmp_path):
    lab_server.faults.add(Fault("slow", host=STORAGE, rate=4_000_000))
    hosts = [str(tmp_path / f"host{n}") for n in range(3)]
    running = [
        start(target, tmp_path, models=[CHECKPOINT], cache_dir=str(tmp_path / "cache"), webui_dir=host, create=True)
        for host in hosts
    ]
    results = [json.loads(process.communicate(timeout=60)[0]) for process in running]
    assert sorted(r["models"][0]["status"] for r in results) == ["fetched", "from cache", "from cache"]
    size = Path(hosts[0], PLACE).stat().st_size
    assert sum(e["bytes"] for e in lab_server.log.entries if e["host"] == STORAGE) == size


def test_two_runs_on_one_host_do_not_fight(target, lab_server, tmp_path):
    lab_server.faults.add(Fault("slow", host=STORAGE, rate=800_000))
    running = [start(target, tmp_path, models=[CHECKPOINT, VAE]) for _ in range(2)]
    results = [json.loads(process.communicate(timeout=60)[0]) for process in running]
    assert not any(r.get("failed") for r in results), results
    assert sorted(r["models"][0]["status"] for r in results) == ["adopted", "fetched"]
    record = json.loads((target.webui / ".sdops" / "models.json").read_text())
    assert sorted(record) == files(target)


# --- progress ----------------------------------------------------------------------------------------------------------


def test_progress_can_be_watched(target, lab_server, tmp_path):
    lab_server.faults.add(Fault("slow", host=STORAGE, rate=1_000_000))
    watched = tmp_path / "progress.json"
    process = start(target, tmp_path, models=[CHECKPOINT, VAE], progress_file=str(watched))
    seen = []
    while process.poll() is None:
        time.sleep(0.3)
        if watched.exists():
            seen.append(json.loads(watched.read_text()))  # always whole
    process.communicate()
    last = json.loads(watched.read_text())
    assert last["state"] == "done"
    assert [f["state"] for f in last["files"]] == ["done", "done"]
    assert (
        last["done"] == last["total"] == sum(p.stat().st_size for p in (target.webui / "models").rglob("*.safetensors"))
    )
    fetching = [f for snapshot in seen for f in snapshot["files"] if f["state"] == "fetching"]
    assert any(f["speed"] > 500_000 and 0 < f["done"] < f["total"] for f in fetching)
    assert any(snapshot["eta"] for snapshot in seen)
    assert seen[0]["pid"] == process.pid


def test_the_progress_file_forces_nothing_to_the_disk(tmp_path, monkeypatch):
    from ansible_collections.sdops.webui.plugins.module_utils.progress import ProgressWriter

    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    with ProgressWriter(str(tmp_path / "progress.json")):
        pass
    assert json.loads((tmp_path / "progress.json").read_text())["state"] == "done"
    assert synced == []


# --- secrets -----------------------------------------------------------------------------------------------------------


def test_a_key_in_a_url_is_masked_everywhere(target, lab_server, run_module, tmp_path):
    endpoint = target.arguments["huggingface_endpoint"]
    page = f"{endpoint}/lab-fakes/tiny-vae/resolve/main/vae-ft-mse-840000-ema-pruned.safetensors?key=very-secret-key"
    options = {"source": page, "kind": "vae", "name": "v.safetensors"}
    for check in (True, False, False):
        found = run_module("model_files", check=check, **target.arguments, models=[options])
        assert not found["failed"], found.get("msg")
        assert "very-secret-key" not in json.dumps(found)
    assert found["changed"] is False
    for path in target.webui.rglob("*"):
        if path.is_file():
            assert b"very-secret-key" not in path.read_bytes()
    lab_server.faults.add(Fault("status", status=500, body="no"))
    options["source"] += "2"
    found = run_module("model_files", **{**target.arguments, "retries": 0}, models=[options])
    assert found["failed"]
    assert "very-secret-key" not in json.dumps(found)


def test_a_civitai_link_with_a_token_is_rejected_without_showing_it(target, run_module):
    link = "https://civitai.com/api/download/models/112969?token=very-secret-key"
    found = run_module("model_files", **target.arguments, models=[link])
    assert found["failed"]
    assert "civitai_token" in found["msg"]
    assert "very-secret-key" not in found["msg"]


# --- links from the browser --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("link", "origin", "where"),
    [
        (
            "https://huggingface.co/a/b/blob/main/x/y%20z.safetensors",
            "huggingface",
            {"repo": "a/b", "file": "x/y z.safetensors", "revision": "main"},
        ),
        (
            "https://huggingface.co/a/b/resolve/refs%2Fpr%2F1/x.safetensors?download=true",
            "huggingface",
            {"repo": "a/b", "file": "x.safetensors", "revision": "refs/pr/1"},
        ),
        ("https://civitai.com/models/6424?modelVersionId=11745", "civitai", {"version_id": "11745"}),
        ("https://civitai.red/models/6424/name", "civitai", {"model_id": "6424"}),
        (
            "https://civitai.com/api/download/models/11745?type=Model&format=SafeTensor",
            "civitai",
            {"version_id": "11745", "type": "Model", "format": "SafeTensor"},
        ),
    ],
)
def test_links_from_the_browser_mean_the_file(link, origin, where):
    spec = parse_model_entry(link)
    assert (spec.origin, spec.locator) == (origin, where)


# --- the plan


def test_the_plan_counts_what_is_there_already(target, lab_server, run_module, tmp_path):
    """A half-fetched file, one in the cache, one that lies there: what is left to fetch, and what the disks must have."""
    size = {name: Path(p).stat().st_size for name, p in sources(lab_server).items()}
    planned = run_module("model_files", check=True, **target.arguments, models=[CHECKPOINT, VAE])
    assert planned["bytes_planned"] == planned["space_needed"] == size["checkpoint"] + size["vae"]
    truncated = lab_server.faults.add(Fault("disconnect", host=STORAGE, after=3_000_000))
    reject = lab_server.faults.add(Fault("status", host=STORAGE, status=403, body="not now", skip=1))
    assert run_module("model_files", **target.arguments, connections=1, models=[CHECKPOINT])["failed"]
    assert truncated.hits and reject.hits
    lab_server.faults.clear()
    there = partial_bytes(target)
    assert there
    planned = run_module("model_files", check=True, **target.arguments, models=[CHECKPOINT])
    assert planned["bytes_planned"] == planned["space_needed"] == size["checkpoint"] - there

    cache = str(tmp_path / "cache")
    other = {**target.arguments, "webui_dir": str(tmp_path / "o"), "create": True}
    assert not run_module("model_files", **other, models=[VAE], cache_dir=cache)["failed"]
    planned = run_module("model_files", check=True, **target.arguments, models=[VAE], cache_dir=cache)
    assert [m["status"] for m in planned["models"]] == ["from cache"]
    assert (planned["bytes_planned"], planned["space_needed"]) == (0, 0)  # a second name for the same bytes


def test_a_size_from_the_catalog_counts_before_the_source_is_queried(target, run_module):
    arguments = {**target.arguments, "huggingface_endpoint": "http://127.0.0.1:9", "retries": 0}
    planned = run_module("model_files", check=True, **arguments, models=["vae-ft-mse-840000"])
    assert [m["status"] for m in planned["models"]] == ["unresolved"]
    assert planned["bytes_planned"] == planned["space_needed"] == planned["models"][0]["bytes"] == 334641190
    assert "cannot be reached" in planned["models"][0]["reason"]


@pytest.mark.parametrize("check", [True, False])
def test_without_space_the_plan_is_reported_all_the_same(target, lab_server, run_module, check):
    size = 1 << 50
    options = {"source": f"{lab_server.url('big.lab.test')}/m-{size}-a.safetensors", "kind": "checkpoint"}
    found = run_module("model_files", check=check, **target.arguments, models=[options, VAE])
    assert found["failed"] and not found.get("changed") or check
    assert "Free space" in found["msg"]
    assert [m["status"] for m in found["models"]] == ["fetch", "fetch"]
    assert found["space_needed"] >= size and found["bytes_planned"] >= size
    assert files(target) == []
    assert bool(found["actions"]) is check


def sources(lab_server) -> dict:
    root = lab_server.root / "huggingface" / "files" / "lab-fakes"
    return {
        "checkpoint": root / "tiny-sd15" / Path(PLACE).name,
        "vae": root / "tiny-vae" / "vae-ft-mse-840000-ema-pruned.safetensors",
    }


def partial_bytes(target) -> int:
    (journal,) = target.webui.rglob("*.part.journal")
    spans = [line.split() for line in journal.read_text().splitlines()[1:] if line[0] != "s"]
    return sum(int(end) - int(start) for start, end in spans)


def test_check_mode_writes_no_file_at_all(target, run_module, tmp_path):
    watched = tmp_path / "progress.json"
    run_module("model_files", check=True, **target.arguments, models=[CHECKPOINT], progress_file=str(watched))
    assert not watched.exists()
    assert list(target.webui.rglob("*")) == []


# --- a cache with its own mind


def test_a_cache_that_can_only_be_read_is_read(target, run_module, tmp_path, monkeypatch):
    from ansible_collections.sdops.webui.plugins.module_utils.models import place

    cache = tmp_path / "cache"
    other = {**target.arguments, "webui_dir": str(tmp_path / "o"), "create": True}
    assert not run_module("model_files", **other, models=[VAE], cache_dir=str(cache))["failed"]
    monkeypatch.setattr(place, "ensure_writable", lambda directory: False)
    before = sorted(str(p) for p in cache.rglob("*"))
    items = make_test_installer(target, cache_dir=str(cache)).install_all(
        [parse_model_entry(VAE), parse_model_entry(CHECKPOINT)], 2
    )
    assert [item.status.value for item in items] == ["from cache", "fetched"]
    assert sorted(str(p) for p in cache.rglob("*")) == before
    # a damaged one is not used, and stays: it is not ours to mend
    (good,) = [p for p in cache.rglob("*") if p.is_file() and p.suffix != ".lock"]
    Path(items[0].path).unlink()
    data = bytearray(good.read_bytes())
    data[-1] ^= 1
    good.write_bytes(data)
    (item,) = make_test_installer(target, cache_dir=str(cache)).install_all([parse_model_entry(VAE)], 2)
    assert (item.status.value, sha256(Path(item.path))) == ("fetched", item.sha256)
    assert good.read_bytes() == data


def test_a_file_that_changes_under_way_gets_its_own_place_in_the_cache(target, lab_server, tmp_path, monkeypatch):
    """The cache is by content: the new file must not lie under the old one's hash."""
    from ansible_collections.sdops.webui.plugins.module_utils.errors import SourceChangedError
    from ansible_collections.sdops.webui.plugins.module_utils.transfer.download import Downloader

    cache = tmp_path / "cache"
    installer = make_test_installer(target, cache_dir=str(cache))
    made = []
    real_download = Downloader.download

    def changed(self, remote, dest, report):
        if not made:
            repo, name = "lab-fakes/tiny-vae", "vae-ft-mse-840000-ema-pruned.safetensors"
            made.append(lab_server.replace_hub_file(repo, name, models_big()))
            raise SourceChangedError("changed")
        return real_download(self, remote, dest, report)

    monkeypatch.setattr(Downloader, "download", changed)
    (item,) = installer.install_all([parse_model_entry(VAE)], 1)
    assert item.status.value == "fetched", item.reason
    assert item.sha256 == made[0]["sha256"] == sha256(Path(item.path))
    cached = [p for p in cache.rglob("*") if p.is_file() and p.suffix != ".lock"]
    assert [p.name for p in cached] == [item.sha256]


def models_big():
    from lab.servers.hosts.big import Big

    return Big(1_000_000, "new")


# --- keys and passwords in sources


@pytest.mark.parametrize(
    "entry",
    [
        "https://user:very-secret-key@host.test/m.safetensors",
        "https://host.test:port/m.safetensors?key=very-secret-key",
        "https://user:very-secret-key@host.test:port/m.safetensors",
        "https:/host.test/m.safetensors?key=very-secret-key",
        "ftp://user:very-secret-key@host.test/m.safetensors",
        "https://proxy.test/https://host.test/m.safetensors#very-secret-key",
        "civitai://1?key=very-secret-key",
        "https://civitai.com/models/1?modelVersionId=2&key=very-secret-key",
        "https://user:very-secret-key@huggingface.co/a/b/resolve/main/x.safetensors",
        {"source": VAE["source"], "kind": "vae", "name": "a/b", "config": "https://h.test/x?key=very-secret-key"},
        {"source": CHECKPOINT["source"], "kind": "checkpoint", "vae": "https://u:very-secret-key@h.test:port/x.pt"},
        {"sauce": "https://host.test/m.safetensors?key=very-secret-key"},
    ],
    ids=str,
)
def test_no_message_shows_a_key(target, run_module, entry):
    arguments = {**target.arguments, "retries": 0, "timeout": 1, "proxy": "http://127.0.0.1:9"}
    found = run_module("model_files", **arguments, models=[entry])
    assert found["failed"]
    assert "very-secret-key" not in json.dumps(found)
    with contextlib.suppress(SdopsError):
        spec = parse_model_entry(entry)
        assert "very-secret-key" not in spec.label
        assert any("very-secret-key" in secret for secret in spec.secrets)
    try:
        parse_model_entry(entry)
    except SdopsError as exc:
        assert "very-secret-key" not in str(exc)


@pytest.mark.parametrize(
    "query",
    [
        "Revision=master&FilePath=vae-1000000-a.safetensors",
        "FilePath=models%2FVAE&kind=safetensors&webui=1",
        "key=models/VAE&token=safetensors",
        "key=vae-1000000-a.safetensors",
    ],
)
def test_a_path_is_never_masked(target, lab_server, run_module, query):
    """ModelScope's links name the file in their query; a following task needs the path as it is."""
    options = {"source": lab_server.url("big.lab.test") + "/vae-1000000-a.safetensors?" + query, "kind": "vae"}
    found = run_module("model_files", **target.arguments, models=[options])
    assert not found["failed"], found.get("msg")
    (model,) = found["models"]
    assert model["path"] == str(target.path("models/VAE/vae-1000000-a.safetensors"))
    assert (model["name"], model["source"]) == ("vae-1000000-a.safetensors", options["source"].split("?")[0] + "?...")
    assert "********" not in json.dumps([found["models"], found["actions"], found["diff"]])


def test_a_key_is_masked_in_the_arguments_that_a_result_repeats(target, lab_server, run_module):
    source = lab_server.url("big.lab.test") + "/vae-1000000-a.safetensors?Revision=master&key=very-secret-key&pwd=a1b2"
    found = run_module("model_files", **target.arguments, models=[{"source": source, "kind": "vae"}])
    assert not found["failed"], found.get("msg")
    text = json.dumps(found["invocation"])
    assert "very-secret-key" not in text and "a1b2" not in text
    assert "Revision=master" in text


def test_keys_of_sidecars_and_of_pages_are_masked_everywhere(target, lab_server, run_module, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    page = lab_server.url("big.lab.test") + "/vae-1000000-a.safetensors"
    options = {**CHECKPOINT, "vae": page + "?key=very-secret-key"}
    for check in (True, False, False):
        found = run_module("model_files", check=check, **target.arguments, models=[options])
        assert not found["failed"], found.get("msg")
        assert "very-secret-key" not in json.dumps(found)
    assert found["changed"] is False
    lab_server.faults.add(Fault("status", status=500, body="no"))
    options["vae"] += "2"
    found = run_module("model_files", **{**target.arguments, "retries": 0}, models=[options])
    assert found["failed"]
    assert "very-secret-key" not in json.dumps(found)
    for path in target.webui.rglob("*"):
        if path.is_file():
            assert b"very-secret-key" not in path.read_bytes()

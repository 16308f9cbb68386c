"""The filters that compute what roles hand to modules or print."""

from __future__ import annotations

import hashlib

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.sdops.webui.plugins.filter.artifacts_dir import artifacts_dir
from ansible_collections.sdops.webui.plugins.filter.checkout_specs import checkout_specs
from ansible_collections.sdops.webui.plugins.filter.expected_models import expected_models
from ansible_collections.sdops.webui.plugins.filter.launch_key import launch_key
from ansible_collections.sdops.webui.plugins.filter.missing_space import missing_space
from ansible_collections.sdops.webui.plugins.filter.model_problems import model_problems
from ansible_collections.sdops.webui.plugins.filter.model_summary import model_summary
from ansible_collections.sdops.webui.plugins.filter.plan_summary import MAX_ACTIONS, plan_summary
from ansible_collections.sdops.webui.plugins.filter.repository_environment import repository_environment
from ansible_collections.sdops.webui.plugins.filter.status_summary import status_summary
from ansible_collections.sdops.webui.plugins.module_utils.models.model_file import FileStatus
from ansible_collections.sdops.webui.plugins.module_utils.variables.checks import parse_size

BLIP = {"name": "BLIP", "variable": "BLIP", "repo": "https://git.test/BLIP.git", "commit": "a" * 40}
CARD = {"name": "NVIDIA GeForce RTX 4090", "memory_mb": 24564, "capability": "8.9"}


def test_checkout_specs():
    assert checkout_specs([BLIP], "/webui/repositories") == [
        {"name": "BLIP", "url": BLIP["repo"], "commit": BLIP["commit"], "dest": "/webui/repositories/BLIP"}
    ]
    assert checkout_specs([], "/webui") == []


def test_repository_environment():
    assert repository_environment([BLIP]) == {"BLIP_REPO": BLIP["repo"], "BLIP_COMMIT_HASH": BLIP["commit"]}


def test_the_launch_key_is_blind_to_routes_only():
    config = {"args": ["--api"], "environment": {"HOME": "/root"}}
    key = launch_key(config)
    routes = {"https_proxy": "http://127.0.0.1:1", "NO_PROXY": "localhost", "HF_ENDPOINT": "https://mirror.test"}
    assert launch_key({**config, "environment": {**config["environment"], **routes}}) == key
    assert launch_key(dict(reversed(list(config.items())))) == key
    others = [
        {**config, "args": ["--api", "--listen"]},
        {**config, "environment": {"HOME": "/home/me"}},
        {**config, "environment": {"HOME": "/root", "proxy_of": "me"}},
        {**config, "tcmalloc": True},
    ]
    assert len({key, *map(launch_key, others)}) == 5


def test_model_summary():
    model = {
        "status": "fetched",
        "kind": "lora",
        "name": "a.safetensors",
        "bytes": 151112832,
        "path": "/m/a.safetensors",
    }
    unresolved = {**model, "status": "unresolved", "kind": None, "name": "civitai://1", "bytes": None, "path": None}
    assert model_summary([model, {**unresolved, "source": "civitai://1"}]) == [
        "fetched     lora          a.safetensors  144.1 MiB     /m/a.safetensors",
        "unresolved  kind unknown  civitai://1    size unknown  civitai://1",
        "2 models, 144.1 MiB, and 1 of unknown size",
    ]
    assert model_summary([model])[-1] == "1 model, 144.1 MiB" and model_summary([]) == []
    removed = {**model, "status": "removed"}
    assert model_summary([model, removed])[-1] == "1 model, 144.1 MiB; removed: 1 model, 144.1 MiB"
    assert model_summary([removed])[-1] == "removed: 1 model, 144.1 MiB"
    assert model_summary([model, unresolved, removed], "zh") == [
        "已下载  lora      a.safetensors  144.1 MiB  /m/a.safetensors",
        "未确定  种类未知  civitai://1    大小未知",
        "已删除  lora      a.safetensors  144.1 MiB  /m/a.safetensors",
        "2 个模型，144.1 MiB，其中 1 个大小未知；已删除：1 个模型，144.1 MiB",
    ]
    for status in FileStatus:
        model_summary([{**model, "status": status.value}])


def status(**more):
    return {
        "version": {"version": "1.10.1", "commit": "82a973c043" + "0" * 30, "checkout": ""},
        "packages": {"torch": "2.1.2+cu121"},
        "gpus": [],
        "disks": {},
        "models": {},
        "extensions": {"enabled": [], "disabled": []},
        "programs": None,
        **more,
    }


def test_status_summary():
    gib = 1 << 30
    found = status(
        gpus=[{"index": 0, "name": "x", "memory_used": 3 * gib, "memory_total": 24 * gib, "utilization": 12}],
        disks={"/data": {"free": 30 * gib, "total": 50 * gib}, "/": {"free": None, "total": None}},
        models={"checkpoint": {"count": 2, "bytes": 8 * gib}, "vae": {"count": 1, "bytes": gib}},
        extensions={"enabled": ["a", "b\x1b[31m"], "disabled": ["c"]},
        programs=[
            {"name": "webui", "state": "RUNNING", "pid": 12, "seconds": 75},
            {"name": "xray", "state": "STOPPED", "pid": 0, "seconds": 0},
        ],
    )
    gpu = {"gpus": [{**CARD, "index": 0}], "driver": "550.54.14", "reason": ""}
    assert status_summary(found, gpu, "none") == [
        "version:     1.10.1 (82a973c043), torch 2.1.2+cu121",
        "GPU:         NVIDIA GeForce RTX 4090, 3.0 of 24.0 GiB in use, 12 % busy, driver 550.54.14, compute capability 8.9",
        "disks:       /data 30.0 of 50.0 GiB free, / unknown",
        "models:      2 checkpoint 8.0 GiB, 1 vae 1.0 GiB, in all 9.0 GiB",
        "extensions:  a, b?[31m",
        "extensions:  disabled: c",
        "programs:    webui RUNNING (pid 12, 1:15), xray STOPPED",
    ]


def test_status_summary_in_chinese():
    gib = 1 << 30
    found = status(
        version={"version": "dev", "commit": "a" * 40, "checkout": "b" * 40},
        gpus=[{"index": 0, "name": "x", "memory_used": 4 << 20, "memory_total": 24 * gib, "utilization": 12}],
        disks={"/data": {"free": 54 * gib, "total": 252 * gib}, "/": {"free": None, "total": None}},
        models={"checkpoint": {"count": 2, "bytes": 8 * gib}},
        extensions={"enabled": ["a", "b"], "disabled": ["c"]},
        programs=[{"name": "webui", "state": "STOPPED", "pid": 0, "seconds": 0}],
    )
    gpu = {"gpus": [{**CARD, "index": 0}], "driver": "", "reason": ""}
    assert status_summary(found, gpu, "none", "zh") == [
        "版本:        dev (aaaaaaaaaa，但检出的是 bbbbbbbbbb)，torch 2.1.2+cu121",
        "GPU:         NVIDIA GeForce RTX 4090，已用 4.0 MiB / 24.0 GiB，占用 12 %，驱动 未知，计算能力 8.9",
        "磁盘:        /data 可用 54.0 / 252.0 GiB、/ 未知",
        "模型:        2 checkpoint 8.0 GiB，共 8.0 GiB",
        "扩展:        a、b",
        "扩展:        已停用：c",
        "程序:        webui STOPPED",
    ]


def test_status_summary_of_what_is_not_there_or_not_known():
    found = status(version={"version": "", "commit": "", "checkout": ""})
    gpu = {"gpus": [], "driver": "", "reason": "There is no nvidia-smi."}
    assert status_summary(found, gpu, "none (supervisord is not running)") == [
        "version:     not installed",
        "GPU:         none: There is no nvidia-smi.",
        "disks:       ",
        "models:      none",
        "extensions:  none",
        "programs:    none (supervisord is not running)",
    ]
    unknown = {"gpus": [{**CARD, "index": 0, "capability": ""}], "driver": "", "reason": "nvidia-smi hangs."}
    found["version"] = {"version": "dev", "commit": "a" * 40, "checkout": "b" * 40}
    lines = status_summary(found, unknown, "none")
    assert lines[0] == f"version:     dev ({'a' * 10}, but {'b' * 10} is checked out), torch 2.1.2+cu121"
    assert lines[1:3] == [
        "GPU:         NVIDIA GeForce RTX 4090, 24.0 GiB, driver unknown, compute capability unknown",
        "GPU:         nvidia-smi hangs.",
    ]


def test_status_summary_is_one_screen():
    cards = {"gpus": [{**CARD, "index": n} for n in range(16)], "driver": "1", "reason": "one is lost"}
    names = [f"extension-{n}" for n in range(40)]
    lines = status_summary(status(extensions={"enabled": names, "disabled": names}), cards, "none")
    assert len(lines) <= 15 and any("and 10 more" in line for line in lines) and "and 28 more" in "".join(lines)


def test_what_is_known_of_models_before_their_sources_are_asked():
    entries = [
        "sdxl-base-1.0",
        "civitai://112969",
        {"source": "https://models.invalid/a/x.safetensors?download=1", "kind": "lora"},
        {"source": "hf://a/b/c.zip@main", "kind": "vae"},
        "no-such-model",
        {"source": "sd-2.1", "state": "absent"},
    ]
    known, civitai, url, archive = expected_models(entries, "/webui")
    assert known["path"] == "/webui/models/Stable-diffusion/sd_xl_base_1.0.safetensors"
    assert (known["kind"], known["size"]) == ("checkpoint", 6938078334)
    source_id = hashlib.sha256(b"civitai://112969").hexdigest()[:16]
    assert civitai == {
        "source": "civitai://112969",
        "source_id": source_id,
        "kind": "",
        "name": "",
        "path": "",
        "size": 0,
    }
    assert (url["path"], url["size"]) == ("/webui/models/Lora/x.safetensors", 0)
    assert (archive["name"], archive["path"]) == ("c.zip", "")


@pytest.mark.parametrize(
    ("entry", "rejected"),
    [
        ({"source": "https://models.invalid/x.ckpt", "kind": "checkpoint"}, True),
        ({"source": "hf://a/b/x.bin@main", "name": "x.PT"}, True),
        ("civitai://66043?type=Model&format=PickleTensor", True),
        ("bad-pictures", True),
        ({"source": "https://models.invalid/x.pt", "sha256": "0" * 64, "trusted": True}, False),
        ({"source": "https://models.invalid/x.pt", "name": "x.safetensors"}, False),
        ("civitai://66043", False),
    ],
)
def test_pickles_are_told_from_the_entries(entry, rejected):
    found = model_problems([entry], allow_pickle=False)
    assert len(found) == rejected and all("set model_fetch_allow_pickle to true" in each for each in found)
    assert model_problems([entry], allow_pickle=True) == []


def test_missing_space_is_added_up_for_each_disk():
    gib = 1 << 30
    data = {"exists": False, "device": "1", "free": 10 * gib}
    disks = {
        "/d/env": data,
        "/d/webui": data,
        "/d/there": {**data, "exists": True},
        "/s/toolbox": {**data, "device": "2"},
    }
    needs = [
        {"name": "the environment", "path": "/d/env", "size": "6 GiB"},
        {"name": "the toolbox", "path": "/s/toolbox", "size": "6 GiB"},
        {"name": "x.safetensors", "path": "/d/webui", "size": 5 * gib},
        {"name": "y", "path": "/d/there", "size": "100 GiB"},
        {"name": "unknown", "path": "", "size": 0},
    ]
    assert missing_space(needs, disks) == [
        "The disk of /d/env has 10.0 GiB free, and 11.0 GiB are needed there: the environment 6.0 GiB, x.safetensors 5.0 GiB."
    ]
    assert missing_space(needs[:1], disks) == []
    assert missing_space(needs[:1], {"/d/env": {**data, "free": None}}) == []
    with pytest.raises(AnsibleFilterError, match="The size of the environment cannot be understood"):
        missing_space([{**needs[0], "size": "large"}], disks)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (5, 5),
        ("5", 5),
        ("5 B", 5),
        ("6 GB", 6 * 10**9),
        ("6 GiB", 6 << 30),
        ("1.5MiB", 3 << 19),
        (" 2 TB ", 2 * 10**12),
    ],
)
def test_gb_and_gib_differ(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["large", "6 gb", "-1 GB", "6 GBi", "6 PB", "", None, "1 GB 2 GB"])
def test_text_that_is_no_size(text):
    with pytest.raises(ValueError, match="is no size. Write a number of bytes"):
        parse_size(text)


def test_artifacts_lie_beside_the_inventory(tmp_path, monkeypatch):
    (tmp_path / "box/nested").mkdir(parents=True)
    (tmp_path / "box.yml").write_text("")
    file, directory = str(tmp_path / "box.yml"), str(tmp_path / "box")
    assert artifacts_dir(str(tmp_path), [file]) == f"{tmp_path}/artifacts"
    # Ansible takes each file in such a directory for an inventory
    assert artifacts_dir(directory, [directory]) == f"{tmp_path}/artifacts"
    assert artifacts_dir(f"{directory}/nested", [file, directory + "/"]) == f"{tmp_path}/artifacts"
    assert artifacts_dir(f"{directory}/nested", [f"{directory}/nested", directory]) == f"{tmp_path}/artifacts"
    assert artifacts_dir(directory, [str(tmp_path / "bo")]) == f"{directory}/artifacts"
    # what the user gives is from there too
    assert artifacts_dir(directory, [directory], "../x/y") == f"{tmp_path.parent}/x/y"
    assert artifacts_dir(directory, [directory], "/srv/x/") == "/srv/x"
    monkeypatch.setenv("HOME", "/home/me")
    assert artifacts_dir(directory, [directory], "~/x") == artifacts_dir("", [], "$HOME/x") == "/home/me/x"
    monkeypatch.setenv("PWD", "/here")
    assert artifacts_dir("", [], "x") == "/here/x"
    assert artifacts_dir("", ["box,"]) == artifacts_dir(None, []) == "/here/artifacts"


def test_plan_lists_the_actions_of_each_part():
    results = {"webui": {"actions": ["clone a", "clone b"]}, "models": {"skipped": True}, "proxy": {"actions": None}}
    assert plan_summary(results, "en") == [
        "WebUI   clone a",
        "        clone b",
        "models  nothing to do",
        "proxy   nothing to do",
    ]
    # a Chinese character takes two columns
    assert plan_summary(results, "zh") == ["WebUI  clone a", "       clone b", "模型   没有要做的", "代理   没有要做的"]
    many = plan_summary({"models": {"actions": list(range(MAX_ACTIONS + 5))}}, "en")
    assert len(many) == MAX_ACTIONS and many[-1] == "        and 6 more"
    assert plan_summary({}) == []

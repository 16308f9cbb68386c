"""The filters that compute what roles hand to modules or print."""

from __future__ import annotations

import hashlib

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.sdops.webui.plugins.filter.checkout_specs import checkout_specs
from ansible_collections.sdops.webui.plugins.filter.expected_models import expected_models
from ansible_collections.sdops.webui.plugins.filter.gpu_summary import gpu_summary
from ansible_collections.sdops.webui.plugins.filter.launch_key import launch_key
from ansible_collections.sdops.webui.plugins.filter.missing_space import missing_space
from ansible_collections.sdops.webui.plugins.filter.model_problems import model_problems
from ansible_collections.sdops.webui.plugins.filter.model_summary import model_summary
from ansible_collections.sdops.webui.plugins.filter.plan_summary import MAX_ACTIONS, plan_summary
from ansible_collections.sdops.webui.plugins.filter.repository_environment import repository_environment

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
        "status": "installed",
        "kind": "lora",
        "name": "a.safetensors",
        "bytes": 151112832,
        "path": "/m/a.safetensors",
    }
    unresolved = {**model, "status": "unresolved", "kind": None, "name": "civitai://1", "bytes": None, "path": None}
    assert model_summary([model, {**unresolved, "source": "civitai://1"}]) == [
        "installed   lora          a.safetensors  144.11 MB     /m/a.safetensors",
        "unresolved  kind unknown  civitai://1    size unknown  civitai://1",
        "2 models, 144.11 MB, and 1 of unknown size",
    ]
    assert model_summary([model])[-1] == "1 model, 144.11 MB" and model_summary([]) == []
    removed = {**model, "status": "removed"}
    assert model_summary([model, removed])[-1] == "1 model, 144.11 MB; removed: 1 model, 144.11 MB"
    assert model_summary([removed])[-1] == "removed: 1 model, 144.11 MB"


def test_gpu_summary():
    card = "NVIDIA GeForce RTX 4090, 24564 MiB, driver 550.54.14, compute capability 8.9"
    assert gpu_summary({"gpus": [CARD, CARD], "driver": "550.54.14", "reason": ""}) == [card, card]
    unknown = {"gpus": [{**CARD, "memory_mb": 0, "capability": ""}], "driver": "", "reason": "nvidia-smi hangs."}
    assert gpu_summary(unknown) == [
        "NVIDIA GeForce RTX 4090, memory unknown, driver unknown, compute capability unknown",
        "nvidia-smi hangs.",
    ]
    assert gpu_summary({"gpus": [], "driver": "", "reason": "There is no nvidia-smi."}) == [
        "none: There is no nvidia-smi."
    ]


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
        {"name": "the environment", "path": "/d/env", "size": "6 GB"},
        {"name": "the toolbox", "path": "/s/toolbox", "size": "6 GB"},
        {"name": "x.safetensors", "path": "/d/webui", "size": 5 * gib},
        {"name": "y", "path": "/d/there", "size": "100 GB"},
        {"name": "unknown", "path": "", "size": 0},
    ]
    assert missing_space(needs, disks) == [
        "The disk of /d/env has 10.00 GB free, and 11.00 GB are needed there: the environment 6.00 GB, x.safetensors 5.00 GB."
    ]
    assert missing_space(needs[:1], disks) == []
    assert missing_space(needs[:1], {"/d/env": {**data, "free": None}}) == []
    with pytest.raises(AnsibleFilterError, match="The size of the environment cannot be understood"):
        missing_space([{**needs[0], "size": "large"}], disks)


def test_plan_lists_the_actions_of_each_part():
    results = {"WebUI": {"actions": ["clone a", "clone b"]}, "models": {"skipped": True}, "x": {"actions": None}}
    assert plan_summary(results) == [
        "WebUI   clone a",
        "        clone b",
        "models  nothing to do",
        "x       nothing to do",
    ]
    many = plan_summary({"x": {"actions": list(range(MAX_ACTIONS + 5))}})
    assert len(many) == MAX_ACTIONS and many[-1] == "   and 6 more"
    assert plan_summary({}) == []

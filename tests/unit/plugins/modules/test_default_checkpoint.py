"""Which checkpoint a new WebUI loads: the first that is listed and there, unless somebody has chosen."""

from __future__ import annotations

import json

import pytest
from ansible_collections.sdops.webui.plugins.filter.expected_models import expected_models

REPO = "hf://lab-fakes/tiny-sd15/v1-5-pruned-emaonly.safetensors@main"
VAE = {"source": "hf://lab-fakes/tiny-vae/vae-ft-mse-840000-ema-pruned.safetensors@main", "kind": "vae"}
ZED = {"source": REPO, "kind": "checkpoint", "name": "zed.safetensors"}
# its name and kind are known to Civitai alone
CIVITAI = "civitai://11745?type=Model&format=SafeTensor&size=full&fp=fp32"
LATER = {"source": REPO, "kind": "checkpoint", "name": "later.safetensors"}


@pytest.fixture
def configure(target, run_module):
    """webui_options for a list of models, of which ``installed`` are there."""

    def run(*models, installed=(), check: bool = False, **more) -> dict:
        if installed:
            assert not run_module("model_files", **target.arguments, models=list(installed), create=True)["failed"]
        expected = expected_models(list(models), str(target.webui))
        found = run_module(
            "webui_options", check=check, webui_dir=str(target.webui), default_checkpoints=expected, **more
        )
        assert not found["failed"], found
        return found

    return run


def chosen(target) -> str | None:
    path = target.webui / "config.json"
    return json.loads(path.read_text()).get("sd_model_checkpoint") if path.exists() else None


def test_the_first_listed_one_is_the_default(target, configure):
    models = [VAE, ZED, CIVITAI]
    expected = {"sd_model_checkpoint": "zed.safetensors"}
    first = configure(*models, installed=models, check=True)
    assert first["changed"] and first["diff"] == {"before": {}, "after": expected} and chosen(target) is None
    second = configure(*models)
    assert second["changed"] and second["diff"]["after"] == expected and chosen(target) == "zed.safetensors"
    for check in (True, False):
        assert configure(*models, check=check)["changed"] is False


def test_a_name_that_only_the_source_knows(target, configure):
    configure(CIVITAI, ZED, installed=[CIVITAI, ZED])
    assert chosen(target) == "chilloutmix_NiPrunedFp32Fix.safetensors"


def test_one_that_is_not_there_is_passed_over(target, configure):
    """In check mode it will be there."""
    planned = configure(LATER, ZED, installed=[ZED], check=True)
    assert planned["diff"]["after"] == {"sd_model_checkpoint": "later.safetensors"}
    configure(LATER, ZED)
    assert chosen(target) == "zed.safetensors"


@pytest.mark.parametrize("before", ["mine.safetensors [0123456789]", "gone.ckpt"])
def test_what_was_chosen_stays(target, configure, before):
    (target.webui / "config.json").write_text(json.dumps({"sd_model_checkpoint": before}))
    assert configure(ZED, installed=[ZED])["changed"] is False
    assert chosen(target) == before


@pytest.mark.parametrize("option", ["options", "stopped_options"])
def test_an_option_of_the_inventory_wins(target, configure, option):
    configure(ZED, installed=[ZED], **{option: {"sd_model_checkpoint": "tiny.safetensors"}})
    assert chosen(target) == "tiny.safetensors"


@pytest.mark.parametrize("settings", [{"sd_model_checkpoint": None}, {"jpeg_quality": 80}])
def test_settings_without_a_choice(target, configure, settings):
    (target.webui / "config.json").write_text(json.dumps(settings))
    configure(ZED, installed=[ZED])
    assert chosen(target) == "zed.safetensors"


def test_no_checkpoint_no_default(target, configure):
    assert configure(VAE, {**ZED, "state": "absent"}, installed=[VAE])["changed"] is False
    assert not (target.webui / "config.json").exists()


def test_a_running_webui_keeps_what_it_has_loaded(webui, ready, target, run_module):
    assert not run_module("model_files", **target.arguments, models=[ZED])["failed"]
    expected = expected_models([ZED], str(target.webui))
    found = run_module(
        "webui_options", **webui.access, webui_dir=str(target.webui), default_checkpoints=expected, options={}
    )
    assert (found["failed"], found["changed"]) == (False, False), found

"""site.yml with single tags on a box whose WebUI runs or whose lists have become shorter. Hub and WebUI are the lab's, all else is real."""

from __future__ import annotations

import json
import shlex

import pytest
from helpers.paths import ROOT
from helpers.running_webui import launch_command, prepare, run_supervisord, wait_for

LORA = {"source": "civitai://112969?type=Model&format=SafeTensor", "name": "film.safetensors"}
VAE = {"source": "hf://lab-fakes/tiny-vae/vae-ft-mse-840000-ema-pruned.safetensors@main", "kind": "vae"}
MISSING = {"source": "hf://lab-fakes/nothing/x.safetensors@main", "kind": "vae"}
REFRESH = "Refresh the lists of the running WebUI"


@pytest.fixture
def box(site, lab_server):
    """A site whose WebUI is a fake that its own supervisord runs; ``port`` is the WebUI's."""
    base, home = site.base / "box", site.base / "home"
    base.mkdir()
    port = prepare(base)
    (home / "secrets").mkdir(parents=True)
    (base / "credentials").rename(home / "secrets" / "webui-credentials")
    config = json.loads((base / "launch.json").read_text())
    config["args"][config["args"].index("--gradio-auth-path") + 1] = config["api_auth_file"] = str(
        home / "secrets" / "webui-credentials"
    )
    (base / "launch.json").write_text(json.dumps(config))
    programs = home / "supervisor" / "conf.d"
    programs.mkdir(parents=True)
    programs.joinpath("webui.conf").write_text(
        f"[program:webui]\ncommand={shlex.join(launch_command(base))}\nstdout_logfile={base}/webui.log\nredirect_stderr=true\n"
        f'killasgroup=true\nstopasgroup=true\nenvironment=PYTHONPATH="{ROOT}/lab/fakes/wheels/torch"\n'
    )
    site.variables.update(
        sdops_device="cpu",
        sdops_webui_dir=str(base / "webui"),
        webui_service_port=str(port),
        sdops_huggingface_endpoint=lab_server.url("huggingface.lab.test"),
        sdops_civitai_endpoint=lab_server.url("civitai.lab.test"),
        model_fetch_retries="1",
    )
    with run_supervisord(home / "supervisor"):
        wait_for(lambda: (base / "webui.log").exists() and "Model loaded in" in (base / "webui.log").read_text(), 240)
        yield site


def play(site, *models: dict, code: int = 0, check: bool = False, **more) -> str:
    arguments = ("--tags", "model_fetch", "--diff", *(["--check"] if check else []))
    result = site.play(*arguments, model_fetch_models=list(models), **more)
    assert result.returncode == code, result.stdout + result.stderr
    return result.stdout + result.stderr


def refreshed(output: str) -> str:
    """What the task that refreshes the lists reported, "" where it did not run."""
    return output.partition(f" : {REFRESH}]")[2].partition("\nTASK [")[0]


def test_a_running_webui_lists_what_was_fetched_and_what_was_removed(box):
    webui = box.base / "box" / "webui"
    lora = webui / "models/Lora/film.safetensors"
    assert refreshed(play(box, LORA, check=True)) == ""
    assert f"+lora {lora}" in refreshed(play(box, LORA))
    output = play(box, LORA)
    assert "changed=0" in output and refreshed(output) == ""

    # another list, and a failure of one of its models: the other one is there and is shown
    output = play(box, VAE, MISSING, code=2, model_fetch_prune=True)
    assert "Nothing was pruned" in output and lora.exists()
    assert "vae-ft-mse-840000-ema-pruned.safetensors" in refreshed(output)
    planned = play(box, VAE, check=True, model_fetch_prune=True)
    assert f"-{lora} ({lora.stat().st_size} bytes)" in planned and lora.exists()
    assert f"-lora {lora}" in refreshed(play(box, VAE, model_fetch_prune=True))
    assert not lora.exists()
    assert "changed=0" in play(box, VAE, model_fetch_prune=True)


def test_an_extension_that_is_not_listed_any_more_keeps_its_arguments(site):
    """As long as it is there: the WebUI loads it."""
    state = site.base / "home/webui/extensions.json"
    kept = site.base / "data/stable-diffusion-webui/extensions/flagged"
    before = {"extensions": {}, "disabled": [], "arguments": {"flagged": ["--own-flag"], "gone": ["--gone-flag"]}}
    state.parent.mkdir(parents=True)
    state.write_text(json.dumps(before))
    kept.mkdir(parents=True)
    for arguments, changed in ((["--check"], True), ([], True), (["--check"], False), ([], False)):
        result = site.play("--tags", "extensions", *arguments, sdops_device="cpu", extensions_list=[])
        assert result.returncode == 0, result.stdout + result.stderr
        assert ("changed=0" not in result.stdout) is changed, result.stdout
        found = json.loads(state.read_text())["arguments"]
        assert found == ({"flagged": ["--own-flag"]} if not arguments or not changed else before["arguments"])
    kept.rmdir()
    result = site.play("--tags", "extensions", sdops_device="cpu", extensions_list=[])
    assert result.returncode == 0 and json.loads(state.read_text())["arguments"] == {}, result.stdout

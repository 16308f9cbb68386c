"""A checkpoint's YAML is code. OmegaConf, which the WebUI reads it with, is the oracle: whatever it hands on as a target is allowed.

The good ones have the shape of the configs of AUTOMATIC1111 1.10.1, Stability-AI/stablediffusion and generative-models.
"""

from __future__ import annotations

import random

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.content_scan import model_config
from ansible_collections.sdops.webui.plugins.module_utils.errors import ContentError
from omegaconf import OmegaConf

BASE = """model:
  base_learning_rate: 1.0e-04
  target: %s
  params:
    linear_start: 0.00085
    unet_config: {target: ldm.modules.diffusionmodules.openaimodel.UNetModel, params: {legacy: False}}
"""
SOUND = {
    "sd 1": BASE % "ldm.models.diffusion.ddpm.LatentDiffusion",
    "sdxl": BASE % "sgm.models.diffusion.DiffusionEngine",
    "sd 3": BASE % "modules.models.sd3.sd3_model.SD3Inferencer",
    "wrapper": BASE % "sgm.models.diffusion.DiffusionEngine"
    + "    network_wrapper: sgm.modules.diffusionmodules.wrappers.OpenAIWrapper\n",
    "no wrapper": BASE % "sgm.models.diffusion.DiffusionEngine" + "    network_wrapper: null\n",
    "alt": BASE % "modules.xlmr_m18.BertSeriesModelWithTransformation",
    "identity": BASE % "torch.nn.Identity",
    "reference": "model:\n  target: sgm.models.autoencoder.AutoencodingEngine\n  a: {b: 1}\n  params: ${model.a}\n",
    "training": BASE % "ldm.models.diffusion.ddpm.LatentDiffusion"
    + "data:\n  target: main.DataModuleFromConfig\n  params: {train: {target: edit_dataset.EditDataset}}\n",
    "anchors": "a: &a {target: torch.nn.Identity}\nb: [*a, *a]\nc: {<<: *a, x: 1}\n",
    "no target at all": "cond_stage_key: txt\n",
    "a text that is no key": "a: the target is subprocess.Popen\n",
    "empty": "",
}
HARM = "subprocess.Popen"
UNSAFE = {
    "the model": BASE % HARM,
    "os.system": BASE % "os.system",
    "the wrapper of sgm's DiffusionEngine": BASE % "sgm.models.diffusion.DiffusionEngine" + "    network_wrapper: os.system\n",
    "a wrapper and nothing else": "network_wrapper: os.system\n",
    "an escaped wrapper": '"network\\x5fwrapper": os.system\n',
    "a wrapper from elsewhere": "x: &x {network_wrapper: os.system}\nmodel: {<<: *x}\n",
    "a list as the wrapper": "network_wrapper: [os.system]\n",
    "a function that runs what it is given": BASE % "ldm.util.instantiate_from_config",
    "a function of the WebUI": BASE % "modules.launch_utils.run",
    "a class of another part of the WebUI": BASE % "modules.launch_utils.Popen",
    "a prefix only": BASE % "ldmx.models.Model",
    "a prefix of torch": BASE % "torch.hub.Load",
    "relative": BASE % "ldm..os.System",
    "spaces": BASE % "'ldm.models.X '",
    "training classes in the model": BASE % "main.DataModuleFromConfig",
    "in a list": f"model: [{{a: [{{target: {HARM}}}]}}]\n",
    "a list as the document": f"- {{target: {HARM}}}\n",
    "flow style": f"{{model: {{target: {HARM}, params: {{args: [id]}}}}}}",
    "quoted key": f'model: {{"target": {HARM}}}\n',
    "single-quoted key": f"model: {{'target': {HARM}}}\n",
    "escaped key": f'model: {{"\\x74arget": {HARM}}}\n',
    "escaped and folded key": f'model: {{"tar\\\n    get": {HARM}}}\n',
    "explicit key": f"model:\n  ? target\n  : {HARM}\n",
    "block value": f"model:\n  target: |-\n    {HARM}\n",
    "folded value": f"model:\n  target: >-\n    {HARM}\n",
    "escaped value": 'model: {target: "ldm.X\\n"}\n',
    "anchor and alias": f"x: &x {HARM}\nmodel:\n  target: *x\n",
    "alias of a key": f"x: &x target\nmodel:\n  *x : {HARM}\n",
    "anchored mapping": f"x: &x {{target: {HARM}}}\nmodel: *x\n",
    "merge": f"x: &x {{target: {HARM}}}\nmodel:\n  <<: *x\n",
    "merge of a list": f"x: &x {{target: {HARM}}}\nmodel:\n  <<: [*x]\n",
    "twice, the last": f"model:\n  target: torch.nn.Identity\n  target: {HARM}\n",
    "twice, the first": f"model:\n  target: {HARM}\n  target: torch.nn.Identity\n",
    "second document": f"a: 1\n---\nmodel: {{target: {HARM}}}\n",
    "python tag": "model: !!python/object/apply:os.system [id]\n",
    "python name": "model: {target: !!python/name:os.system ''}\n",
    "own tag": "!x {target: torch.nn.Identity}\n",
    "tagged text": f"model: {{target: !!str {HARM}}}\n",
    "binary": "model: {!!binary dGFyZ2V0: x}\n",
    "reference as a target": f"x: {HARM}\nmodel: {{target: '${{x}}'}}\n",
    "reference in a target": "x: Popen\nmodel: {target: 'ldm.${x}'}\n",
    "environment": "model: {target: torch.nn.Identity, params: {a: '${oc.env:HOME}'}}\n",
    "a config in a text": "model: ${oc.create:{target:os.system}}\n",
    "nested reference": "a: b\nb: c\nmodel: ${${a}}\n",
    "a mapping as a target": "model: {target: {a: b}}\n",
    "no target given": "model: {target: }\n",
    "in training": f"data: {{target: {HARM}}}\n",
    "training classes through an alias": "data: &d {target: main.ImageLogger}\nmodel: *d\n",
    "training classes by a reference": "data: {a: {target: main.ImageLogger}}\nmodel: ${data.a}\n",
    "training classes by another reference": "data: {a: {target: main.ImageLogger}}\nmodel: ${[data].a}\n",
    "training classes by a near reference": "data: {a: {target: main.ImageLogger}}\nmodel: ${.data.a}\n",
    "a text that is YAML": f"'model: {{target: {HARM}}}'\n",
    "a block that is YAML": f"|\n  model:\n    target: {HARM}\n",
    "hydra": f"model: {{_target_: {HARM}}}\n",
    "utf-8 mark": f"\ufeffmodel: {{target: {HARM}}}\n",
    "circle": "model: &a {target: torch.nn.Identity, a: *a}\n",
    "laughs": "a0: &a0 {target: torch.nn.Identity}\n" + "".join(
        "a{0}: &a{0} [{1}]\n".format(n, ", ".join([f"*a{n - 1}"] * 10)) for n in range(1, 12)),
    "deep": "target: " + "[" * 5000 + "]" * 5000,
    "long": "# target\n" + "a" * 300_000 + ": 1\n",
    "no YAML": "target: [\n",
}  # fmt: skip


def targets(value: object) -> list[object]:
    """Every target below a config, as instantiate_from_config would find it."""
    if isinstance(value, dict):
        named = [v for k, v in value.items() if k == "target" or (k == "network_wrapper" and v is not None)]
        return named + [t for v in value.values() for t in targets(v)]
    return [t for v in value for t in targets(v)] if isinstance(value, list) else []


@pytest.mark.parametrize("name", sorted(SOUND))
def test_sound_configs(name, tmp_path, scan_error):
    for called in ("x.yaml", "x.yml", "x.YAML"):
        assert scan_error(SOUND[name].encode(), called, allow_pickle=False) is None
    path = tmp_path / "x.yaml"
    path.write_text(SOUND[name])
    config = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    assert len(targets(config)) >= ("target: " in SOUND[name])


@pytest.mark.parametrize("name", sorted(UNSAFE))
def test_unsafe_configs(name, scan_error):
    reason = scan_error(UNSAFE[name].encode(), "x.yaml")
    assert reason
    if HARM in reason:
        assert "sha256" in reason
        assert "trusted: true" in reason


def test_without_a_parser(monkeypatch, scan_error):
    monkeypatch.setattr(model_config, "yaml", None)
    assert "role base" in scan_error(SOUND["sd 1"].encode(), "x.yaml")
    assert scan_error(SOUND["no target at all"].encode(), "x.yaml") is None


def test_what_passes_names_allowed_targets_to_omegaconf(tmp_path):
    """Thousands of mutations: what ours accepts, OmegaConf cannot read, or reads with allowed targets only."""
    chance = random.Random(11)
    seeds = [text for text in {**SOUND, **UNSAFE}.values() if len(text) < 2000]
    pieces = [HARM, "target: ", "target", "*a", "&a ", "<<: ", "'", '"', "\\x74", "\n", "  ", "{", "}", "[", "]", ", ", ": ", "? ",
              "- ", "|\n", "!!str ", "${a}", "---\n", "#", "ldm.X", "os.", "\t"]  # fmt: skip
    path = tmp_path / "x.yaml"
    passed = loaded = 0
    for _ in range(6000):
        text = chance.choice(seeds)
        for _ in range(chance.choice((1, 1, 2, 3))):
            place = chance.randrange(len(text) + 1)
            text = text[:place] + chance.choice((*pieces, "")) + text[place + chance.choice((0, 0, 1, 4)) :]
        path.write_text(text, encoding="utf-8", newline="")
        try:
            model_config.check_config(str(path))
        except ContentError:
            continue
        passed += 1
        try:
            config = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
        except Exception:  # noqa: BLE001  OmegaConf is stricter: then nothing runs
            continue
        loaded += 1
        if isinstance(config, dict):
            config = {key: value for key, value in config.items() if key not in model_config.TRAINING_KEYS}
        for named in targets(config):
            assert model_config.ALLOWED_TARGET.fullmatch(str(named)), (text, config)
    assert passed > 500
    assert loaded > 200

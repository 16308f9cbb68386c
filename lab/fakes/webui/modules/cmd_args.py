"""The command line flags of AUTOMATIC1111 1.10.1, as tables: names, arity, types and defaults are the contract."""

from __future__ import annotations

import argparse
import json
import os

from modules.paths_internal import (
    data_path,
    models_path,
    normalized_filepath,
    script_path,
    sd_default_config,
    sd_model_file,
)

SWITCHES = """
    administrator add-stop-route allow-code always-batch-cond-uncond api api-log api-server-stop autolaunch deepdanbooru
    disable-all-extensions disable-console-progressbars disable-extra-extensions disable-model-loading-ram-optimization
    disable-nan-check disable-opt-split-attention disable-safe-unpickle do-not-download-clip dump-sysinfo
    enable-console-prompts enable-insecure-extension-access force-enable-xformers freeze-settings gradio-debug
    hide-ui-dir-config listen log-startup lowram lowvram medvram medvram-sdxl no-download-sd-model no-gradio-queue no-half
    no-half-vae no-hashing no-progressbar-hiding no-prompt-history nowebui opt-channelslast opt-sdp-attention
    opt-sdp-no-mem-attention opt-split-attention opt-split-attention-invokeai opt-split-attention-v1
    opt-sub-quad-attention reinstall-torch reinstall-xformers share show-negative-prompt skip-install
    skip-load-model-at-start skip-prepare-environment skip-python-version-check skip-torch-cuda-test skip-version-check
    test-server ui-debug-mode unix-filenames-sanitization unload-gfpgan update-all-extensions update-check upcast-sampling
    use-ipex use-textbox-seed xformers xformers-flash-attention
"""

# flag -> default, value is an absolute path
PATHS = {
    "bsrgan-models-path": os.path.join(models_path, "BSRGAN"),
    "ckpt": sd_model_file,
    "ckpt-dir": None,
    "clip-models-path": None,
    "codeformer-models-path": os.path.join(models_path, "Codeformer"),
    "config": sd_default_config,
    "dat-models-path": os.path.join(models_path, "DAT"),
    "data-dir": script_path,
    "embeddings-dir": os.path.join(data_path, "embeddings"),
    "esrgan-models-path": os.path.join(models_path, "ESRGAN"),
    "gfpgan-dir": "./src/gfpgan" if os.path.exists("./src/gfpgan") else "./GFPGAN",
    "gfpgan-model": None,
    "gfpgan-models-path": os.path.join(models_path, "GFPGAN"),
    "gradio-auth-path": None,
    "hypernetwork-dir": os.path.join(models_path, "hypernetworks"),
    "localizations-dir": os.path.join(script_path, "localizations"),
    "models-dir": None,
    "realesrgan-models-path": os.path.join(models_path, "RealESRGAN"),
    "textual-inversion-templates-dir": os.path.join(script_path, "textual_inversion_templates"),
    "vae-dir": None,
    "vae-path": None,
}

# flag -> default, value is kept as it is
TEXTS = {
    "api-auth": None,
    "cors-allow-origins": None,
    "cors-allow-origins-regex": None,
    "device-id": None,
    "freeze-settings-in-sections": None,
    "freeze-specific-settings": None,
    "gradio-auth": None,
    "gradio-img2img-tool": None,
    "gradio-inpaint-tool": None,
    "loglevel": None,
    "ngrok": None,
    "ngrok-region": "",
    "server-name": None,
    "subpath": None,
    "theme": None,
    "tls-certfile": None,
    "tls-keyfile": None,
    "ui-config-file": os.path.join(data_path, "ui-config.json"),
    "ui-settings-file": os.path.join(data_path, "config.json"),
}

NUMBERS = {
    "filenames-max-length": 128,
    "max-batch-count": 16,
    "port": None,
    "sub-quad-chunk-threshold": None,
    "sub-quad-kv-chunk-size": None,
    "sub-quad-q-chunk-size": 1024,
    "timeout-keep-alive": 30,
}

parser = argparse.ArgumentParser(
    description="sdops lab fake of stable-diffusion-webui 1.10.1 (not the real WebUI); flags as in the original"
)
parser.add_argument("-f", action="store_true", help=argparse.SUPPRESS)
for _name in SWITCHES.split():
    parser.add_argument(f"--{_name}", action="store_true")
for _name, _path in PATHS.items():
    parser.add_argument(f"--{_name}", type=normalized_filepath, default=_path)
for _name, _text in TEXTS.items():
    parser.add_argument(f"--{_name}", type=str, default=_text)
for _name, _number in NUMBERS.items():
    parser.add_argument(f"--{_name}", type=int, default=_number)
parser.add_argument("--disable-tls-verify", action="store_false", default=None)
parser.add_argument("--gradio-allowed-path", action="append", default=[data_path])
parser.add_argument("--gradio-queue", action="store_true", default=True)
parser.add_argument("--ngrok-options", type=json.loads, default={})
parser.add_argument("--precision", choices=["full", "half", "autocast"], default="autocast")
parser.add_argument("--styles-file", action="append", default=[])
parser.add_argument("--use-cpu", nargs="+", default=[], type=str.lower)

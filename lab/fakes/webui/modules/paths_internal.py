"""Directories. Importing this also appends COMMANDLINE_ARGS to ``sys.argv``, before anything parses flags."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path


def normalized_filepath(value: str) -> str:
    return str(Path(value).absolute())


sys.argv += shlex.split(os.environ.get("COMMANDLINE_ARGS", ""))

cwd = os.getcwd()
modules_path = os.path.dirname(os.path.realpath(__file__))
script_path = os.path.dirname(modules_path)
sd_configs_path = os.path.join(script_path, "configs")
sd_default_config = os.path.join(sd_configs_path, "v1-inference.yaml")
sd_model_file = default_sd_model_file = os.path.join(script_path, "model.ckpt")

# the defaults of other flags depend on these two, so they are read first
_first = argparse.ArgumentParser(add_help=False)
_first.add_argument("--data-dir", default=script_path)
_first.add_argument("--models-dir", default=None)
cmd_opts_pre = _first.parse_known_args()[0]

data_path = cmd_opts_pre.data_dir
models_path = cmd_opts_pre.models_dir or os.path.join(data_path, "models")
extensions_dir = os.path.join(data_path, "extensions")
extensions_builtin_dir = os.path.join(script_path, "extensions-builtin")
config_states_dir = os.path.join(script_path, "config_states")
default_output_dir = os.path.join(data_path, "outputs")

"""State of the running program. Importing it parses the command line for good and loads the settings."""

from __future__ import annotations

import os
import threading

from modules import options
from modules.options import OptionInfo  # noqa: F401  (extensions import it from here)
from modules.paths_internal import sd_model_file  # noqa: F401
from modules.shared_cmd_options import cmd_opts, parser  # noqa: F401
from modules.state import State

config_filename = cmd_opts.ui_settings_file
hf_endpoint = os.getenv("HF_ENDPOINT", "https://huggingface.co")

opts = options.Options(cmd_opts)
opts.load(config_filename)
state = State()
queue_lock = threading.RLock()  # one job at a time: pictures and model changes

# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start the WebUI with API credentials that appear neither in argv nor in the environment.

``launch_webui.py CONFIG.json`` runs in the WebUI's own Python. The WebUI prints its arguments into its log and shows its
environment at /internal/sysinfo, so the credentials must not be there. They are put where the arguments end up instead:
into the namespace that the WebUI's own parser returns.
"""

import argparse
import json
import os
import runpy
import stat
import sys


def read_secret(path):
    mode = os.stat(path).st_mode
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        sys.exit("launch_webui: %s can be read by others; it must have mode 0600" % path)
    with open(path, encoding="utf-8") as handle:
        return handle.readline().strip()


def hand_over(secret):
    """Let every parser that knows --api-auth return the secret as its value."""
    original = argparse.ArgumentParser.parse_known_args

    def parse_known_args(self, args=None, namespace=None):
        result, rest = original(self, args, namespace)
        if hasattr(result, "api_auth") and not result.api_auth:
            result.api_auth = secret
        return result, rest

    argparse.ArgumentParser.parse_known_args = parse_known_args


def main():
    with open(sys.argv[1], encoding="utf-8") as handle:
        config = json.load(handle)
    environment = {}
    if config.get("environment_file") and os.path.exists(config["environment_file"]):
        with open(config["environment_file"], encoding="utf-8") as handle:
            environment.update(json.load(handle))
    environment.update(config.get("environment") or {})
    os.environ.update({name: str(value) for name, value in environment.items()})
    for name in ("all_proxy", "ALL_PROXY"):  # gradio's HTTP client dies on it at import
        os.environ.pop(name, None)
    if config.get("api_auth_file"):
        hand_over(read_secret(config["api_auth_file"]))
    os.chdir(config["webui_dir"])
    sys.argv = ["launch.py"] + list(config["args"])
    sys.path[0] = config["webui_dir"]
    runpy.run_path("launch.py", run_name="__main__")


main()

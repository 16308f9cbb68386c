# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which directories must not be removed: ``refuse_removal.py JSON`` prints one sentence for each.

JSON: ``{"home": the user's, "keep": directories that may hold more than ours, "checkouts": [...], "environments": [...],
"others": [...]}``. A checkout has to be one that we have pinned, an environment one that we have made; others have to lie
below one of ``keep``. What is not there is no matter.
"""

import json
import os
import sys


def holds(directory, other):
    return other == directory or other.startswith(directory.rstrip("/") + "/")


def pinned(path):
    try:
        with open(os.path.join(path, ".git", "config"), encoding="utf-8", errors="replace") as handle:
            return "[sdops]" in handle.read()
    except OSError:
        return False


def reason(path, kind, wish):
    """Why not, or ""."""
    real = os.path.realpath(path)
    if not os.path.isabs(path) or holds(real, os.path.realpath(wish["home"])):
        return "is, or holds, the home directory"
    for keep in wish["keep"]:
        if holds(real, os.path.realpath(keep)):
            return f"is, or holds, {keep}, in which others may have files too"
    if os.path.ismount(real):
        return "is a mount point"
    if kind == "checkouts" and not pinned(real):
        return "is no checkout that the role sd_webui has made"
    if kind == "environments" and not os.path.exists(os.path.join(real, ".sdops-made")):
        return "is no environment that the role conda_env has made"
    below = [keep for keep in wish["keep"] if holds(os.path.realpath(keep), real)]
    if kind == "others" and not below:
        return "lies outside {}".format(" and ".join(wish["keep"]))
    return ""


def main():
    wish = json.loads(sys.argv[1])
    for kind in ("checkouts", "environments", "others"):
        for path in wish[kind]:
            why = reason(path, kind, wish) if os.path.lexists(path) else ""
            if why:
                print(f"{path} {why}.")


main()

# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which directories must not be removed: ``reject_removal.py JSON`` prints one sentence for each.

JSON: ``{"home": the user's, "shared": directories that may hold more than ours, "checkouts": [...], "environments": [...],
"others": [...]}``. A checkout has to be one that we have pinned, an environment one that we have made; others have to lie
below one of ``shared``. What is not there is no matter.
"""

import json
import os
import sys


def contains(directory, other):
    return other == directory or other.startswith(directory.rstrip("/") + "/")


def is_pinned(path):
    try:
        with open(os.path.join(path, ".git", "config"), encoding="utf-8", errors="replace") as handle:
            return "[sdops]" in handle.read()
    except OSError:
        return False


def reason(path, kind, request):
    """Why not, or ""."""
    real = os.path.realpath(path)
    if not os.path.isabs(path) or contains(real, os.path.realpath(request["home"])):
        return "is, or holds, the home directory"
    for shared in request["shared"]:
        if contains(real, os.path.realpath(shared)):
            return f"is, or holds, {shared}, in which others may have files too"
    if os.path.ismount(real):
        return "is a mount point"
    if kind == "checkouts" and not is_pinned(real):
        return "is no checkout that the role sd_webui has made"
    if kind == "environments" and not os.path.exists(os.path.join(real, ".sdops-made")):
        return "is no environment that the role conda_env has made"
    below = [shared for shared in request["shared"] if contains(os.path.realpath(shared), real)]
    if kind == "others" and not below:
        return "lies outside {}".format(" and ".join(request["shared"]))
    return ""


def main():
    request = json.loads(sys.argv[1])
    for kind in ("checkouts", "environments", "others"):
        for path in request[kind]:
            why = reason(path, kind, request) if os.path.lexists(path) else ""
            if why:
                print(f"{path} {why}.")


main()

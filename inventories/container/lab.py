#!/usr/bin/env python3
"""Inventory of the lab that `python -m lab up` created. SDOPS_LAB: name of the lab; default: demo."""

import json
import os
import sys

name = os.environ.get("SDOPS_LAB", "demo")
root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
lab = os.path.join(root, ".work", "lab" if name == "demo" else "lab-" + name)

if "--host" in sys.argv:
    print(json.dumps({"_meta": {"hostvars": {}}}))
    sys.exit()
try:
    with open(os.path.join(lab, "state.json"), encoding="utf-8") as handle:
        state = json.load(handle)
    with open(os.path.join(lab, "vars.json"), encoding="utf-8") as handle:
        variables = json.load(handle)
except OSError:
    # molecule reads the inventory before the lab exists: it is empty then
    sys.stderr.write(f"The lab {name!r} is not up; `python -m lab up --name {name}` creates it.\n")
    print(json.dumps({"_meta": {"hostvars": {}}}))
    sys.exit()
print(
    json.dumps(
        {
            "webui": {"hosts": sorted(state["hosts"]), "vars": variables},
            "_meta": {"hostvars": state["hosts"]},
        }
    )
)

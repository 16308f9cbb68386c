#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: network_routes
short_description: The routes from a host to GitHub, Hugging Face, Civitai, PyPI and conda
version_added: 0.1.0
description:
  - Chooses, for each service, how it is reached from this host. Directly, through the host's Xray client, through AutoDL's
    turbo proxy (C(/etc/network_turbo)), or at a mirror.
  - Where there is more than one route, each is measured by reading up to 128 kB through it, all at once, and the fastest that
    works is taken. The choice is remembered on the host and stays while it works.
  - Nothing but the state file is changed; what the routes mean for other tasks is in the result.
author: The sdops.webui authors (!UNKNOWN)
extends_documentation_fragment:
  - sdops.webui.attributes
attributes:
  check_mode:
    support: full
    details: Measures as well, and remembers nothing.
  diff_mode:
    support: full
  idempotent:
    support: full
    details: While the remembered routes work.
options:
  network:
    description:
      - V(direct) and V(xray) take this route for everything. V(turbo) takes the turbo proxy for GitHub and Hugging Face and goes
        directly elsewhere. V(mirrors) takes the fastest mirror, and goes directly where none works. V(auto) takes the
        fastest of all.
    type: str
    choices: [direct, xray, turbo, mirrors, auto]
    required: true
  base_urls:
    description:
      - Base URL of each service, by C(github), C(huggingface), C(civitai), C(pypi) (an index) and C(conda) (a channel). An empty
        one leaves the host's own setting alone.
      - One that is not the public one is somebody's choice and gets no mirrors but those in O(mirrors).
    type: dict
    default: {}
  mirrors:
    description: Lists of base URLs by service, in place of the built-in mirrors.
    type: dict
    default: {}
  route_overrides:
    description: The route for single services, whatever O(network) says. V(direct), V(xray), V(turbo) or V(mirror) by service.
    type: dict
    default: {}
  xray_proxy:
    description: URL of the HTTP proxy that Xray is on this host; empty when it is not configured.
    type: str
    default: ""
  turbo_file:
    description: The script that sets the turbo proxy.
    type: path
    default: /etc/network_turbo
  probe_paths:
    description: Path below the base that is read to measure a route, by service, in place of the built-in one.
    type: dict
    default: {}
  state_file:
    description: JSON file on the host in which the choice is remembered. Nothing is remembered without.
    type: path
  refresh:
    description: Measure everything again, whatever is remembered.
    type: bool
    default: false
  measure:
    description:
      - Whether routes are tried. With V(false) nothing is asked or remembered, and each service has the remembered route, or else the first
        one.
    type: bool
    default: true
  require_route:
    description: Fail where routes are measured and none of them leads to any service.
    type: bool
    default: false
  timeout:
    description: Seconds that a measurement may take.
    type: float
    default: 8
  ca_path:
    description: PEM bundle to trust instead of the default one.
    type: path
"""

EXAMPLES = r"""
- name: Choose the routes
  sdops.webui.network_routes:
    network: auto
    base_urls: {github: https://github.com, huggingface: https://huggingface.co}
    state_file: /opt/sdops/network.json
  register: network
"""

RETURN = r"""
routes:
  description: The chosen route of each service, with base URL, proxy (empty for none) and the hosts that belong to it.
  returned: success
  type: dict
  sample:
    huggingface: {kind: mirror, base: https://hf-mirror.com, proxy: "", hosts: [hf-mirror.com, huggingface.co, hf.co]}
measured:
  description: What was measured. C(seconds) is null where a route does not work, and C(error) says why.
  returned: success
  type: list
  elements: dict
  sample: [{service: github, kind: direct, base: https://github.com, seconds: null, error: not a byte for 8 seconds}]
table:
  description: The same for people.
  returned: success
  type: list
  elements: str
  sample: ["github       turbo   github.com                   0.41 s  <- taken"]
unreached:
  description: Services that no route leads to, of those that were measured.
  returned: success
  type: list
  elements: str
  sample: [civitai]
actions:
  description: What was done, or would be done.
  returned: success
  type: list
  elements: str
  sample: [remember mirror for huggingface]
"""

import json
import os
from urllib.parse import unquote

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import RouteError, SdopsError
from ..module_utils.filesystem import load_json, write_atomic
from ..module_utils.network.routes import (
    PROBES,
    ROUTE_KINDS,
    SERVICES,
    Measurement,
    Route,
    TurboProxy,
    format_measurements,
    list_routes,
    measure_route,
    read_turbo,
    recall_routes,
    require_reachable,
    select_routes,
    service_hosts,
    tls_context,
)
from ..module_utils.secrets import mask_secrets
from ..module_utils.urls import url_login_secrets, without_login


def read_state(path: str) -> dict:
    """The routes of the last run; {} when the file is lost or damaged."""
    try:
        found = load_json(path)
        return {k: v for k, v in found.items() if isinstance(v, dict)}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def validate_services(p: dict) -> None:
    for option in ("base_urls", "mirrors", "route_overrides", "probe_paths"):
        for service, value in p[option].items():
            if service not in SERVICES:
                raise RouteError(
                    "{} names the unknown service {!r}; there are {}.".format(option, service, ", ".join(SERVICES))
                )
            if option == "route_overrides" and value not in ROUTE_KINDS:
                raise RouteError(
                    "route_overrides has {!r} for {}; there are {}.".format(value, service, ", ".join(ROUTE_KINDS))
                )
            if option == "mirrors" and not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
                raise RouteError(f"mirrors must have a list of URLs for {service}; write it as [https://...].")


def write_state(path: str, state: dict) -> None:
    """Write the chosen routes. Raises RouteError."""
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_atomic(path, (json.dumps(state, indent=1, sort_keys=True) + "\n").encode(), 0o644)
    except OSError as exc:
        raise RouteError(
            f"The routes cannot be recorded in {path}: {exc.strerror}. Free space there, or set sdops_home to a directory that can be "
            "written."
        ) from exc


def build_state(remembered: dict, options: dict[str, list[Route]], reached: dict[str, Route]) -> dict:
    """What is remembered from now on: only what was found out by measuring is worth it."""
    current = {s: {"kind": r.kind, "base": r.base} for s, r in reached.items()}
    unmeasured = {s: v for s, v in remembered.items() if s in options and len(options[s]) > 1 and s not in current}
    return {**unmeasured, **current}


def describe_routes(chosen: dict[str, Route], measured: list[Measurement], turbo_proxies: list[TurboProxy]) -> dict:
    """The module's results about routes and measurements."""
    return {
        "routes": {
            s: {
                **route._asdict(),
                "hosts": service_hosts(s, route.base),
                **({"no_proxy": turbo_proxies[0].no_proxy, "ca": turbo_proxies[0].ca} if route.kind == "turbo" else {}),
            }
            for s, route in chosen.items()
        },
        "measured": [
            {"service": m.service, "kind": m.route.kind, "base": m.route.base, "seconds": m.seconds, "error": m.error}
            for m in measured
        ],
        "table": format_measurements(chosen, measured),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "network": {"type": "str", "choices": ["direct", "xray", "turbo", "mirrors", "auto"], "required": True},
            "base_urls": {"type": "dict", "default": {}},
            "mirrors": {"type": "dict", "default": {}},
            "route_overrides": {"type": "dict", "default": {}},
            "xray_proxy": {"type": "str", "default": ""},
            "turbo_file": {"type": "path", "default": "/etc/network_turbo"},
            "probe_paths": {"type": "dict", "default": {}},
            "state_file": {"type": "path"},
            "refresh": {"type": "bool", "default": False},
            "measure": {"type": "bool", "default": True},
            "require_route": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 8},
            "ca_path": {"type": "path"},
        },
        supports_check_mode=True,
    )
    p = module.params
    for base in p["base_urls"].values():
        mask_secrets(module, url_login_secrets(str(base)))
    # the package index's login is in the netrc file, and git's is put in again by the role: results and the state file hold none
    plain = {**p["base_urls"], **{s: without_login(str(p["base_urls"].get(s) or "")) for s in ("github", "pypi")}}
    paths = {**PROBES, **p["probe_paths"]}
    remembered = read_state(p["state_file"]) if p["state_file"] else {}
    turbo_proxies: list[TurboProxy] = []

    def turbo() -> str:
        turbo_proxies[:] = turbo_proxies or [read_turbo(p["turbo_file"])]
        return turbo_proxies[0].proxy

    def login(service: str, route: Route) -> str:
        base = str(p["base_urls"].get(service) or "")
        return unquote(base.split("://", 1)[1].rpartition("@")[0]) if base != plain.get(service) == route.base else ""

    try:
        validate_services(p)
        options = list_routes(p["network"], plain, p["mirrors"], p["route_overrides"], p["xray_proxy"], turbo)
        tls_context(p["ca_path"])
    except SdopsError as exc:
        module.fail_json(msg=str(exc))
    chosen, measured = select_routes(
        options if p["measure"] else recall_routes(options, remembered),
        remembered,
        lambda service, route: measure_route(
            service, route, paths[service], p["timeout"], p["ca_path"], login(service, route)
        ),
        p["refresh"],
        # with mirrors the direct route is taken only where there is none
        last=("direct",) if p["network"] == "mirrors" else (),
    )
    if p["require_route"]:
        try:
            require_reachable(chosen, measured)
        except RouteError as exc:
            module.fail_json(msg=str(exc), **describe_routes(chosen, measured, turbo_proxies))
    reached = {m.service for m in measured if m.seconds is not None}
    unreached = sorted({m.service for m in measured} - reached)
    new = build_state(remembered, options, {s: r for s, r in chosen.items() if s in reached})
    changed = bool(p["state_file"]) and p["measure"] and new != remembered
    if changed and not module.check_mode:
        try:
            write_state(p["state_file"], new)
        except RouteError as exc:
            module.fail_json(msg=str(exc))
    module.exit_json(
        changed=changed,
        **describe_routes(chosen, measured, turbo_proxies),
        unreached=unreached,
        actions=["remember {} for {}".format(new[s]["kind"], s) for s in new if new[s] != remembered.get(s)]
        if changed
        else [],
        diff={
            "before": json.dumps(remembered, indent=1, sort_keys=True) + "\n",
            "after": json.dumps(new if changed else remembered, indent=1, sort_keys=True) + "\n",
        },
    )


if __name__ == "__main__":
    main()

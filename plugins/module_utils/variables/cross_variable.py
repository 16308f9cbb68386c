# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with variables together, where each of them is good."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from ..errors import SdopsError
from ..models.expected import find_model_problems
from ..models.spec import DEFAULT_ENDPOINTS, Endpoints
from ..terminal import printable
from ..urls import format_value
from ..webui_versions import WEBUI_VERSIONS
from ..xray.client_config import validate_client_config
from .extension_plan import plan


def cross_variable_errors(values: Mapping, model_errors: list[str]) -> list[str]:
    """What is wrong with variables together, where each of them is good. ``model_errors``: of model_entry_errors."""
    return [printable(sentence) for sentence in _find_conflicts(values, model_errors)]


def _find_conflicts(values: Mapping, model_errors: list[str]) -> list[str]:
    """What is wrong with variables together; each of them is good."""
    get = values.get
    found = []

    def rule(wrong: Any, sentence: str) -> None:
        if wrong:
            found.append(sentence)

    for one, other in itertools.combinations(_opened_ports(values), 2):
        rule(str(get(one)) == str(get(other)), f"{one} and {other} are both {get(one)}; each needs a port of its own.")
    rule(
        get("conda_env_installer_url") and not get("conda_env_installer_sha256"),
        "conda_env_installer_url is set, but conda_env_installer_sha256 is not: the SHA-256 (64 hex digits) that the publisher tells "
        "beside the installer is needed, because it is run as it is.",
    )
    rule(
        get("xformers_build_commit") and get("xformers_build_version") in ("auto", "none"),
        "xformers_build_version must name the version that xformers_build_commit is.",
    )
    rule(
        float(get("webui_service_idle_minutes") or 0) > 0 and not str(get("webui_service_idle_command", "x")).strip(),
        "webui_service_idle_command must name the command that ends the box, or webui_service_idle_minutes be 0.",
    )
    version = get("sd_webui_version")
    rule(
        version is not None and str(version) not in WEBUI_VERSIONS,
        "sd_webui_version is {}; known are {} (quote it in YAML). For another commit keep the nearest of these and set sd_webui_commit, "
        "and sd_webui_repositories if they differ.".format(format_value(version), ", ".join(WEBUI_VERSIONS)),
    )
    commit = get("sd_webui_commit")
    owner = next((name for name, row in WEBUI_VERSIONS.items() if row.commit == commit), None)
    # several rows may have one commit
    rule(
        owner and str(version) in WEBUI_VERSIONS and WEBUI_VERSIONS[str(version)].commit != commit,
        f"sd_webui_commit is that of {owner}, but sd_webui_version is {version}: it would be the code of {owner} with the packages of "
        f"{version}. Take sd_webui_commit away, or set sd_webui_version: {format_value(owner)}.",
    )
    if "extensions_list" in values and "sdops_github" in values:
        found.extend(f"extensions_list: {why}" for why in _extension_errors(values))
    # one alone does not stop the others: it is reported, and the run fails when those are there
    if len(model_errors) == len(get("model_fetch_models") or []):
        found.extend(model_errors)
    if get("xray_proxy_state") == "present":
        found.extend(_xray_server_errors(values))
    return found


def _opened_ports(values: Mapping) -> list[str]:
    """The variables with the ports that are opened on the host: those of the proxy unless it is absent, the WebUI's beside it."""
    proxy = values.get("xray_proxy_state")
    names = [
        *(["webui_service_port"] if proxy == "present" else []),
        *(["sdops_proxy_http_port", "sdops_proxy_socks_port"] if proxy != "absent" else []),
    ]
    return [name for name in names if values.get(name) is not None]


def model_entry_errors(values: Mapping) -> list[str]:
    """A sentence for each entry of ``model_fetch_models`` that cannot be installed; each is told where anything else is wrong too."""
    models = values.get("model_fetch_models") or []
    return [
        printable(f"model_fetch_models: {problem}") for problem in _problems_of(models, "model_fetch_models", values)
    ]


def _problems_of(models: list, list_name: str, values: Mapping) -> list[str]:
    endpoints = [values.get(f"sdops_{name}_endpoint", getattr(DEFAULT_ENDPOINTS, name)) for name in Endpoints._fields]
    allow_pickle = str(values.get("model_fetch_allow_pickle", True)).lower() in ("true", "yes", "1", "on", "y", "t")
    return find_model_problems(models, Endpoints(*endpoints), allow_pickle, list_name)


def _extension_errors(values: Mapping) -> list[str]:
    """What is wrong with the entries of ``extensions_list``, each by itself, and else with all of them together."""
    entries, github, version = values["extensions_list"], values["sdops_github"], values.get("sd_webui_version")
    found = []
    for entry in entries:
        try:
            (extension,) = plan([entry], github, version)
        except SdopsError as exc:
            found.append(str(exc))
            continue
        if extension["state"] == "present":
            problems = _problems_of(extension["models"], "its models", values)
            found.extend(f"The extension {extension['name']}: {problem}" for problem in problems)
    if not found:
        try:
            plan(entries, github, version)
        except SdopsError as exc:
            found.append(str(exc))
    return found


def _xray_server_errors(values: Mapping) -> list[str]:
    config, link = values.get("xray_proxy_config"), values.get("xray_proxy_link")
    if config and link:
        return [
            "xray_proxy_config replaces the whole config, so xray_proxy_link would mean nothing. Keep the one that you want and take "
            "the other away."
        ]
    if config:
        try:
            validate_client_config(config, int(values.get("sdops_proxy_http_port", 10809)))
        except SdopsError as exc:
            return [str(exc)]
        return []
    return [
        f"{name} is empty, but the proxy is wanted (sdops_network: xray). Set it or xray_proxy_link in the inventory (secrets in a vault), "
        "or set sdops_network: direct."
        for name in ("xray_proxy_server", "xray_proxy_uuid", "xray_proxy_public_key", "xray_proxy_server_name")
        if name in values and values[name] in ("", None)
    ]

# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environment variables that send programs along the chosen routes."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Iterable
from urllib.parse import urlsplit

from .routes import CERTIFICATE_VARIABLES, PUBLIC_BASES, service_hosts

MAX_LISTED_ADDRESSES = 16  # a network this small is written as its addresses too
HOST_PATTERN = re.compile(r"(?!-)[a-z0-9_-]+(\.[a-z0-9_-]+)*(:[0-9]{1,5})?")


def no_proxy_forms(entry: str) -> list[str]:
    """The entry of no_proxy as httpx 0.24, requests, urllib and curl all take it; [] for one that none of these forms says.

    The WebUI's httpx dies at its import of an entry that is no URL behind "all://*": a network of IPv6, brackets. Domains stand
    without a dot or star before them, which not all honour. Networks of IPv4 are known to requests and curl only.
    """
    text = entry.strip().lower()
    if "://" in text:
        text = re.split(r"[/?#]", text.partition("://")[2])[0].rpartition("@")[2]
    if text == "*":
        return [text]
    bracketed = re.match(r"\[([0-9a-f:.]+)\](:[0-9]+)?\Z", text)
    text = bracketed.group(1) if bracketed else text
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        name = re.sub(r"^\*?\.", "", text).rstrip(".")
        try:
            name = name if name.isascii() else name.encode("idna").decode("ascii")
        except UnicodeError:
            return []
        return [name] if HOST_PATTERN.fullmatch(name) else []
    if network.num_addresses == 1:
        return [str(network.network_address)] if "%" not in text else []
    addresses = [str(address) for address in network] if network.num_addresses <= MAX_LISTED_ADDRESSES else []
    return ([str(network)] if network.version == 4 else []) + addresses


def proxy_variables(
    routes: dict[str, dict[str, Any]], services: Iterable[str], no_proxy: Iterable[str], indexes: Iterable[str] = ()
) -> dict[str, str]:
    """Variables for a program that talks to ``services``: one proxy at most, and what must not go through it.

    ``routes`` as network_routes returns them; a service without one goes directly. ``indexes``: URLs of package indexes besides
    the main one, which they accompany. Where the services have several proxies Xray's wins, which leads everywhere. Never
    all_proxy: it breaks the WebUI, pip and requests.
    """
    chosen = {service: routes.get(service) or {} for service in services}
    proxied = sorted((route for route in chosen.values() if route.get("proxy")), key=lambda r: r.get("kind") != "xray")
    result: dict[str, str] = {}
    if proxied:
        proxy = proxied[0]["proxy"]
        excluded: list[str] = [*no_proxy, *(proxied[0].get("no_proxy") or [])]
        for service, route in chosen.items():
            if not route.get("proxy"):
                excluded += route.get("hosts") or service_hosts(service, route.get("base") or "")
                excluded += [urlsplit(url).hostname or "" for url in indexes] if service == "pypi" else []
        hosts = ",".join(dict.fromkeys(form for host in excluded for form in no_proxy_forms(host)))
        for name, value in (("http_proxy", proxy), ("https_proxy", proxy), ("no_proxy", hosts)):
            result[name] = result[name.upper()] = value
        if proxied[0].get("ca"):
            result.update((name, proxied[0]["ca"]) for name in CERTIFICATE_VARIABLES)
    base = (chosen.get("huggingface") or {}).get("base")
    if base and base.rstrip("/") != PUBLIC_BASES["huggingface"]:
        result["HF_ENDPOINT"] = base
    return result

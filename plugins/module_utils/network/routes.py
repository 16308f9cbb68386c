# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The routes from a host to each service it needs: which exist, which work, which is the fastest.

Standard library only: the choice is made before anything is installed.
"""

from __future__ import annotations

import base64
import os
import re
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, NamedTuple
from urllib.parse import urlsplit

from ..errors import RouteError
from ..transfer.connection_errors import describe_connection_error
from ..transfer.http import USER_AGENT

SERVICES = ("github", "huggingface", "civitai", "pypi", "conda")
ROUTE_KINDS = ("direct", "xray", "turbo", "mirror")
# what AutoDL's turbo proxy serves; everything else is turned away by it, and pip often breaks behind it
TURBO_SERVICES = ("github", "huggingface")
PUBLIC_BASES = {
    "github": "https://github.com",
    "huggingface": "https://huggingface.co",
    "civitai": "https://civitai.com",
    "pypi": "",  # whatever pip on this host takes for the default: see default_index
    "conda": "https://conda.anaconda.org/conda-forge",
}
# where conda finds a channel that is given by name
CONDA_CHANNELS_URL = "https://conda.anaconda.org/"
MIRRORS = {
    "huggingface": ["https://hf-mirror.com"],
    "pypi": [
        "https://pypi.tuna.tsinghua.edu.cn/simple",
        "https://mirrors.ustc.edu.cn/pypi/simple",
        "https://mirrors.aliyun.com/pypi/simple",
    ],
    "conda": [
        "https://mirrors.tuna.tsinghua.edu.cn/anaconda/cloud/conda-forge",
        "https://mirrors.bfsu.edu.cn/anaconda/cloud/conda-forge",
    ],
}
# something of a real size that everybody may read, so that a slow route shows: with what only metadata tells, a mirror that
# sends the data elsewhere would look good
PROBES = {
    "github": "/AUTOMATIC1111/stable-diffusion-webui.git/info/refs?service=git-upload-pack",
    "huggingface": "/openai/clip-vit-large-patch14/resolve/main/model.safetensors",
    "civitai": "/api/v1/models?limit=1",
    "pypi": "/pip/",
    "conda": "/noarch/repodata.json",
}
PROBE_BYTES = 128 << 10  # bytes that a probe reads at most
# what belongs to a service besides the host of its base
SERVICE_HOSTS = {
    "github": ["github.com", "githubusercontent.com", "githubassets.com"],
    "huggingface": ["huggingface.co", "hf.co"],
    "civitai": ["civitai.com"],
    "pypi": ["pytorch.org"],
    "conda": ["anaconda.org"],
}


# what tells programs which certificates to trust
CERTIFICATE_VARIABLES = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")


class Route(NamedTuple):
    """A route to a service. ``proxy`` is "" for none; ``base`` "" leaves the host's own setting alone."""

    kind: str
    base: str
    proxy: str


class Measurement(NamedTuple):
    """``seconds`` for the probe, None when it failed; then ``error`` says why."""

    service: str
    route: Route
    seconds: float | None
    error: str = ""


def default_index() -> tuple[str, list[str]]:
    """URL and hosts of the index that pip takes by default; ("", []) where there is no pip to ask."""
    try:
        from pip._internal.models.index import PyPI

        return PyPI.simple_url, [PyPI.netloc, PyPI.file_storage_domain]
    except Exception:  # pip's inside may change
        return "", []


def resolve_base(service: str, base: str) -> str:
    """The URL that ``base`` stands for: a conda channel may be given by name, and "" is what everybody uses.

    "" where nobody knows. Raises RouteError for what is neither a URL nor such a name.
    """
    if "://" in base:
        return base.rstrip("/")
    if service == "conda" and re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9._/-]+)?\Z", base):
        return CONDA_CHANNELS_URL + base.rstrip("/")
    if base:
        raise RouteError(
            f"{base!r} is no URL for {service}. Write it with https:// (or file://) in front (sdops_mirrors, or the variable that names it)."
        )
    return PUBLIC_BASES[service] or default_index()[0].rstrip("/")


def service_hosts(service: str, base: str) -> list[str]:
    """The hosts that a client of the service talks to."""
    host = urlsplit(resolve_base(service, base)).hostname
    # the public index keeps its files on another host
    public = default_index()[1] if service == "pypi" else []
    more = public if not base or host in public else []
    return list(dict.fromkeys([*([host] if host else []), *more, *SERVICE_HOSTS[service]]))


class TurboProxy(NamedTuple):
    """What /etc/network_turbo sets: a proxy, hosts that do not go through it, and the certificates to trust ("" for none)."""

    proxy: str
    no_proxy: list[str]
    ca: str


def read_turbo(path: str) -> TurboProxy:
    """What the turbo proxy's script sets, read as it is meant to be: by sourcing it. Raises RouteError."""
    script = (
        'source "$0" >/dev/null 2>&1 && printf "%s\\n%s\\n%s" "${https_proxy:-$http_proxy}" "$no_proxy" '
        '"${REQUESTS_CA_BUNDLE:-$SSL_CERT_FILE}"'
    )
    proxy = no_proxy = ca = ""
    # only what the script itself says counts
    clean = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy") and k not in CERTIFICATE_VARIABLES}
    try:
        done = subprocess.run(
            ["bash", "-c", script, path],
            env=clean,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=10,
            text=True,
            check=False,
        )
        proxy, no_proxy, ca = ([line.strip() for line in done.stdout.split("\n")] + ["", "", ""])[:3]
    except (OSError, subprocess.TimeoutExpired):
        pass
    if not re.match(r"http://[^/\s]+/?\Z", proxy):
        raise RouteError(
            f"There is no turbo proxy on this host: {path} does not exist or sets no http proxy (not every region has it). Set "
            "sdops_network to xray, mirrors or auto."
        )
    return TurboProxy(
        proxy, [host.strip() for host in no_proxy.split(",") if host.strip()], ca if os.path.isfile(ca) else ""
    )


def list_routes(
    network: str,
    bases: dict[str, str],
    mirrors: dict[str, list[str]],
    overrides: dict[str, str],
    xray: str,
    turbo: Callable[[], str],
) -> dict[str, list[Route]]:
    """The routes that may be taken to each service, the preferred first.

    ``network``: direct, xray, turbo, mirrors or auto. ``bases``: what the user (or the host) configures; a base that is not the public
    one is the user's choice and gets no mirrors but those in ``mirrors``. ``overrides``: the user's choice for single services.
    ``xray``: the proxy's URL, "" when it is not configured. ``turbo()``: the turbo proxy; raises RouteError without.
    Raises RouteError when a requested route does not exist.
    """
    result: dict[str, list[Route]] = {}
    for service in SERVICES:
        base = bases.get(service) or ""
        public = resolve_base(service, base) == resolve_base(service, "")
        near = mirrors.get(service) or (MIRRORS.get(service, []) if public else [])
        every: dict[str, list[Route]] = {
            "direct": [Route("direct", base, "")],
            "xray": [Route("xray", base, xray)] if xray else [],
            "turbo": [],
            "mirror": [Route("mirror", resolve_base(service, mirror), "") for mirror in near],
        }
        requested = overrides.get(service)
        if (requested or network) == "turbo" and service in TURBO_SERVICES:
            every["turbo"] = [Route("turbo", base, turbo())]
        elif network == "auto" and not requested and service in TURBO_SERVICES:
            try:
                every["turbo"] = [Route("turbo", base, turbo())]
            except RouteError:
                pass
        if requested:
            if not every.get(requested):
                raise RouteError(
                    "sdops_network_routes wants {} for {}, but there is none: {}.".format(
                        requested,
                        service,
                        {
                            "xray": "no Xray server is configured (xray_proxy_server or xray_proxy_link), or xray_proxy_state "
                            "is absent",
                            "mirror": "no mirror of it is known; name one in sdops_mirrors",
                            "turbo": "the turbo proxy does not serve it",
                        }.get(requested, "the routes are " + ", ".join(ROUTE_KINDS)),
                    )
                )
            result[service] = every[requested]
        elif network == "auto":
            result[service] = [route for kind in ROUTE_KINDS for route in every[kind]]
        elif network == "mirrors":
            result[service] = [*every["mirror"], *every["direct"]]
        elif network == "xray":
            result[service] = every["xray"] or every["direct"]
        else:
            result[service] = every["turbo"] if network == "turbo" and every["turbo"] else every["direct"]
    return result


def _response_error(service: str, status: int, headers: Any, body: bytes) -> str:
    """Why an answer is not one of the service; "" when it is."""
    kind = headers.get("Content-Type", "")
    if status == 451:
        return "does not serve this region"
    if status >= 400 and not (status in (400, 401, 404) and "json" in kind and service == "civitai"):
        return f"answered {status}"
    good = {
        "github": b"service=git-upload-pack" in body[:200],
        "huggingface": bool(body) and not kind.startswith("text/html"),
        "civitai": "json" in kind,
        "pypi": b"href" in body or "json" in kind,
        "conda": body[:1] == b"{",
    }[service]
    return "" if good else "answered with something else (a login page?)"


def tls_context(ca_path: str | None) -> ssl.SSLContext:
    """TLS that trusts the PEM bundle ``ca_path``, or what this host trusts. Raises RouteError."""
    try:
        return ssl.create_default_context(cafile=ca_path)
    except (OSError, ValueError) as exc:
        raise RouteError(
            "The CA bundle {} cannot be used ({}). Set sdops_ca_bundle to a PEM file on this host, or leave it empty.".format(
                ca_path, getattr(exc, "strerror", None) or exc
            )
        ) from exc


def measure_route(
    service: str, route: Route, path: str, timeout: float, ca_path: str | None = None, login: str = ""
) -> Measurement:
    """Read up to 128 KiB from the service through ``route``; ``timeout`` in seconds for all of it; ``login`` is USER:PASSWORD."""
    url = resolve_base(service, route.base) + path
    context = tls_context(ca_path)
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({"http": route.proxy, "https": route.proxy} if route.proxy else {}),
        urllib.request.HTTPSHandler(context=context),
    )
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", "Range": f"bytes=0-{PROBE_BYTES - 1}"}
    request = urllib.request.Request(url, headers=headers)
    if login:  # not for where a redirect leads
        request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
    started = time.monotonic()
    body = b""
    try:
        try:
            answer = opener.open(request, timeout=timeout)
        except urllib.error.HTTPError as exc:
            answer = exc
        with answer:
            while len(body) < PROBE_BYTES:
                if time.monotonic() - started > timeout:
                    error = f"only {len(body) // 1000} kB within {timeout:g} seconds"
                    return Measurement(service, route, None, error)
                # what has arrived: to wait for a whole block of a slow stream would take for ever
                data = answer.read1(min(PROBE_BYTES - len(body), 16384))
                if not data:
                    break
                body += data
            error = _response_error(service, answer.status, answer.headers, body)
    except Exception as exc:  # whatever goes wrong, only this route does not work
        return Measurement(service, route, None, describe_connection_error(exc, timeout))
    seconds = round(time.monotonic() - started, 3)
    return Measurement(service, route, None if error else seconds, error)


def find_remembered(routes: list[Route], remembered: dict[str, str] | None) -> list[Route]:
    """That one of ``routes`` that ``remembered`` (``{"kind", "base"}``) names; none where it is offered no more."""
    old = remembered or {}
    return [route for route in routes if (route.kind, route.base) == (old.get("kind"), old.get("base"))]


def recall_routes(options: dict[str, list[Route]], remembered: dict[str, dict[str, str]]) -> dict[str, list[Route]]:
    """``options`` with one route for each service, which nobody needs to measure: the remembered one, or else the first."""
    return {s: find_remembered(routes, remembered.get(s))[:1] or routes[:1] for s, routes in options.items()}


def select_routes(
    options: dict[str, list[Route]],
    remembered: dict[str, dict[str, str]],
    measure: Callable[[str, Route], Measurement],
    remeasure: bool = False,
    last: tuple[str, ...] = (),
) -> tuple[dict[str, Route], list[Measurement]]:
    """A route for each service, and what was measured for it.

    One route alone is taken as it is. A remembered one stays while it works, unless ``remeasure``. Else the fastest that works,
    and the first of them when none does: its own error says more than we could. The kinds in ``last`` are taken only where no
    other works; that one of them is remembered does not keep the others from being measured. A route whose URL nobody knows (the
    default index on a host without pip) is not measured: it is not chosen before one that works, and nobody calls it dead.
    """
    chosen: dict[str, Route] = {}
    measured: list[Measurement] = []
    with ThreadPoolExecutor(max_workers=16) as pool:
        to_measure: dict[str, list[Route]] = {}
        for service, routes in options.items():
            if len(routes) == 1:
                chosen[service] = routes[0]
                continue
            known = [r for r in find_remembered(routes, remembered.get(service)) if r.kind not in last]
            to_measure[service] = known if known and not remeasure else routes
        measurable = {s: [r for r in options[s] if resolve_base(s, r.base)] for s in to_measure}

        def measure_all(routes_by_service: dict[str, list[Route]]) -> None:
            found = list(
                pool.map(
                    lambda pair: measure(*pair),
                    [(s, r) for s, routes in routes_by_service.items() for r in routes if r in measurable[s]],
                )
            )
            measured.extend(found)
            for service in routes_by_service:
                works = [m for m in found if m.service == service and m.seconds is not None]
                works = [m for m in works if m.route.kind not in last] or works
                if works:
                    chosen[service] = min(works, key=lambda m: m.seconds or 0.0).route

        measure_all(to_measure)
        # what was remembered and does not work any more: measure everything
        measure_all({s: [r for r in options[s] if r not in to_measure[s]] for s in to_measure if s not in chosen})
    for service, routes in options.items():
        chosen.setdefault(service, routes[0])
    return {service: chosen[service] for service in options}, measured


def require_reachable(chosen: dict[str, Route], measured: list[Measurement]) -> None:
    """Raise RouteError where routes were measured and none of them leads to any service.

    A service that was not measured, because there is one route to it alone, may be reached unless it takes a kind of route that failed.
    """
    tried = {measurement.service for measurement in measured}
    kinds = {measurement.route.kind for measurement in measured}
    others = {route.kind for service, route in chosen.items() if service not in tried}
    if measured and others <= kinds and all(measurement.seconds is None for measurement in measured):
        services = ", ".join(dict.fromkeys(measurement.service for measurement in measured))
        table = "\n".join(format_measurements(chosen, measured))
        raise RouteError(
            f"No route leads from this host to any of {services}, so nothing could be fetched. Check its network; or give an Xray server "
            f"(xray_proxy_link), a mirror (sdops_mirrors), or another sdops_network. What was measured:\n{table}"
        )


def format_measurements(chosen: dict[str, Route], measured: list[Measurement]) -> list[str]:
    """What was measured and chosen, a line for each route."""
    lines = []
    for service, route in chosen.items():
        rows = [m for m in measured if m.service == service]
        if not rows:
            reason = "taken as configured" if route.base or route.kind != "direct" else ""
            lines.append(f"{service:<12} {route.kind:<7} {reason}")
        for row in rows:
            mark = "  <- taken" if row.route == route and row.seconds is not None else ""
            host = urlsplit(row.route.base).hostname or ""
            result = f"{row.seconds:.2f} s" if row.seconds is not None else "no: " + row.error
            lines.append(f"{service:<12} {row.route.kind:<7} {host:<28} {result}{mark}")
    return [line.rstrip() for line in lines]

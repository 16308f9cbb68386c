# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every variable of every role must be: the type of its argument specification, and what types cannot say.

All mistakes in one go, before the first change, as sentences that name the variable. Values of secrets are never repeated.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Callable

from .errors import SdopsError
from .extensions.plan import plan
from .models.spec import DEFAULT_ENDPOINTS, Endpoints, problems_in
from .network.routes import SERVICES, WAYS
from .terminal import printable
from .xray import links
from .xray.client_config import client_config

# These end up in supervisor's configuration, in PATH, in first lines of scripts, behind env (which takes a word with = for a variable)
# and in conda: only what none of them takes for anything else.
PLAIN_PATH = re.compile(r"/[\w@+,./-]*\Z")
# sun_path of AF_UNIX holds 108 bytes with the closing NUL; supervisord first binds to the name with its process id behind it
LONGEST_SOCKET = 107 - len(".4194304")
SOCKET = "/supervisor/supervisor.sock"
BOOLEANS = (
    "yes",
    "no",
    "on",
    "off",
    "true",
    "false",
    "y",
    "n",
    "t",
    "f",
    "1",
    "0",
    "1.0",
    "0.0",
)  # as Ansible reads them

Rule = Callable[[Any], str]

# ---- rules: what is wrong with a value, as "NAME ...", or nothing


def _text(value: Any) -> str:
    if not isinstance(value, str):
        return "must be a text; put it in quotes"
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in value):
        return "holds a line break or another control character; write it on one line (a secret from a pipe often ends in one)"
    return "has spaces around it; take them away" if value != value.strip() else ""


def _path(value: Any) -> str:
    return _text(value) or ("" if value.startswith("/") else "must be an absolute path on the target")


def _plain_path(value: Any) -> str:
    return _path(value) or (
        ""
        if PLAIN_PATH.match(value)
        else "may hold letters, digits and @ + , . / _ - only: no spaces, no quotes, no other signs"
    )


def _home(value: Any) -> str:
    length = len((value + SOCKET).encode("utf-8", "replace")) if isinstance(value, str) else 0
    return _plain_path(value) or (
        "is too long by %d bytes for supervisord's socket in it; choose a shorter path" % (length - LONGEST_SOCKET)
        if length > LONGEST_SOCKET
        else ""
    )


def _word(value: Any) -> str:
    return _text(value) or ("holds a space; take it away" if re.search(r"\s", value) else "")


def _url(value: Any) -> str:
    good = isinstance(value, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*[^/?#@:]|file:///.", value)
    return _word(value) or ("" if good else "must be a URL such as https://example.com/path")


def _without_login(rule: Rule) -> Rule:
    """For addresses that are told to modules and shown in results."""
    return lambda value: (
        rule(value)
        or (
            "holds a login, which others on the host could read; take it away, and give a token by the option that is there for it"
            if re.search(r"://[^/?#]*@", value)
            else ""
        )
    )


def _port(value: Any) -> str:
    good = re.match(r"[0-9]{1,5}\Z", str(value)) and not isinstance(value, bool) and 0 < int(value) < 65536
    return "" if good else "must be a port number from 1 to 65535"


def _capability(value: Any) -> str:
    good = isinstance(value, str) and re.match(r"[0-9]+[.][0-9]\Z", value)
    return "" if good else 'must be a compute capability such as "8.6" (in quotes), not the name of a card'


def _token(value: Any) -> str:
    good = isinstance(value, str) and re.match(r"[A-Za-z0-9._~+/=-]*\Z", value)  # RFC 6750, 2.1
    return (
        ""
        if good
        else "must be the token alone, without quotes from a text editor, spaces or line breaks in it; copy it again"
    )


def _or_empty(rule: Rule) -> Rule:
    return lambda value: "" if value == "" else rule(value)


def _one_of(*words: str) -> Callable[[Rule], Rule]:
    return lambda rule: lambda value: "" if value in words else rule(value)


def _form(pattern: str, sentence: str) -> Rule:
    form = re.compile(pattern)
    return lambda value: "" if isinstance(value, str) and form.fullmatch(value) else sentence


def _list_of(rule: Rule) -> Rule:
    def check(value: Any) -> str:
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            return _no_list(value)
        wrong = [f"{_shown(each)} {why}" for each in value for why in [rule(each)] if why]
        return "has an entry that cannot be used: " + "; ".join(wrong) if wrong else ""

    return check


def _no_list(value: Any) -> str:
    between = r"[,\s]" if "://" in str(value) else r"[,\n]"  # pip's own form of several URLs
    parts = [part.strip() for part in re.split(between, value)] if isinstance(value, str) else []
    return "must be a list; write it as %s" % (
        _shown([part for part in parts if part]) if any(parts) else "[first, second]"
    )


def _arguments(value: Any) -> str:
    # beginnings count too: the WebUI's parser completes them
    for pattern, sentence in (
        (
            r"--(api-a|gradio-au|ngr)[a-z-]*(=.*)?",
            "must not hold --api-auth, --gradio-auth, --gradio-auth-path or --ngrok: credentials in arguments can be read by anyone, and "
            "the WebUI prints them into its log. The role sets a user and a password; for another way in, take an SSH tunnel",
        ),
        (
            r"--(po|now|se|tl|subp|da|ui-s)[a-z-]*(=.*)?",
            "must not hold --port, --nowebui, --server-name, --tls-keyfile, --tls-certfile, --subpath, --data-dir or "
            "--ui-settings-file: the role asks the WebUI at its own address and looks for its settings in their usual place. There are "
            "webui_service_port, webui_service_listen and webui_service_data_dir",
        ),
    ):
        if any(re.fullmatch(pattern, str(each).strip(), re.S) for each in value):
            return sentence
    return ""


def _environment(value: Any) -> str:
    return (
        "must not hold COMMANDLINE_ARGS; arguments go into webui_service_extra_args, where they are judged before a start"
        if "COMMANDLINE_ARGS" in value
        else ""
    )


def _repositories(value: Any) -> str:
    wrong = [_shown(entry.get("name")) for entry in value if _commit(entry.get("commit"))]
    return "has a commit that is none, of {}: each {}".format(", ".join(wrong), COMMIT_FORM) if wrong else ""


def _by_service(rule: Rule) -> Rule:
    """A rule for the values of a mapping by the names of services."""

    def check(value: Any) -> str:
        unknown = [
            "has the unknown service {}; there are {}".format(_shown(name), ", ".join(SERVICES))
            for name in value
            if name not in SERVICES
        ]
        wrong = [f"{name} {why}" for name, each in value.items() if name in SERVICES for why in [rule(each)] if why]
        return "; ".join([*unknown, *(["has a value that cannot be used: " + "; ".join(wrong)] if wrong else [])])

    return check


def _geo_files(value: Any) -> str:
    for number, entry in enumerate(value, 1):
        if not (
            re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*[.]dat", str(entry.get("name")))
            and re.match(r"(https?|file)://\S+\Z", str(entry.get("url")))
            and re.fullmatch(r"[0-9a-fA-F]{64}", str(entry.get("sha256")))
        ):
            return (
                "needs in entry number %d a plain name that ends in .dat, a url (https://, http:// or file://) and its sha256 (64 hex "
                "digits)" % number
            )
    return ""


def _hashes(value: Any) -> str:
    good = all(re.fullmatch(r"[0-9a-fA-F]{64}", str(each)) for each in value.values())
    return "" if good else "must map versions to SHA-256 (64 hex digits)"


def _releases(value: Any) -> str:
    return _list_of(_url)([value] if isinstance(value, str) else value)


def _link(value: Any) -> str:
    try:
        links.parse(value)
    except SdopsError as exc:
        return "cannot be used. {}".format(str(exc).rstrip("."))
    return ""


def _host(address: bool) -> Rule:
    def check(value: str) -> str:
        if links.AMBIGUOUS.search(value):
            return "has a letter that old and new rules for international names read differently; write its xn-- form"
        try:
            if not (address and links.is_address(re.sub(r"^\[(.*)\]\Z", r"\1", value))):
                links.check_host(value, "")
        except SdopsError:
            return "must be a host name or an IP address and nothing else: no https://, no port, no comma and no space"
        return ""

    return _string(check)


def _string(rule: Rule) -> Rule:
    """YAML reads a bare 01234567 as a number, and a number has lost its zeros."""

    def check(value: Any) -> str:
        if not isinstance(value, str):
            return "is not a text. Put it in quotes, so that YAML does not take it for a number"
        return rule(value)

    return check


def _user_id(value: str) -> str:
    good = links.UUID.fullmatch(value) or 0 < len(value.encode("utf-8", "replace")) <= links.LONGEST_ID
    good = good and not links.CONTROL.search(value)
    return (
        ""
        if good
        else "must be a UUID (8-4-4-4-12 hex digits) or a text of 30 bytes at most, as the server's config shows it"
    )


def _key(length: int, meaning: str) -> Rule:
    form = re.compile("[A-Za-z0-9_-]{%d}" % length)
    sentence = "must be %s, %d characters of base64url" % (meaning, length)
    return _string(lambda value: "" if form.fullmatch(links.url_safe(value)) else sentence)


COMMIT_FORM = "must be a full commit id (40 hex digits), because a branch or a tag can move between two runs"
_commit = _form(r"[0-9a-f]{40}", COMMIT_FORM)
_sha256 = _form(r"[0-9a-fA-F]{64}", "must be a SHA-256 (64 hex digits)")
_origin = _form(
    r"https?://[^/?#@\s]+",
    "must be an origin, which is http:// or https://, a host, and a port that is not the default one, without a path",
)

RULES: dict[str, Rule] = {
    "sdops_home": _home,
    "sdops_data_dir": _plain_path,
    "sdops_cache_dir": _or_empty(_plain_path),
    "sdops_env_prefix": _plain_path,
    "sdops_webui_dir": _plain_path,
    "sdops_webui_data_dir": _plain_path,
    "sdops_user_home": _path,
    "sdops_boot_hook": _or_empty(_path),
    "sdops_profile_dir": _path,
    "sdops_gitconfig": _path,
    "sdops_nvidia_smi": _text,
    "sdops_github": _url,
    "sdops_huggingface_endpoint": _without_login(_url),
    "sdops_civitai_endpoint": _without_login(_url),
    "sdops_network_ways": _by_service(_one_of(*WAYS)(lambda _way: "must be one of {}".format(", ".join(WAYS)))),
    "sdops_mirrors": _by_service(_list_of(_url)),
    "sdops_pip_index_url": _or_empty(_url),
    "sdops_pip_extra_index_urls": _list_of(_url),
    "sdops_conda_channel": _without_login(_word),
    "sdops_turbo_file": _path,
    "sdops_ca_bundle": _or_empty(_path),
    "sdops_proxy_http_port": _port,
    "sdops_proxy_socks_port": _port,
    "sdops_no_proxy": _list_of(_word),
    "sdops_gpu_capabilities": _list_of(_capability),
    "base_systemd_dir": _path,
    "conda_env_prefix": _plain_path,
    "conda_env_python": _form(
        r"3\.\d+\.\d+",
        "must be an exact version such as 3.10.6 (in quotes), so that the same environment can be made again next week",
    ),
    "conda_env_name": _or_empty(_word),
    "conda_env_channels": _list_of(_without_login(_word)),
    "conda_env_channel_alias": _or_empty(_without_login(_url)),
    "conda_env_engine": _one_of("auto", "conda", "mamba", "micromamba", "rattler")(_path),
    "conda_env_installer_url": _or_empty(_url),
    "conda_env_installer_sha256": _or_empty(_sha256),
    "conda_env_installer_prefix": _plain_path,
    "extensions_webui_dir": _plain_path,
    "extensions_roop_threshold": lambda value: (
        ""
        if 0 < float(value) <= 0.7
        else "must be above 0 and at most 0.7. A lower one is stricter; none turns the check off"
    ),
    "model_fetch_webui_dir": _plain_path,
    "model_fetch_cache_dir": _or_empty(_plain_path),
    "model_fetch_huggingface_token": _token,
    "model_fetch_civitai_token": _token,
    "sd_webui_dir": _plain_path,
    "sd_webui_repo": _word,
    "sd_webui_commit": _commit,
    "sd_webui_repositories": _repositories,
    "sd_webui_torch_mirror": _url,
    "sd_webui_torch_index_url": _one_of("", "auto")(_url),
    "sd_webui_requirements_file": _text,
    "webui_service_dir": _plain_path,
    "webui_service_data_dir": _plain_path,
    "webui_service_port": _port,
    "webui_service_user": _form(r"[^:,\s]+", "must be a user name without colon, comma or space"),
    "webui_service_extra_args": _arguments,
    "webui_service_environment": _environment,
    "webui_service_allowed_origins": _list_of(_origin),
    "webui_service_proof_width": lambda value: "" if int(value) % 8 == 0 else "must be a multiple of 8",
    "webui_service_proof_height": lambda value: "" if int(value) % 8 == 0 else "must be a multiple of 8",
    "xformers_build_version": _form(
        r"auto|none|\d+\.\d+\.\d+(\.post\d+)?", "must be auto, none, or a version such as 0.0.23.post1 (in quotes)"
    ),
    "xformers_build_index_url": _or_empty(_url),
    "xformers_build_index_base": _url,
    "xformers_build_cache_dirs": lambda value: (
        _list_of(_path)(value) if value else "is empty; give it a directory in which wheels that were built are kept"
    ),
    "xformers_build_work_dir": _plain_path,
    "xformers_build_cuda_home": _or_empty(_path),
    "xformers_build_source": _or_empty(_path),
    "xformers_build_commit": _or_empty(_commit),
    "xformers_build_repo": _word,
    "xformers_build_sha256": _hashes,
    "xray_proxy_version": _form(
        r"v?[0-9]+([.][0-9]+){2}",
        "must be an exact version such as 26.3.27 (in quotes), because it is the name of upstream's release and what its digest is "
        "checked for",
    ),
    "xray_proxy_release_base": _releases,
    "xray_proxy_sha256": _or_empty(_sha256),
    "xray_proxy_digest_base": _url,
    "xray_proxy_file": _or_empty(_path),
    "xray_proxy_link": _or_empty(_link),
    "xray_proxy_server": _or_empty(_host(True)),
    "xray_proxy_port": _port,
    "xray_proxy_uuid": _or_empty(_string(_user_id)),
    "xray_proxy_public_key": _or_empty(_key(43, "a REALITY public key")),
    "xray_proxy_server_name": _or_empty(_host(False)),
    "xray_proxy_short_id": _string(
        _form(r"([0-9a-fA-F]{2}){0,8}", "must be an even number of hex digits, 16 at most, or empty")
    ),
    "xray_proxy_fingerprint": _or_empty(
        _form(
            r"(?i)(?!(unsafe|hellogolang)\Z)[A-Za-z0-9_]{1,40}",
            "must be the name of a TLS fingerprint that REALITY allows, such as chrome",
        )
    ),
    "xray_proxy_spider_x": _string(_form(r"(/.*)?", "must be empty or start with '/'")),
    "xray_proxy_encryption": _or_empty(
        _string(
            _form(
                links.ENCRYPTION.pattern,
                "must be none or what xray vlessenc printed, which starts with mlkem768x25519plus",
            )
        )
    ),
    "xray_proxy_mldsa65_verify": _or_empty(_key(2603, "empty or an ML-DSA-65 key")),
    "xray_proxy_geo_files": _geo_files,
    "xray_proxy_verify_urls": lambda value: (
        _list_of(_url)(value)
        if value
        else "must name at least one URL: a proxy that was never tried is not known to work"
    ),
}

LEAST: dict[str, int] = {
    "sdops_network_timeout": 0,
    "extensions_install_timeout": 1,
    "model_fetch_parallel": 1,
    "model_fetch_connections": 1,
    "model_fetch_retries": 0,
    "model_fetch_timeout": 1,
    "model_fetch_progress_interval": 0,
    "webui_service_ready_timeout": 1,
    "webui_service_proof_steps": 1,
    "webui_service_proof_width": 8,
    "webui_service_proof_height": 8,
    "webui_service_proof_timeout": 1,
    "webui_service_idle_minutes": 0,
    "webui_service_outputs_max_bytes": 1,
    "xformers_build_max_jobs": 0,
    "xray_proxy_verify_timeout": 1,
    "xray_proxy_verify_retries": 0,
}

# what is never repeated: secrets, and what may hold them
SECRET = re.compile(
    r"xray_proxy_(link|config|server|server_name|uuid|public_key|short_id|spider_x|encryption|mldsa65_verify)\Z|.*_token\Z"
    r"|webui_service_(extra_args|environment|options)\Z|model_fetch_models\Z"
)
# what gives these to others takes the spaces around them away itself: they come from vaults, and nothing beats -e @vault.yml
STRIPPED_WHERE_USED = re.compile(
    r"xray_proxy_(link|server|port|uuid|public_key|server_name|short_id|fingerprint|spider_x|flow|encryption|mldsa65_verify|version)\Z"
    r"|.*_token\Z|sdops_pip_index_url\Z"
)
# where spaces and line breaks belong to the value
AS_IT_IS = re.compile(r"webui_service_(proof_(negative_)?prompt|extra_args)\Z")


def _shown(value: Any) -> str:
    """``value`` on one line, shortened, without the login that a URL may hold."""
    text = re.sub(r"://[^\s\"]*@", "://", json.dumps(value, default=str))
    return text if len(text) <= 120 else text[:117] + "..."


# ---- types, as the roles' argument specifications name them


def _is_number(value: Any, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return False
    try:
        number = int(value) if whole and isinstance(value, str) else float(value)
        return math.isfinite(number) and (not whole or number == int(number))
    except (ValueError, OverflowError):
        return False


def type_error(name: str, spec: Mapping, value: Any) -> str:
    """What is wrong with the type of ``value``, or nothing. ``spec``: one option of an argument specification."""
    kind = spec.get("type", "str")
    if kind == "raw":
        return ""
    if kind == "list":
        if not isinstance(value, list):
            return _no_list("" if SECRET.match(name) else value)
        element = {"type": spec.get("elements", "raw"), "options": spec.get("options")}
        wrong = [
            "number %d %s" % (number, why)
            for number, each in enumerate(value, 1)
            for why in [type_error(name, element, each)]
            if why
        ]
        return "has an entry that cannot be used: " + "; ".join(wrong) if wrong else ""
    if kind == "dict":
        if not isinstance(value, Mapping):
            return "must be a mapping of names to values; write it as {name: value}"
        missing = [
            key for key, one in (spec.get("options") or {}).items() if one.get("required") and not value.get(key)
        ]
        return "needs {}".format(" and ".join(missing)) if missing else ""
    if kind == "bool":
        return "" if str(value).strip().lower() in BOOLEANS else "must be true or false"
    if kind in ("int", "float"):
        if not _is_number(value, kind == "int"):
            return "must be a whole number" if kind == "int" else "must be a number"
        least = LEAST.get(name)
        return "must be %d or more" % least if least is not None and not float(value) >= least else ""
    if not isinstance(value, (str, int, float)):
        return 'must be a text; write "" for none' if value is None else "must be a text"
    if spec.get("choices") and not _is_choice(value, spec["choices"]):
        return "must be {}".format(" or ".join('""' if choice == "" else str(choice) for choice in spec["choices"]))
    return "" if AS_IT_IS.match(name) else _text(str(value))


def _is_choice(value: Any, choices: list[Any]) -> bool:
    known = [str(choice) for choice in choices]
    return str(value) in known or (isinstance(value, bool) and str(value).lower() in known)


def stripped(name: str, spec: Mapping, value: Any) -> Any:
    """``value`` without the spaces and line breaks around it, where none belong to it; entries of lists too."""
    if AS_IT_IS.match(name):
        return value
    if isinstance(value, str) and spec.get("type", "str") not in ("raw", "list", "dict"):
        text = value.strip().strip(links.INVISIBLE).strip()
        return value if text == value else text
    if isinstance(value, list) and spec.get("type") == "list":
        entries = [stripped(name, {"type": spec.get("elements", "raw")}, each) for each in value]
        return value if entries == value else entries
    return value


# ---- what variables must be together


def _together(values: Mapping) -> list[str]:
    """What is wrong with variables together; each of them is good."""
    get = values.get
    found = []

    def rule(wrong: Any, sentence: str) -> None:
        if wrong:
            found.append(sentence)

    rule(
        get("sdops_proxy_http_port") is not None
        and str(get("sdops_proxy_http_port")) == str(get("sdops_proxy_socks_port")),
        "sdops_proxy_http_port and sdops_proxy_socks_port are the same; each needs a port of its own.",
    )
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
    releases, version = get("__sd_webui_releases"), get("sd_webui_version")
    rule(
        releases and version is not None and str(version) not in releases,
        "sd_webui_version is {}; known are {} (quote it in YAML). For another commit keep the nearest of these and set sd_webui_commit, "
        "and sd_webui_repositories if they differ.".format(_shown(version), ", ".join(releases or ())),
    )
    if "extensions_list" in values and "sdops_github" in values:
        for entry in values["extensions_list"]:
            try:
                plan([entry], values["sdops_github"], str(get("sd_webui_version", "1.10.1")))
            except SdopsError as exc:
                found.append(f"extensions_list: {exc}")
    # one alone does not stop the others: it is told, and the run fails when those are there
    models = get("model_fetch_models") or []
    endpoints = [get(f"sdops_{name}_endpoint", getattr(DEFAULT_ENDPOINTS, name)) for name in Endpoints._fields]
    problems = problems_in(models, Endpoints(*endpoints))
    if len(problems) == len(models):
        found.extend(f"model_fetch_models: {problem}" for problem in problems)
    if get("xray_proxy_state") == "present":
        found.extend(_server(values))
    return found


def _server(values: Mapping) -> list[str]:
    config, link = values.get("xray_proxy_config"), values.get("xray_proxy_link")
    if config and link:
        return [
            "xray_proxy_config replaces the whole config, so xray_proxy_link would mean nothing. Keep the one that you want and take "
            "the other away."
        ]
    if config:
        try:
            client_config(config, int(values.get("sdops_proxy_http_port", 10809)))
        except SdopsError as exc:
            return [str(exc)]
        return []
    return [
        f"{name} is empty, but the proxy is wanted (sdops_network: xray). Set it or xray_proxy_link in the inventory (secrets in a vault), "
        "or set sdops_network: direct."
        for name in ("xray_proxy_server", "xray_proxy_uuid", "xray_proxy_public_key", "xray_proxy_server_name")
        if name in values and values[name] in ("", None)
    ]


# ---- all of it


def wrong_values(values: Mapping, specs: Mapping) -> dict[str, str]:
    """By name, a sentence for each of ``values`` that cannot be used for its own sake.

    ``specs``: the options of the roles' argument specifications. Names that are not among them are not looked at.
    """
    wrong: dict[str, str] = {}
    for name, spec in specs.items():
        # a proxy that is not wanted needs no server
        idle = (
            name.startswith("xray_proxy_") and name != "xray_proxy_state" and values.get("xray_proxy_state") == "absent"
        )
        if name not in values or idle:
            continue
        why = type_error(name, spec, values[name]) or RULES.get(name, lambda value: "")(values[name])
        if why:
            said = name if SECRET.match(name) else f"{name} is {_shown(values[name])}; it"
            wrong[name] = printable(f"{said} {why}.")
    return wrong


def wrong_together(values: Mapping) -> list[str]:
    """What is wrong with variables together, where each of them is good."""
    return [printable(sentence) for sentence in _together(values)]


def variable_errors(values: Mapping, specs: Mapping) -> list[str]:
    """A sentence for each of ``values`` (by the variables' names) that cannot be used; none when all can."""
    wrong = wrong_values(values, specs)
    return [*wrong.values(), *wrong_together({name: value for name, value in values.items() if name not in wrong})]


def stripped_values(values: Mapping, specs: Mapping) -> dict[str, Any]:
    """Those of ``values`` that have spaces or line breaks around them, without these."""
    clean = {name: stripped(name, specs[name], values[name]) for name in specs if name in values}
    return {name: value for name, value in clean.items() if value is not values[name]}


def unstripped_error(name: str) -> str:
    """A sentence for a variable of that name that could not be stripped, unless that does not matter."""
    if STRIPPED_WHERE_USED.match(name):
        return ""
    return f"{name} has spaces or a line break around its value, and given with -e it stays so; take them away."

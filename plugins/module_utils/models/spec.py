# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user writes for a model, as one value: strings and mappings in, ModelSpec out."""

from __future__ import annotations

import hashlib
import json
import os
import re
from typing import Any, Iterable, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from ..content_scan.sanitize import MAX_NAME_BYTES, parse_hex_digits
from ..errors import CatalogError, SdopsError, SpecError, TransferError
from ..secrets import login_secrets, query_secrets
from ..terminal import has_unseen, printable
from ..urls import check_url, format_value, redact_url, url_origin
from .catalog import CatalogModel, find_model
from .layout import MODEL_KINDS
from .site_pages import CIVITAI_PAGES, has_model_extension, reject_other_page

# [urn:][air:][ecosystem:][type:]civitai:MODEL[@VERSION][+FILE][:layer][.format]; a layer lies in the same file
AIR_PATTERN = re.compile(
    r"(?:urn:)?(?:air:)?(?:[\w-]+:){0,2}civitai:(\d+)(?:@(\d+))?(?:\+(\d+))?(?::[\w-]+)?(?:\.[\w-]+)?\Z",
    re.ASCII | re.IGNORECASE,
)
CATALOG_NAME_PATTERN = re.compile(r"^[^:/]+$")
SOURCE_FORMS = (
    "a name from the catalog, hf://OWNER/REPO/PATH@REVISION, hf://OWNER/REPO@REVISION/PATH, civitai://VERSION_ID, "
    "an AIR (urn:air:sd1:lora:civitai:MODEL@VERSION), https://..., magnet:?xt=... or file:///..."
)
CIVITAI_HOSTS = ("civitai.com", "civitai.red", "civitai.green")
HUB_HOSTS = ("huggingface.co", "hf.co")
# the Hub's revisions may have slashes in these two forms only
_REVISION = r"(refs/(?:convert/[\w.-]+|pr/\d+)(?=/|\Z)|(?!refs/(?:convert/[\w.-]|pr/\d))[^/]+)"
_REPO_TYPE = "(?:models|datasets|spaces|kernels)/"
_REPO = rf"((?:{_REPO_TYPE})?(?!{_REPO_TYPE})[\w.-]+/[\w.-]+)"
HUB_URI = re.compile(_REPO + "(?:@" + _REVISION + ")?/(.+)", re.DOTALL)
# old models of the Hub have no owner
_PAGE_REPO = rf"((?:{_REPO_TYPE})?(?!{_REPO_TYPE})[\w.-]+(?:/[\w.-]+)?)"
HUB_PAGE = re.compile("/" + _PAGE_REPO + "/(?:resolve|blob)/" + _REVISION + "/(.+)", re.DOTALL)
HUB_URI_FORMS = (
    "hf://OWNER/REPO/PATH@REVISION or hf://OWNER/REPO@REVISION/PATH, with datasets/ before OWNER for a data set"
)
TEXT_FIELDS = ("source", "kind", "name", "config", "vae", "file", "state")
BOOLEAN_FIELDS = ("trusted", "accept_change")
ENTRY_STATES = ("present", "absent")
ENTRY_FIELDS = {*TEXT_FIELDS, "sha256", *BOOLEAN_FIELDS}
CIVITAI_FILTERS = ("fileId", "type", "format", "size", "fp")  # which file of a Civitai version is meant
SCHEMES_WITHOUT_SECRETS = ("hf", "file")  # nothing in sources of these forms is secret


class Endpoints(NamedTuple):
    """Base URLs of the services, as configured: what lies below them is a link of the service, as on its own hosts."""

    huggingface: str = "https://huggingface.co"
    civitai: str = "https://civitai.com"


DEFAULT_ENDPOINTS = Endpoints()


class ModelSpec(NamedTuple):
    """One wanted model.

    ``source`` is what the user wrote, or the catalog's source for a name; ``origin`` one of huggingface, civitai, url,
    file; ``locator`` its fields (strings); ``kind`` and ``name`` may be None until the source is asked; ``sha256`` lower-case
    hex; ``config`` and ``vae`` are the sidecars' own sources; ``size`` in bytes, when it is known before the source is asked;
    ``trusted``: taken for its ``sha256`` alone, without a scan; ``accept_change``: taken also when the source now gives other
    content than what was recorded; ``endpoint``: base URL of the site that is asked, where a link names another one than is
    configured; ``absent``: removed and not installed; ``problem``: why the entry cannot be understood, with nothing else known but its source.
    """

    source: str
    origin: str
    locator: dict[str, str]
    kind: str | None = None
    name: str | None = None
    sha256: str | None = None
    config: str | None = None
    vae: str | None = None
    size: int | None = None
    trusted: bool = False
    accept_change: bool = False
    config_sha256: str | None = None  # of the sidecars, as sha256 and trusted are of the model
    config_trusted: bool = False
    vae_sha256: str | None = None
    vae_trusted: bool = False
    endpoint: str | None = None
    problem: str = ""
    absent: bool = False

    @property
    def source_id(self) -> str:
        """Identifies the source in the record, without revealing it: URLs may hold keys."""
        return hashlib.sha256(self.source.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @property
    def identity(self) -> str:
        """The same for all spellings of one source."""
        return json.dumps([self.origin, self.endpoint, self.locator], sort_keys=True)

    @property
    def label(self) -> str:
        """The source for results and messages, without what may be secret in a URL."""
        return redact_source(self.source)

    @property
    def secrets(self) -> list[str]:
        """Parts of all sources of this model that must not be shown."""
        return [
            part for source in (self.source, self.config, self.vae) if source for part in find_source_secrets(source)
        ]


def redact_source(source: str) -> str:
    """A source of any form, well-formed or not, for results and messages."""
    scheme = source.partition(":")[0].lower()
    if scheme == "magnet":
        return "magnet:?{}".format("".join(re.findall(r"[?&](xt=[^&]*)", source)[:1]))
    if scheme in SCHEMES_WITHOUT_SECRETS or (scheme == "civitai" and not _unknown_query_keys(source)):
        return source
    shown = redact_url(source)
    return shown + "?..." if "?" in source else shown or "#..."


def _unknown_query_keys(source: str) -> list[str]:
    """Keys in the query of a civitai:// source that it should not have."""
    keys = [pair.partition("=")[0] for pair in source.partition("?")[2].split("&")]
    return [key for key in keys if key and key not in CIVITAI_FILTERS]


def find_source_secrets(source: str) -> list[str]:
    """What gives access in a source of any form, well-formed or not: a login, and parameters that are known for it."""
    scheme = source.partition(":")[0].lower()
    if scheme in SCHEMES_WITHOUT_SECRETS:
        return []
    address, *rest = re.split("(?=[?#])", source, maxsplit=1)
    login = address.partition("://")[2].partition("/")[0].rpartition("@")[0]
    # trackers have keys in their paths too
    trackers = re.findall(r"[?&]((?!xt=|dn=|xl=)[^&]+)", "".join(rest)) if scheme == "magnet" else []
    return [*login_secrets(login), *query_secrets("".join(rest)), *trackers]


def find_entry_secrets(entry: Any) -> list[str]:
    """The same for an entry as it was written, of whatever types."""
    if isinstance(entry, str):
        return find_source_secrets(entry)
    inner = entry.values() if isinstance(entry, dict) else entry if isinstance(entry, (list, tuple)) else ()
    return [secret for each in inner for secret in find_entry_secrets(each)]


def parse_sha256(value: Any, what: str) -> str:
    """A hash that a user wrote, in lower case. Raises SpecError."""
    found = parse_hex_digits(str(value).strip(), 64)
    if found is None:
        raise SpecError(f"{what}: sha256 must be 64 hex digits, not {format_value(value)}.")
    return found


def find_in_catalog(source: str) -> CatalogModel | None:
    """The catalog's entry, when ``source`` is a plain word. Raises SpecError for a word that the catalog does not have."""
    if not CATALOG_NAME_PATTERN.match(source):
        return None
    try:
        return find_model(source)
    except CatalogError as exc:
        raise SpecError(f"{exc} A model is one of {SOURCE_FORMS}.")


def parse_sidecar_source(source: str | None, endpoints: Endpoints) -> str | None:
    """A sidecar's source, which may be written as a name too. Raises SpecError when it cannot be understood."""
    if source is None:
        return None
    entry = find_in_catalog(source)
    return parse_source(entry.source if entry else source, endpoints).source


def _parse_sidecar(entry: dict[str, Any], field: str, what: str, endpoints: Endpoints) -> dict[str, Any]:
    """The fields of ModelSpec for a sidecar, which is a source or a mapping of source, sha256 and trusted."""
    value = entry.get(field)
    if not isinstance(value, dict):
        return {field: parse_sidecar_source(value, endpoints)}
    what = f"{what}, {field}"
    unknown = sorted(str(name) for name in set(value) - {"source", "sha256", "trusted"})
    if unknown:
        raise SpecError(
            "{} has the unknown field {}; there are source, sha256 and trusted.".format(what, ", ".join(unknown))
        )
    if not isinstance(value.get("source"), str) or not value["source"]:
        raise SpecError(f"{what} has no source. It is one of {SOURCE_FORMS}.")
    sha256, trusted = value.get("sha256"), value.get("trusted")
    if trusted not in (None, True, False):
        raise SpecError(f"{what}: trusted must be true or false, not {format_value(trusted)}.")
    if trusted and sha256 is None:
        raise SpecError(f"{what}: trusted needs a sha256, which is all that it is verified by.")
    return {
        field: parse_sidecar_source(value["source"], endpoints),
        field + "_sha256": parse_sha256(sha256, what) if sha256 is not None else None,
        field + "_trusted": bool(trusted) or None,
    }


def parse_source(source: str, endpoints: Endpoints = DEFAULT_ENDPOINTS) -> ModelSpec:
    """A ModelSpec with origin and fields only. Raises SpecError with the forms there are."""
    if has_unseen(source):
        raise SpecError(
            f"The model source '{printable(redact_source(source))}' has control characters in it; write it again."
        )
    air = AIR_PATTERN.match(source)
    if air:
        model, version, file_id = air.groups()
        locator = {"version_id": version} if version else {"model_id": model}
        if file_id:
            locator["fileId"] = file_id
        return ModelSpec(source, "civitai", locator)
    try:
        parts = urlsplit(source)
        parts.port  # noqa: B018 - asked for its error
    except ValueError:
        raise SpecError(f"The model source {redact_source(source)} is no valid URL. Check its host and port.")
    if parts.scheme == "hf":
        return _parse_hub_uri(source)
    if parts.scheme == "civitai":
        query = dict(parse_qsl(parts.query))
        if not re.fullmatch("[0-9]+", parts.netloc) or _unknown_query_keys(source):
            raise SpecError(
                f"The model source '{redact_source(source)}' is not of the form civitai://VERSION_ID[?fileId=ID | ?type=&format=&size=&fp=], and no "
                "AIR (urn:air:sd1:lora:civitai:MODEL@VERSION)."
            )
        return ModelSpec(source, "civitai", {"version_id": parts.netloc, **query})
    if parts.scheme in ("https", "http") and parts.hostname:
        try:
            check_url(source)
            url_origin(source)
        except TransferError as exc:
            raise SpecError(f"The model source cannot be used, copy the link again: {exc}") from None
        return _parse_page_link(source, endpoints) or ModelSpec(source, "url", {"url": source})
    if parts.scheme == "magnet":
        return ModelSpec(source, "magnet", {"url": source})
    if parts.scheme == "file" and parts.path.startswith("/"):
        return ModelSpec(source, "file", {"path": unquote(parts.path)})
    raise SpecError(f"The model source '{redact_source(source)}' is none of {SOURCE_FORMS}.")


def _hub_spec(source: str, repo: str, revision: str, path: str) -> ModelSpec:
    pieces = [*repo.split("/"), *path.split("/")]
    if not all(pieces) or {".", ".."} & {*pieces}:
        raise SpecError(f"The model source '{source}' has an empty part, . or .. in its path. It is {HUB_URI_FORMS}.")
    repo = repo[len("models/") :] if repo.startswith("models/") else repo
    return ModelSpec(source, "huggingface", {"repo": repo, "file": path, "revision": revision})


def _parse_hub_uri(source: str) -> ModelSpec:
    """An hf:// source in the Hub's own form, or with the revision at its end. Raises SpecError.

    An ``@`` behind the repository begins a revision and what follows is taken as it is. A later one belongs to the file's name, unless a
    whole name (with its extension) stands before it, or none behind it.
    """
    # not by urlsplit: # and ? may be in a file's name
    body = source.partition("://")[2]
    if body.startswith("buckets/"):
        raise SpecError(f"The model source '{source}' names a bucket, and buckets are not read. It is {HUB_URI_FORMS}.")
    found = HUB_URI.match(body)
    if not found:
        raise SpecError(f"The model source '{source}' is not of the form {HUB_URI_FORMS}.")
    repo, revision, path = found.groups()
    if revision is not None:
        return _hub_spec(source, repo, unquote(revision), path)
    places = [at.start() for at in re.finditer("@", path)]
    at = next((place for place in places if has_model_extension(path[:place])), places[-1] if places else 0)
    if at and not has_model_extension(path[at + 1 :]):
        path, revision = path[:at], unquote(path[at + 1 :])
    return _hub_spec(source, repo, revision or "main", unquote(path))


def _path_below_site(source: str, hosts: tuple[str, ...], endpoint: str) -> str | None:
    """The path of an http(s) URL on one of a service's ``hosts``, or below its ``endpoint``; None for a URL elsewhere."""
    parts = urlsplit(source)
    if _site_host(source) in hosts and parts.port in (None, 80, 443):
        return parts.path
    base = urlsplit(endpoint).path.rstrip("/")
    below = url_origin(source) == url_origin(endpoint) and parts.path.startswith(base + "/")
    return parts.path[len(base) :] if below else None


def _site_host(source: str) -> str:
    host = urlsplit(source).hostname or ""
    return host[4:] if host.startswith("www.") else host


def _parse_page_link(source: str, endpoints: Endpoints) -> ModelSpec | None:
    """A link copied from the browser on Hugging Face or Civitai, or from a mirror that is configured, means the file behind it."""
    query = dict(parse_qsl(urlsplit(source).query))
    path = _path_below_site(source, HUB_HOSTS, endpoints.huggingface)
    hub = HUB_PAGE.match(path) if path else None
    if hub:
        repo, revision, file = (unquote(piece) for piece in hub.groups())
        return _hub_spec(source, repo, revision, re.sub("//+", "/", file))
    reject_other_page("Hugging Face", path, redact_source(source))
    path = _path_below_site(source, CIVITAI_HOSTS, endpoints.civitai)
    if path is None:
        return None
    pages = [(field, found.group(1)) for field, pattern in CIVITAI_PAGES for found in [pattern.match(path)] if found]
    if "token" in query and (pages or _site_host(source) in CIVITAI_HOSTS):
        raise SpecError(
            f"{redact_url(source)} has a token in it, which ends up in logs. Use model_fetch_civitai_token (civitai_token of a module) instead."
        )
    if not pages:
        reject_other_page("Civitai", path, redact_source(source))
        return None
    # what one of its sites shows, another one may not: a link is asked for where it was copied
    other_site = "https://" + _site_host(source) if _site_host(source) in CIVITAI_HOSTS[1:] else None
    if other_site and url_origin(other_site) == url_origin(endpoints.civitai):
        other_site = None
    locator = dict(pages)
    if "version_id" in locator:
        locator.update({key: value for key, value in query.items() if key in CIVITAI_FILTERS})
    elif re.fullmatch("[0-9]+", query.get("modelVersionId", "")):
        locator = {"version_id": query["modelVersionId"]}
    return ModelSpec(source, "civitai", locator, endpoint=other_site)


def _is_plain_name(name: str) -> bool:
    """Whether it can be the name of a file in a directory."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return os.path.basename(name) == name and name not in ("", ".", "..") and not has_unseen(name)


def parse_model_entries(entries: Iterable[Any], endpoints: Endpoints, list_name: str = "models") -> list[ModelSpec]:
    """A ModelSpec for each entry, with ``problem`` where it cannot be understood: the others are none the worse for it.

    ``list_name``: the user's word for the list, for an entry that has no source to be named by.

    Where one source has several spellings, the first one stands for all, so that it is one file for the record too.
    """
    specs = []
    spellings: dict[str, str] = {}
    for number, entry in enumerate(entries, 1):
        place = f"Entry {number} of {list_name}"
        try:
            spec = parse_model_entry(entry, endpoints, place)
        except SdopsError as exc:
            source = entry.get("source") if isinstance(entry, dict) else entry
            name = source if isinstance(source, str) and source else place
            specs.append(ModelSpec(name, "", {}, problem=str(exc)))
            continue
        specs.append(spec._replace(source=spellings.setdefault(spec.identity, spec.source)))
    return specs


def find_entry_problems(
    entries: Iterable[Any], endpoints: Endpoints = DEFAULT_ENDPOINTS, list_name: str = "models"
) -> list[str]:
    """A sentence for each entry that cannot be understood, without what is secret in it."""
    entries = list(entries)
    secrets = sorted({secret for entry in entries for secret in find_entry_secrets(entry)}, key=len, reverse=True)
    found = [spec.problem for spec in parse_model_entries(entries, endpoints, list_name) if spec.problem]
    for secret in secrets:
        found = [problem.replace(secret, "********") for problem in found]
    return found


def _strip_texts(entry: dict[str, Any]) -> dict[str, Any]:
    """``entry`` without white space around its texts: a block of YAML and a copied link end in a line break."""
    return {
        field: value.strip() if isinstance(value, str) else _strip_texts(value) if isinstance(value, dict) else value
        for field, value in entry.items()
    }


def parse_model_entry(
    entry: str | dict[str, Any], endpoints: Endpoints = DEFAULT_ENDPOINTS, place: str = "The model entry"
) -> ModelSpec:
    """A ModelSpec from an entry of the user's list. Raises SpecError naming the entry, by its ``place`` where it has no source, and the field."""
    if isinstance(entry, str):
        entry = {"source": entry}
    if not isinstance(entry, dict):
        what = "a list" if isinstance(entry, (list, tuple)) else format_value(entry)
        raise SpecError(f"{place} ({what}) is neither a source nor a mapping with one. A source is {SOURCE_FORMS}.")
    entry = _strip_texts(entry)
    source = entry.get("source")
    if not isinstance(source, str) or not source:
        fields = ", ".join(sorted(map(str, entry)))
        raise SpecError(
            "{}{} has no source. It is one of {}.".format(
                place, f" (with the fields {fields})" if fields else "", SOURCE_FORMS
            )
        )
    what = f"The model {redact_source(source)}"
    unknown = sorted(str(field) for field in set(entry) - ENTRY_FIELDS)
    if unknown:
        raise SpecError(
            "{} has the unknown field {}; there are {}.".format(
                what, ", ".join(unknown), ", ".join(sorted(ENTRY_FIELDS))
            )
        )
    for field in TEXT_FIELDS:
        if isinstance(entry.get(field), dict) and field in ("config", "vae"):
            continue
        if entry.get(field) is not None and not isinstance(entry[field], str):
            raise SpecError(f"{what}: {field} must be a text, not {format_value(entry[field])}. Put it in quotes.")
    kind, name, sha256 = entry.get("kind"), entry.get("name"), entry.get("sha256")
    state = entry.get("state") or "present"
    if state not in ENTRY_STATES:
        raise SpecError("{}: state must be {}, not {}.".format(what, " or ".join(ENTRY_STATES), format_value(state)))
    if kind is not None and kind not in MODEL_KINDS:
        raise SpecError(
            "{} has the unknown kind {}; there are {}.".format(what, format_value(kind), ", ".join(sorted(MODEL_KINDS)))
        )
    if name is not None and not _is_plain_name(name):
        raise SpecError(f"{what}: name must be a plain file name, not {format_value(name)}.")
    if name is not None and len(name.encode()) > MAX_NAME_BYTES:
        raise SpecError(
            f"{what}: name has {len(name.encode())} bytes, and file systems take {MAX_NAME_BYTES}. Set a shorter one."
        )
    overrides = {
        "kind": kind,
        "name": name,
        "sha256": parse_sha256(sha256, what) if sha256 is not None else None,
        **_parse_sidecar(entry, "config", what, endpoints),
        **_parse_sidecar(entry, "vae", what, endpoints),
    }
    listed = find_in_catalog(source)
    spec = parse_source(listed.source if listed else source, endpoints)
    if entry.get("file") and spec.origin != "magnet":
        raise SpecError(f"{what}: file is for magnet links, to say which of several files is meant.")
    if entry.get("file"):
        spec.locator["file"] = str(entry["file"])
    if listed:
        spec = spec._replace(kind=listed.kind, name=listed.filename, sha256=listed.sha256, config=listed.config)
        if overrides["sha256"] in (None, listed.sha256):  # another file has another size
            spec = spec._replace(size=listed.size, trusted=listed.trusted)
    spec = spec._replace(**{field: value for field, value in overrides.items() if value is not None})
    for field in BOOLEAN_FIELDS:
        if entry.get(field) not in (None, True, False):
            raise SpecError(f"{what}: {field} must be true or false, not {format_value(entry[field])}.")
    spec = spec._replace(accept_change=bool(entry.get("accept_change")), absent=state == "absent")
    if entry.get("trusted"):
        if not spec.sha256:
            raise SpecError(f"{what}: trusted needs a sha256, which is all that it is verified by.")
        spec = spec._replace(trusted=True)
    return spec

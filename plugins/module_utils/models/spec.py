# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user writes for a model, as one value: strings and mappings in, ModelSpec out."""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any, Dict, List, NamedTuple, Optional, Union
from urllib.parse import parse_qsl, unquote, urlsplit

from ..errors import SdopsError
from ..safety.names import LONGEST_NAME, hex_digits
from ..safety.secrets import login_secrets, query_secrets
from ..terminal import has_unseen
from ..transfer.http import TransferError, check_url, scrub
from .catalog import CatalogError, Entry, find
from .layout import KINDS

AIR = re.compile(r"^(?:urn:)?(?:air:)?(?:[a-z0-9_]+:){0,2}civitai:(\d+)(?:@(\d+))?(?:\+(\d+))?(?:\.\w+)?$")
PLAIN = re.compile(r"^[^:/]+$")
FORMS = (
    "a name from the catalog, hf://OWNER/REPO/PATH@REVISION, civitai://VERSION_ID, "
    "an AIR (urn:air:sd1:lora:civitai:MODEL@VERSION), https://..., magnet:?xt=... or file:///..."
)
CIVITAI_HOSTS = ("civitai.com", "www.civitai.com", "civitai.red", "civitai.green")
HUB_HOSTS = ("huggingface.co", "hf.co")
TEXTS = ("source", "kind", "name", "config", "vae", "file")
SWITCHES = ("trusted", "accept_change")
FIELDS = {*TEXTS, "sha256", *SWITCHES}
FILTERS = ("fileId", "type", "format", "size", "fp")  # which file of a Civitai version is meant
OPEN = ("hf", "file")  # nothing in sources of these forms is secret


class SpecError(SdopsError):
    """A model entry that cannot be understood."""


class ModelSpec(NamedTuple):
    """One wanted model.

    ``source`` is what the user wrote, or the catalog's source for a name; ``origin`` one of huggingface, civitai, url,
    file; ``where`` its fields (strings); ``kind`` and ``name`` may be None until the source tells; ``sha256`` lower-case
    hex; ``config`` and ``vae`` are the sidecars' own sources; ``size`` in bytes, when it is known before the source is asked;
    ``trusted``: taken for its ``sha256`` alone, without a scan; ``accept_change``: taken also when the source now gives other
    content than what was recorded.
    """

    source: str
    origin: str
    where: Dict[str, str]
    kind: Optional[str] = None
    name: Optional[str] = None
    sha256: Optional[str] = None
    config: Optional[str] = None
    vae: Optional[str] = None
    size: Optional[int] = None
    trusted: bool = False
    accept_change: bool = False
    config_sha256: Optional[str] = None  # of the sidecars, as sha256 and trusted are of the model
    config_trusted: bool = False
    vae_sha256: Optional[str] = None
    vae_trusted: bool = False

    @property
    def wish(self) -> str:
        """Names the source in the record, without telling it: URLs may hold keys."""
        return hashlib.sha256(self.source.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @property
    def label(self) -> str:
        """The source for results and messages, without what may be secret in a URL."""
        return shown(self.source)

    @property
    def secrets(self) -> List[str]:
        """Parts of all sources of this model that must not be shown."""
        return [part for source in (self.source, self.config, self.vae) if source for part in secrets_of(source)]


def shown(source: str) -> str:
    """A source of any form, well-formed or not, for results and messages."""
    scheme = source.partition(":")[0].lower()
    if scheme == "magnet":
        return "magnet:?%s" % "".join(re.findall(r"[?&](xt=[^&]*)", source)[:1])
    if scheme in OPEN or (scheme == "civitai" and not _unknown(source)):
        return source
    return scrub(source) + ("?..." if "?" in source else "")


def _unknown(source: str) -> List[str]:
    """Keys in the query of a civitai:// source that it should not have."""
    keys = [pair.partition("=")[0] for pair in source.partition("?")[2].split("&")]
    return [key for key in keys if key and key not in FILTERS]


def secrets_of(source: str) -> List[str]:
    """What gives access in a source of any form, well-formed or not: a login, and parameters that are known for it."""
    scheme = source.partition(":")[0].lower()
    if scheme in OPEN:
        return []
    address, *rest = re.split("(?=[?#])", source, maxsplit=1)
    login = address.partition("://")[2].partition("/")[0].rpartition("@")[0]
    # trackers have keys in their paths too
    trackers = re.findall(r"[?&]((?!xt=|dn=|xl=)[^&]+)", "".join(rest)) if scheme == "magnet" else []
    return [*login_secrets(login), *query_secrets("".join(rest)), *trackers]


def secrets_in(entry: Any) -> List[str]:
    """The same for an entry as it was written, before anything is known of it."""
    texts = list(entry.values()) if isinstance(entry, dict) else [entry]
    texts += [value for inner in texts if isinstance(inner, dict) for value in inner.values()]
    return [part for text in texts if isinstance(text, str) for part in secrets_of(text)]


def wanted_sha256(value: Any, what: str) -> str:
    """A hash that a user wrote, in lower case. Raises SpecError."""
    found = hex_digits(str(value).strip(), 64)
    if found is None:
        raise SpecError("%s: sha256 must be 64 hex digits, not %r." % (what, value))
    return found


def known(source: str) -> Optional[Entry]:
    """The catalog's entry, when ``source`` is a plain word. Raises SpecError for a word that the catalog does not have."""
    if not PLAIN.match(source):
        return None
    try:
        return find(source)
    except CatalogError as exc:
        raise SpecError("%s A model is one of %s." % (exc, FORMS))


def sidecar_source(source: Optional[str]) -> Optional[str]:
    """A sidecar's source, which may be written as a name too. Raises SpecError when it cannot be understood."""
    if source is None:
        return None
    entry = known(source)
    return parse_source(entry.source if entry else source).source


def _sidecar_fields(entry: Dict[str, Any], field: str, what: str) -> Dict[str, Any]:
    """The fields of ModelSpec for a sidecar, which is a source or a mapping of source, sha256 and trusted."""
    value = entry.get(field)
    if not isinstance(value, dict):
        return {field: sidecar_source(value)}
    what = "%s, %s" % (what, field)
    unknown = sorted(str(name) for name in set(value) - {"source", "sha256", "trusted"})
    if unknown:
        raise SpecError(
            "%s has the unknown field %s; there are source, sha256 and trusted." % (what, ", ".join(unknown))
        )
    if not isinstance(value.get("source"), str) or not value["source"]:
        raise SpecError("%s has no source. It is one of %s." % (what, FORMS))
    sha256, trusted = value.get("sha256"), value.get("trusted")
    if trusted not in (None, True, False):
        raise SpecError("%s: trusted must be true or false, not %r." % (what, trusted))
    if trusted and sha256 is None:
        raise SpecError("%s: trusted needs a sha256, which is all that it is judged by." % what)
    return {
        field: sidecar_source(value["source"]),
        field + "_sha256": wanted_sha256(sha256, what) if sha256 is not None else None,
        field + "_trusted": bool(trusted) or None,
    }


def parse_source(source: str) -> ModelSpec:
    """A ModelSpec with origin and fields only. Raises SpecError with the forms there are."""
    if has_unseen(source):
        raise SpecError("The model source %r has control characters in it; write it again." % shown(source))
    air = AIR.match(source)
    if air and "civitai:" in source and "://" not in source:
        model, version, file_id = air.groups()
        where = {"version_id": version} if version else {"model_id": model}
        if file_id:
            where["fileId"] = file_id
        return ModelSpec(source, "civitai", where)
    try:
        parts = urlsplit(source)
        parts.port  # noqa: B018 - asked for its error
    except ValueError:
        raise SpecError("The model source %s is no valid URL." % shown(source))
    if parts.scheme == "hf":
        # not by urlsplit: # and ? may be in a file's name
        path, _, revision = source.partition("://")[2].partition("@")
        pieces = [unquote(piece) for piece in path.split("/")]
        if len(pieces) < 3 or not all(pieces):
            raise SpecError("The model source %r is not of the form hf://OWNER/REPO/PATH@REVISION." % source)
        return ModelSpec(
            source,
            "huggingface",
            {"repo": "/".join(pieces[:2]), "file": "/".join(pieces[2:]), "revision": unquote(revision) or "main"},
        )
    if parts.scheme == "civitai":
        query = dict(parse_qsl(parts.query))
        if not parts.netloc.isdigit() or _unknown(source):
            raise SpecError(
                "The model source %r is not of the form civitai://VERSION_ID[?fileId=ID | ?type=&format=&size=&fp=]."
                % shown(source)
            )
        return ModelSpec(source, "civitai", {"version_id": parts.netloc, **query})
    if parts.scheme in ("https", "http") and parts.hostname:
        try:
            check_url(source)
        except TransferError as exc:
            raise SpecError("The model source cannot be used: %s" % exc) from None
        return _page(source) or ModelSpec(source, "url", {"url": source})
    if parts.scheme == "magnet":
        return ModelSpec(source, "magnet", {"url": source})
    if parts.scheme == "file" and parts.path.startswith("/"):
        return ModelSpec(source, "file", {"path": unquote(parts.path)})
    raise SpecError("The model source %r is none of %s." % (shown(source), FORMS))


def _page(source: str) -> Optional[ModelSpec]:
    """A link copied from the browser on Hugging Face or Civitai means the file behind it."""
    parts = urlsplit(source)
    query = dict(parse_qsl(parts.query))
    if "token" in query and parts.hostname in CIVITAI_HOSTS:
        raise SpecError("%s has a token in it, which ends up in logs. Use civitai_token instead." % scrub(source))
    if parts.hostname in HUB_HOSTS:
        hub = re.match(r"/([^/]+/[^/]+)/(?:resolve|blob)/([^/]+)/(.+)$", parts.path)
        if hub:
            repo, revision, path = (unquote(piece) for piece in hub.groups())
            return ModelSpec(source, "huggingface", {"repo": repo, "file": path, "revision": revision})
    if parts.hostname in CIVITAI_HOSTS:
        wish = {k: v for k, v in query.items() if k in FILTERS}
        version = re.match(r"/api/download/models/(\d+)$", parts.path)
        if version:
            return ModelSpec(source, "civitai", {"version_id": version.group(1), **wish})
        model = re.match(r"/models/(\d+)", parts.path)
        if model and query.get("modelVersionId", "").isdigit():
            return ModelSpec(source, "civitai", {"version_id": query["modelVersionId"]})
        if model:
            return ModelSpec(source, "civitai", {"model_id": model.group(1)})
    return None


def _plain(name: str) -> bool:
    """Whether it can be the name of a file in a directory."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return os.path.basename(name) == name and name not in ("", ".", "..") and not has_unseen(name)


def parse(entry: Union[str, Dict[str, Any]]) -> ModelSpec:
    """A ModelSpec from an entry of the user's list. Raises SpecError naming the entry and the field."""
    if isinstance(entry, str):
        entry = {"source": entry}
    if not isinstance(entry, dict):
        raise SpecError(
            "The model entry %r is neither a source nor a mapping with one. A source is %s." % (entry, FORMS)
        )
    source = entry.get("source")
    if not isinstance(source, str) or not source:
        fields = ", ".join(sorted(map(str, entry)))
        raise SpecError("The model entry with the fields %s has no source. It is one of %s." % (fields or "{}", FORMS))
    what = "The model %s" % shown(source)
    unknown = sorted(str(field) for field in set(entry) - FIELDS)
    if unknown:
        raise SpecError("%s has the unknown field %s." % (what, ", ".join(unknown)))
    for field in TEXTS:
        if isinstance(entry.get(field), dict) and field in ("config", "vae"):
            continue
        if entry.get(field) is not None and not isinstance(entry[field], str):
            raise SpecError("%s: %s must be a text, not %r. Put it in quotes." % (what, field, entry[field]))
    kind, name, sha256 = entry.get("kind"), entry.get("name"), entry.get("sha256")
    if kind is not None and kind not in KINDS:
        raise SpecError("%s has the unknown kind %r; there are %s." % (what, kind, ", ".join(sorted(KINDS))))
    if name is not None and not _plain(name):
        raise SpecError("%s: name must be a plain file name, not %r." % (what, name))
    if name is not None and len(name.encode()) > LONGEST_NAME:
        raise SpecError(
            "%s: name has %d bytes, and file systems take %d. Set a shorter one."
            % (what, len(name.encode()), LONGEST_NAME)
        )
    wanted = {
        "kind": kind,
        "name": name,
        "sha256": wanted_sha256(sha256, what) if sha256 is not None else None,
        **_sidecar_fields(entry, "config", what),
        **_sidecar_fields(entry, "vae", what),
    }
    listed = known(source)
    spec = parse_source(listed.source if listed else source)
    if entry.get("file") and spec.origin != "magnet":
        raise SpecError("%s: file is for magnet links, to say which of several files is meant." % what)
    if entry.get("file"):
        spec.where["file"] = str(entry["file"])
    if listed:
        spec = spec._replace(kind=listed.kind, name=listed.filename, sha256=listed.sha256, config=listed.config)
        if wanted["sha256"] in (None, listed.sha256):  # another file has another size
            spec = spec._replace(size=listed.size, trusted=listed.trusted)
    spec = spec._replace(**{field: value for field, value in wanted.items() if value is not None})
    for field in SWITCHES:
        if entry.get(field) not in (None, True, False):
            raise SpecError("%s: %s must be true or false, not %r." % (what, field, entry[field]))
    spec = spec._replace(accept_change=bool(entry.get("accept_change")))
    if entry.get("trusted"):
        if not spec.sha256:
            raise SpecError("%s: trusted needs a sha256, which is all that it is judged by." % what)
        spec = spec._replace(trusted=True)
    return spec

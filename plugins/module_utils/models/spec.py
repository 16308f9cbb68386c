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
from ..transfer.http import scrub
from .catalog import CatalogError, Entry, find
from .layout import KINDS

SHA256 = re.compile(r"^[0-9a-fA-F]{64}$")
AIR = re.compile(r"^(?:urn:)?(?:air:)?(?:[a-z0-9_]+:){0,2}civitai:(\d+)(?:@(\d+))?(?:\+(\d+))?(?:\.\w+)?$")
PLAIN = re.compile(r"^[^:/]+$")
FORMS = (
    "a name from the catalog, hf://OWNER/REPO/PATH@REVISION, civitai://VERSION_ID, "
    "an AIR (urn:air:sd1:lora:civitai:MODEL@VERSION), https://..., magnet:?xt=... or file:///..."
)
CIVITAI_HOSTS = ("civitai.com", "www.civitai.com", "civitai.red", "civitai.green")
HUB_HOSTS = ("huggingface.co", "hf.co")


class SpecError(SdopsError):
    """A model entry that cannot be understood."""


class ModelSpec(NamedTuple):
    """One wanted model.

    ``source`` is what the user wrote, or the catalog's source for a name; ``origin`` one of huggingface, civitai, url,
    file; ``where`` its fields (strings); ``kind`` and ``name`` may be None until the source tells; ``sha256`` lower-case
    hex; ``config`` and ``vae`` are the sidecars' own sources; ``size`` in bytes, when it is known before the source is asked;
    ``trusted``: taken for its ``sha256`` alone, without a scan.
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

    @property
    def wish(self) -> str:
        """Names the source in the record, without telling it: URLs may hold keys."""
        return hashlib.sha256(self.source.encode()).hexdigest()[:16]

    @property
    def label(self) -> str:
        """The source for results and messages, without what may be secret in a URL."""
        if self.origin == "url":
            return scrub(self.source) + ("?..." if urlsplit(self.source).query else "")
        if self.origin == "magnet":
            return self.source.split("&")[0]
        return self.source

    @property
    def secrets(self) -> List[str]:
        """Parts of the source that must not be shown."""
        if self.origin not in ("url", "magnet"):
            return []
        parts = urlsplit(self.source)
        user = parts.netloc.rpartition("@")[0]
        trackers = self.source.partition("&")[2]
        return [part for part in (trackers if self.origin == "magnet" else parts.query, user) if part]


def known(source: Any) -> Optional[Entry]:
    """The catalog's entry, when ``source`` is a plain word. Raises SpecError for a word that the catalog does not have."""
    if not isinstance(source, str) or not PLAIN.match(source):
        return None
    try:
        return find(source)
    except CatalogError as exc:
        raise SpecError("%s A model is one of %s." % (exc, FORMS))


def sidecar_source(source: Any) -> Any:
    """A sidecar's source, which may be written as a name too."""
    entry = known(source)
    return entry.source if entry else source


def parse_source(source: str) -> ModelSpec:
    """A ModelSpec with origin and fields only. Raises SpecError with the forms there are."""
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
        raise SpecError("The model source %s... is no valid URL." % source.split("?")[0][:20])
    if parts.scheme == "hf":
        path, _, revision = (parts.netloc + parts.path).partition("@")
        pieces = path.split("/")
        if len(pieces) < 3 or not all(pieces):
            raise SpecError("The model source %r is not of the form hf://OWNER/REPO/PATH@REVISION." % source)
        return ModelSpec(
            source,
            "huggingface",
            {"repo": "/".join(pieces[:2]), "file": "/".join(pieces[2:]), "revision": unquote(revision) or "main"},
        )
    if parts.scheme == "civitai":
        query = dict(parse_qsl(parts.query))
        unknown = set(query) - {"fileId", "type", "format", "size", "fp"}
        if not parts.netloc.isdigit() or unknown:
            raise SpecError(
                "The model source %r is not of the form civitai://VERSION_ID[?fileId=ID | ?type=&format=&size=&fp=]."
                % source
            )
        return ModelSpec(source, "civitai", {"version_id": parts.netloc, **query})
    if parts.scheme in ("https", "http") and parts.hostname:
        return _page(source) or ModelSpec(source, "url", {"url": source})
    if parts.scheme == "magnet":
        return ModelSpec(source, "magnet", {"url": source})
    if parts.scheme == "file" and parts.path.startswith("/"):
        return ModelSpec(source, "file", {"path": unquote(parts.path)})
    raise SpecError("The model source %r is none of %s." % (source, FORMS))


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
        wish = {k: v for k, v in query.items() if k in ("fileId", "type", "format", "size", "fp")}
        version = re.match(r"/api/download/models/(\d+)$", parts.path)
        if version:
            return ModelSpec(source, "civitai", {"version_id": version.group(1), **wish})
        model = re.match(r"/models/(\d+)", parts.path)
        if model and query.get("modelVersionId", "").isdigit():
            return ModelSpec(source, "civitai", {"version_id": query["modelVersionId"]})
        if model:
            return ModelSpec(source, "civitai", {"model_id": model.group(1)})
    return None


def parse(entry: Union[str, Dict[str, Any]]) -> ModelSpec:
    """A ModelSpec from an entry of the user's list. Raises SpecError naming the entry and the field."""
    if isinstance(entry, str):
        entry = {"source": entry}
    source = entry.get("source")
    if not isinstance(source, str) or not source:
        raise SpecError("The model entry %r has no source. It is one of %s." % (entry, FORMS))
    unknown = sorted(set(entry) - {"source", "kind", "name", "sha256", "config", "vae", "file", "trusted"})
    if unknown:
        raise SpecError("The model %s has the unknown field %s." % (source, ", ".join(unknown)))
    kind, name, sha256 = entry.get("kind"), entry.get("name"), entry.get("sha256")
    if kind is not None and kind not in KINDS:
        raise SpecError(
            "The model %s has the unknown kind %r; there are %s." % (source, kind, ", ".join(sorted(KINDS)))
        )
    if sha256 is not None and not SHA256.match(str(sha256)):
        raise SpecError("The model %s: sha256 must be 64 hex digits, not %r." % (source, sha256))
    if name is not None and (os.path.basename(name) != name or name in ("", ".", "..")):
        raise SpecError("The model %s: name must be a plain file name, not %r." % (source, name))
    wanted = {
        "kind": kind,
        "name": name,
        "sha256": str(sha256).lower() if sha256 else None,
        "config": sidecar_source(entry.get("config")),
        "vae": sidecar_source(entry.get("vae")),
    }
    listed = known(source)
    spec = parse_source(listed.source if listed else source)
    if entry.get("file") and spec.origin != "magnet":
        raise SpecError("The model %s: file is for magnet links, to say which of several files is meant." % spec.label)
    if entry.get("file"):
        spec.where["file"] = str(entry["file"])
    if listed:
        spec = spec._replace(kind=listed.kind, name=listed.filename, sha256=listed.sha256, config=listed.config)
        if wanted["sha256"] in (None, listed.sha256):  # another file has another size
            spec = spec._replace(size=listed.size, trusted=listed.trusted)
    spec = spec._replace(**{field: value for field, value in wanted.items() if value is not None})
    if entry.get("trusted"):
        if not spec.sha256:
            raise SpecError("The model %s: trusted needs a sha256, which is all that it is judged by." % spec.label)
        spec = spec._replace(trusted=True)
    return spec

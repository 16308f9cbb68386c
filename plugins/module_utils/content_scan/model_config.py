# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A checkpoint's YAML config is code: the WebUI imports and calls what its ``target`` values name.

The WebUI (AUTOMATIC1111 1.10.1) reads it with OmegaConf and hands it to ``instantiate_from_config``: ``{target: A.B.C, params: {}}``
becomes ``A.B.C(**params)``, at any depth. So every ``target`` must name a class of a model library. The YAML is parsed, but
nothing is built from it: anchors, merges, tags, repeated keys and several documents are seen as they are written.
"""

from __future__ import annotations

import os
import re
from typing import Any

from ..errors import ContentError, UnsafeError

try:
    import yaml
except ImportError:
    yaml = None  # type: ignore[assignment]

MAX_CONFIG_BYTES = 1 << 18  # real ones have some ten kB
MAX_YAML_DEPTH = 60
MAX_YAML_NODES = 100_000  # with every alias written out
IDENTIFIER_PART = r"[A-Za-z_][A-Za-z0-9_]*"
# Classes only, which begin with a capital: the libraries have functions that import or run whatever they are given. Of the
# WebUI's own modules, those that its configs name.
ALLOWED_TARGET = re.compile(
    rf"(?:ldm|sgm|torch\.nn|modules\.(?:models|xlmr|xlmr_m18))(?:\.{IDENTIFIER_PART})*\.[A-Z][A-Za-z0-9_]*"
)
# For training, at the top level and outside ``model``: nothing in the WebUI makes these.
TRAINING_KEYS = ("data", "lightning")
TRAINING_TARGET = re.compile(
    r"main\.DataModuleFromConfig|main\.ImageLogger|edit_dataset\.EditDataset|pytorch_lightning\.strategies\.DDPStrategy|"
    r"(?:sdata\.mappers|torchvision\.transforms)\.[A-Z][A-Za-z0-9_]*"
)
TARGET_KEYS = ("target", "_target_")
# sgm's DiffusionEngine imports and calls what this one names, too; no name is its default
CLASS_KEYS = (*TARGET_KEYS, "network_wrapper")
ALLOWED_TAGS = {
    "tag:yaml.org,2002:" + name for name in ("str", "int", "float", "bool", "null", "map", "seq", "merge", "timestamp")
}
# A reference to another value of the same file, but for training. Others read the environment, or make a config of a text.
REFERENCE = re.compile(r"\$\{{(?!(?:{})\b)[A-Za-z0-9_][A-Za-z0-9_.\[\]]*\}}".format("|".join(TRAINING_KEYS)))
TRUST_ADVICE = "if you trust it, give its sha256 and trusted: true (config: {source: ..., sha256: ..., trusted: true})"


def check_config(path: str) -> None:
    """Raise ContentError unless every ``target`` (and its like) in a YAML file names a model class."""
    if os.path.getsize(path) > MAX_CONFIG_BYTES:
        raise ContentError(f"it has more than {MAX_CONFIG_BYTES >> 10} kB, which no config of a model has")
    with open(path, encoding="utf-8") as handle:
        text = handle.read()
    # a key can be written otherwise only with an escape, and come from elsewhere only by a reference
    if not re.search(r"target|network_wrapper|[\\$!]", text):
        return
    if yaml is None:
        raise ContentError(
            "it may name code to run, and PyYAML, which reads it, is missing on the target; run the role base first, which "
            "installs it"
        )
    loaders: list[Any] = [yaml.SafeLoader, *([yaml.CSafeLoader] if hasattr(yaml, "CSafeLoader") else [])]
    for loader in loaders:  # OmegaConf has used either
        try:
            _check_depth(text)
            for document in yaml.compose_all(text, Loader=loader):
                _check_document(document)
        except (yaml.YAMLError, ValueError) as exc:
            problem = getattr(exc, "problem", None) or type(exc).__name__
            raise ContentError(f"it is no YAML that can be read ({problem:.100})") from exc


def _check_depth(text: str) -> None:
    """Before anything is built, which takes a call for each level."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_YAML_DEPTH:
            raise ContentError("it is nested deeper than the config of a model")


def _check_document(document: Any) -> None:
    if document is None:
        return
    if isinstance(document, yaml.ScalarNode):  # OmegaConf reads a text once more, as YAML
        raise ContentError("it is a single text and no config")
    _count_nodes(document, {}, [])
    if not isinstance(document, yaml.MappingNode):
        _check_nodes(document, False)
        return
    _check_tag(document)
    for key, value in document.value:
        _check_pair(key, value, False)
        _check_nodes(key, False)
        _check_nodes(value, getattr(key, "value", None) in TRAINING_KEYS)


def _list_children(node: Any) -> list[Any]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _count_nodes(node: Any, known: dict[int, int], above: list[int]) -> int:
    """Nodes below ``node``, aliases written out as OmegaConf does. Raises ContentError when there are too many, or a circle."""
    if id(node) in above:
        raise ContentError("it contains itself")
    if len(above) > MAX_YAML_DEPTH:
        raise ContentError("it is nested deeper than the config of a model")
    if id(node) not in known:
        inside = [*above, id(node)]
        known[id(node)] = 1 + sum(_count_nodes(child, known, inside) for child in _list_children(node))
    if known[id(node)] > MAX_YAML_NODES:
        raise ContentError("its aliases make more of it than a config of a model has")
    return known[id(node)]


def _check_tag(node: Any) -> None:
    if node.tag not in ALLOWED_TAGS:
        raise UnsafeError(f"it has the tag {node.tag:.80}, which no config of a model needs; {TRUST_ADVICE}")


def _check_nodes(node: Any, training: bool) -> None:
    """Check every tag, reference and target below ``node``. Each node is visited once for each of the two rules."""
    seen = set()
    stack: list[tuple[Any, bool]] = [(node, training)]
    while stack:
        node, training = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        _check_tag(node)
        if isinstance(node, yaml.ScalarNode):
            if "${" in REFERENCE.sub("", node.value):
                raise UnsafeError(
                    f"it has the reference {node.value!r:.80}, which can run code or read secrets; {TRUST_ADVICE}"
                )
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                _check_pair(key, value, training)
        stack += [(child, training) for child in _list_children(node)]


def _check_pair(key: Any, value: Any, training: bool) -> None:
    if not isinstance(key, yaml.ScalarNode) or key.value not in CLASS_KEYS:
        return
    if key.value not in TARGET_KEYS and value.tag == "tag:yaml.org,2002:null":
        return
    named = value.value if isinstance(value, yaml.ScalarNode) else "something that is no name"
    if ALLOWED_TARGET.fullmatch(named) or (training and TRAINING_TARGET.fullmatch(named)):
        return
    raise UnsafeError(
        f"its {key.value} {named!r:.100} is no class below ldm, sgm, torch.nn or the WebUI's models, and the WebUI would run it; {TRUST_ADVICE}"
    )

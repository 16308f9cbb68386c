# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages of Hugging Face and Civitai, by the paths of links to them: which name a model, and which name no file."""

from __future__ import annotations

import re

from ..errors import SpecError
from .layout import MODEL_KINDS

OTHER_EXTENSIONS = (".yaml", ".yml", ".json", ".txt", ".md", ".gguf", ".sft", ".zip", ".7z", ".rar", ".tar", ".gz")
MODEL_EXTENSIONS = (*{extension for kind in MODEL_KINDS.values() for extension in kind.extensions}, *OTHER_EXTENSIONS)
CIVITAI_PAGES = (  # what a path names, by the field of its id
    ("version_id", re.compile(r"/api/download/models/(\d+)/?\Z", re.ASCII)),
    ("version_id", re.compile(r"(?:/api/v1)?/model-versions/(\d+)(?:/|\Z)", re.ASCII)),
    ("model_id", re.compile(r"(?:/api/v1)?/models/(\d+)(?:/|\Z)", re.ASCII)),
)
# (which paths name no file, what the page does not name, what to give instead)
OTHER_PAGES = {
    "Hugging Face": (
        re.compile(
            r"/?\Z|/[^/]+/?\Z|/(?:(?:models|datasets|spaces|kernels)/)?[\w.-]+(?:/[\w.-]+)?"
            r"(?:/?|/(?:tree|commits?|blame|discussions|settings|viewer)(?:/.*)?)\Z",
            re.DOTALL,
        ),
        "file",
        "Open the file's own page and copy its link (https://huggingface.co/OWNER/REPO/blob/REVISION/PATH), or write "
        "hf://OWNER/REPO/PATH@REVISION.",
    ),
    "Civitai": (
        re.compile(
            r"(?:/?|/(?:models|model-versions|user|images|posts|articles|collections|bounties|tag|search)(?:/.*)?)\Z",
            re.DOTALL,
        ),
        "model",
        "Copy the link of the model's page (https://civitai.com/models/NUMBER?modelVersionId=NUMBER), or write civitai://VERSION_ID.",
    ),
}


def has_model_extension(name: str) -> bool:
    return name.lower().endswith(MODEL_EXTENSIONS)


def reject_other_page(site: str, path: str | None, shown: str) -> None:
    """Raises SpecError where ``path`` (None: of another host) is a page of ``site`` that names no file. ``shown``: the link for the message.

    A path that ends as a model does is a file nevertheless: a configured mirror may have it.
    """
    pattern, named, advice = OTHER_PAGES[site]
    if path is not None and pattern.match(path) and not has_model_extension(path):
        raise SpecError(f"The link {shown} is a page of {site} and names no {named}. {advice}")

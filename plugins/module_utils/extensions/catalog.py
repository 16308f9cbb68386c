# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Extensions by name: where they live, the commit that was tried, and what their own installers get wrong. Data only.

Where ``packages`` says what an extension needs, that replaces its requirements.txt and its install.py, which run pip at every
start, unpinned, and fight over the same packages. Sources: the extensions' code at these commits, and installs on WebUI 1.10.1.
"""

from __future__ import annotations

from typing import NamedTuple


class CatalogExtension(NamedTuple):
    """One extension of the catalog.

    ``directory`` below extensions/; ``repository`` OWNER/NAME on GitHub; ``commit`` 40 hex digits; ``packages`` requirement
    strings, or None for the extension's own way; ``keep`` distributions whose version stays whatever is asked for;
    ``models`` entries as in model_files; ``files`` what it wants elsewhere (path below ~ or
    the data directory, repository, file and commit on the Hub, SHA-256 or ""); ``debian`` packages that building needs; ``build``
    those of the packages that have no wheels, which are built once and kept; ``arguments`` for launch.py.
    Versions of the WebUI that it does not go with have it among their ``rejected_extensions``.
    """

    directory: str
    repository: str
    commit: str
    licence: str
    note: str
    packages: tuple[str, ...] | None = ()
    keep: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    files: tuple[tuple[str, str, str, str, str], ...] = ()
    debian: tuple[str, ...] = ()
    build: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


# mediapipe after 0.10.15 has no mp.solutions any more. It and onnx ask for a newer protobuf than the WebUI's 3.20.0 and work
# with that one; OpenCV 4.11 is the last one before numpy 2.
MEDIAPIPE = "mediapipe==0.10.15"

# No commit of the detector's repository is known for sure, nor a SHA-256: what the Hub reports for its branch is checked, and the
# hardened check refuses a list of names that is not the detector's.
DETECTOR = "main"

CATALOG: dict[str, CatalogExtension] = {
    "lobe-theme": CatalogExtension(
        directory="sd-webui-lobe-theme",
        repository="lobehub/sd-webui-lobe-theme",
        commit="32b032c2a92f12f332e101cd70d5102cf60e73d3",
        licence="AGPL-3.0",
        note="Another look of the page.",
    ),
    "additional-networks": CatalogExtension(
        directory="sd-webui-additional-networks",
        repository="kohya-ss/sd-webui-additional-networks",
        commit="e9f3d622b5a98650008a685ea23b27eb810da35a",
        licence="AGPL-3.0",
        note="LoRA from before the WebUI had its own; not maintained since May 2023.",
    ),
    "controlnet": CatalogExtension(
        directory="sd-webui-controlnet",
        repository="Mikubill/sd-webui-controlnet",
        commit="56cec5b2958edf3b1807b7e7b2b1b5186dbd2f81",
        licence="GPL-3.0",
        note="Poses, edges and depths as a guide. Its models are chosen by the user (kind controlnet).",
        packages=(
            "fvcore==0.1.5.post20221221",
            MEDIAPIPE,
            "opencv-python==4.11.0.86",
            "svglib==1.5.1",
            "addict==2.4.0",
            "yapf==0.43.0",
            "albumentations==1.4.3",
            "matplotlib==3.10.9",
            "facexlib==0.3.0",
            "timm==0.6.7",
            "controlnet-aux==0.0.9",
            "onnxruntime==1.15.0",
        ),
        keep=("protobuf",),
    ),
    "roop": CatalogExtension(
        directory="sd-webui-roop",
        repository="s0md3v/sd-webui-roop",
        commit="868f7d1bdd0e1dd6656b06d650fd16a7d414892b",
        licence="AGPL-3.0",
        note="Face swaps, with its safety check hardened by roop_nsfw_patch.",
        packages=("insightface==0.7.3", "onnx==1.14.0", "onnxruntime==1.15.0", "ifnude==0.0.3"),
        keep=("protobuf",),
        debian=("g++",),
        build=("insightface==0.7.3",),
        models=("inswapper-128",),
        files=(
            ("~/.ifnude/detector.onnx", "s0md3v/nudity-checker", "detector.onnx", DETECTOR, ""),
            ("~/.ifnude/classes", "s0md3v/nudity-checker", "classes", DETECTOR, ""),
        ),
    ),
    "adetailer": CatalogExtension(
        directory="adetailer",
        repository="Bing-su/adetailer",
        commit="36189cbea735b85fd01e98ac42002b8ce6f0e41d",
        licence="AGPL-3.0",
        note="Finds faces and hands and paints them again.",
        packages=("ultralytics==8.3.75", MEDIAPIPE, "rich==13.9.4"),
        keep=("protobuf",),
        models=("adetailer-face", "adetailer-hand"),
        arguments=("--ad-no-huggingface",),
    ),
}

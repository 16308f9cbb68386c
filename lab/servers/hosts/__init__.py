"""The names of the virtual hosts, and which of them are reached how."""

from __future__ import annotations

from typing import Protocol

from ..web import Request, Response

DOMAIN = "lab.test"
GIT = f"git.{DOMAIN}"
HUB = f"huggingface.{DOMAIN}"
HUB_STORAGE = f"cdn.huggingface.{DOMAIN}"
# the Hub's short name, a mirror that only redirects to the Hub, and one that passes metadata on
HUB_SHORT = f"hf.{DOMAIN}"
HUB_MIRROR = f"hf-mirror.{DOMAIN}"
HUB_PROXY = f"hf-proxy.{DOMAIN}"
CIVITAI = f"civitai.{DOMAIN}"
CIVITAI_STORAGE = f"storage.civitai.{DOMAIN}"
CIVITAI_B2 = f"b2.civitai.{DOMAIN}"
RELEASES = f"releases.{DOMAIN}"
CONDA = f"conda.{DOMAIN}"
WHEELS = f"wheels.{DOMAIN}"
# what the domestic channel and index mirror: on the blocked network
CONDA_OFFICIAL = f"conda-official.{DOMAIN}"
WHEELS_OFFICIAL = f"wheels-official.{DOMAIN}"
# domestic mirrors of what is blocked: git by name and by prefix, and a Hub that serves the bytes itself
GIT_MIRROR = f"git-mirror.{DOMAIN}"
GIT_PREFIX = f"ghproxy.{DOMAIN}"
HUB_MIRROR_CN = f"hf-mirror-cn.{DOMAIN}"
# AutoDL's turbo proxy
TURBO = f"turbo.{DOMAIN}"
# what the gateway claims to be (REALITY serverName)
WWW = f"www.{DOMAIN}"
# files of any size, made while they are sent
BIG = f"big.{DOMAIN}"

BLOCKED = (
    GIT, HUB, HUB_STORAGE, HUB_SHORT, HUB_MIRROR, HUB_PROXY, CIVITAI, CIVITAI_STORAGE, CIVITAI_B2, BIG,
    CONDA_OFFICIAL, WHEELS_OFFICIAL,
)  # fmt: skip
DOMESTIC = (RELEASES, CONDA, WHEELS, GIT_MIRROR, GIT_PREFIX, HUB_MIRROR_CN)
TURBO_HOSTS = (GIT, HUB, HUB_STORAGE, HUB_SHORT)
ALL = (*BLOCKED, *DOMESTIC, WWW)


class Host(Protocol):
    """Answers the requests of one virtual host."""

    def handle(self, request: Request) -> Response: ...

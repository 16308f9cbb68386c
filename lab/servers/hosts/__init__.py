"""The virtual hosts of the lab: name -> what answers there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..web import Request, Response

if TYPE_CHECKING:
    from ..server import LabServer

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
# what the domestic channel and index mirror: behind the wall
CONDA_OFFICIAL = f"conda-official.{DOMAIN}"
WHEELS_OFFICIAL = f"wheels-official.{DOMAIN}"
# domestic mirrors of what is behind the wall: git by name and by prefix, and a Hub that serves the bytes itself
GIT_MIRROR = f"git-mirror.{DOMAIN}"
GIT_PREFIX = f"ghproxy.{DOMAIN}"
HUB_MIRROR_CN = f"hf-mirror-cn.{DOMAIN}"
# the proxy of AutoDL's acceleration
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
ACCELERATED = (GIT, HUB, HUB_STORAGE, HUB_SHORT)
ALL = (*BLOCKED, *DOMESTIC, WWW)


class Host(Protocol):
    """Answers the requests of one virtual host."""

    def handle(self, request: Request) -> Response: ...


def make_hosts(lab_server: LabServer) -> dict[str, Host]:
    """One object per virtual host over ``lab_server.root``."""
    from .big import BigHost
    from .civitai import BackblazeStorage, CivitaiHost, CivitaiStorage
    from .files import FilesHost, WelcomeHost, WheelsHost
    from .git import GitHost
    from .huggingface import HubHost, HubMirror, HubRedirect, HubStorage
    from .prefix import PrefixMirror

    hub = HubHost(lab_server)
    git, conda, wheels = (
        GitHost(lab_server.root / "git"),
        FilesHost(lab_server.root / "conda"),
        WheelsHost(lab_server.root / "wheels"),
    )
    return {
        GIT: git,
        GIT_MIRROR: git,
        GIT_PREFIX: PrefixMirror({GIT: git}),
        HUB: hub,
        HUB_SHORT: HubRedirect(lab_server, 307),
        HUB_MIRROR: HubRedirect(lab_server, 308),
        HUB_PROXY: hub,
        HUB_MIRROR_CN: HubMirror(lab_server),
        HUB_STORAGE: HubStorage(lab_server),
        CIVITAI: CivitaiHost(lab_server, lab_server.root / "civitai"),
        CIVITAI_STORAGE: CivitaiStorage(lab_server, lab_server.root / "civitai"),
        CIVITAI_B2: BackblazeStorage(lab_server, lab_server.root / "civitai"),
        BIG: BigHost(),
        RELEASES: FilesHost(lab_server.root / "releases"),
        CONDA: conda,
        CONDA_OFFICIAL: conda,
        WHEELS: wheels,
        WHEELS_OFFICIAL: wheels,
        WWW: WelcomeHost(),
        DOMAIN: WelcomeHost(),
    }

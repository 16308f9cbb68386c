"""The virtual hosts of the lab world: name -> what answers there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..web import Request, Response

if TYPE_CHECKING:
    from ..server import WorldServer

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
# what the gateway claims to be (REALITY serverName)
WWW = f"www.{DOMAIN}"
# files of any size, made while they are sent
BIG = f"big.{DOMAIN}"

BLOCKED = (
    GIT, HUB, HUB_STORAGE, HUB_SHORT, HUB_MIRROR, HUB_PROXY, CIVITAI, CIVITAI_STORAGE, CIVITAI_B2, BIG,
)  # fmt: skip
DOMESTIC = (RELEASES, CONDA, WHEELS)
ALL = (*BLOCKED, *DOMESTIC, WWW)


class Host(Protocol):
    """Answers the requests of one virtual host."""

    def handle(self, request: Request) -> Response: ...


def make_hosts(world: WorldServer) -> dict[str, Host]:
    """One object per virtual host over ``world.root``."""
    from .big import BigHost
    from .civitai import BackblazeStorage, CivitaiHost, CivitaiStorage
    from .files import FilesHost, WelcomeHost, WheelsHost
    from .git import GitHost
    from .huggingface import HubHost, HubRedirect, HubStorage

    hub = HubHost(world)
    return {
        GIT: GitHost(world.root / "git"),
        HUB: hub,
        HUB_SHORT: HubRedirect(world, 307),
        HUB_MIRROR: HubRedirect(world, 308),
        HUB_PROXY: hub,
        HUB_STORAGE: HubStorage(world),
        CIVITAI: CivitaiHost(world, world.root / "civitai"),
        CIVITAI_STORAGE: CivitaiStorage(world, world.root / "civitai"),
        CIVITAI_B2: BackblazeStorage(world, world.root / "civitai"),
        BIG: BigHost(),
        RELEASES: FilesHost(world.root / "releases"),
        CONDA: FilesHost(world.root / "conda"),
        WHEELS: WheelsHost(world.root / "wheels"),
        WWW: WelcomeHost(),
        DOMAIN: WelcomeHost(),
    }

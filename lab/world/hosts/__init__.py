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
CIVITAI = f"civitai.{DOMAIN}"
CIVITAI_STORAGE = f"storage.civitai.{DOMAIN}"
RELEASES = f"releases.{DOMAIN}"
CONDA = f"conda.{DOMAIN}"
WHEELS = f"wheels.{DOMAIN}"
# what the gateway claims to be (REALITY serverName)
WWW = f"www.{DOMAIN}"

BLOCKED = (GIT, HUB, HUB_STORAGE, CIVITAI, CIVITAI_STORAGE)
DOMESTIC = (RELEASES, CONDA, WHEELS)
ALL = (*BLOCKED, *DOMESTIC, WWW)


class Host(Protocol):
    """Answers the requests of one virtual host."""

    def handle(self, request: Request) -> Response: ...


def make_hosts(world: WorldServer) -> dict[str, Host]:
    """One object per virtual host over ``world.root``."""
    from .civitai import CivitaiHost, CivitaiStorage
    from .files import FilesHost, WelcomeHost, WheelsHost
    from .git import GitHost
    from .huggingface import HubHost, HubStorage

    return {
        GIT: GitHost(world.root / "git"),
        HUB: HubHost(world, world.root / "huggingface"),
        HUB_STORAGE: HubStorage(world, world.root / "huggingface"),
        CIVITAI: CivitaiHost(world, world.root / "civitai"),
        CIVITAI_STORAGE: CivitaiStorage(world, world.root / "civitai"),
        RELEASES: FilesHost(world.root / "releases"),
        CONDA: FilesHost(world.root / "conda"),
        WHEELS: WheelsHost(world.root / "wheels"),
        WWW: WelcomeHost(),
        DOMAIN: WelcomeHost(),
    }

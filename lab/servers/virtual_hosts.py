"""The virtual hosts of the lab: name -> what answers there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import hosts
from .hosts.big import BigHost
from .hosts.civitai import BackblazeStorage, CivitaiHost, CivitaiStorage
from .hosts.files import FilesHost, WelcomeHost, WheelsHost
from .hosts.git import GitHost
from .hosts.huggingface import HubHost, HubMirror, HubRedirect, HubStorage
from .hosts.prefix import PrefixMirror

if TYPE_CHECKING:
    from .server import LabServer


def make_hosts(lab_server: LabServer) -> dict[str, hosts.Host]:
    """One object per virtual host over ``lab_server.root``."""
    hub = HubHost(lab_server)
    git, conda, wheels = (
        GitHost(lab_server.root / "git"),
        FilesHost(lab_server.root / "conda"),
        WheelsHost(lab_server.root / "wheels"),
    )
    return {
        hosts.GIT: git,
        hosts.GIT_MIRROR: git,
        hosts.GIT_PREFIX: PrefixMirror({hosts.GIT: git}),
        hosts.HUB: hub,
        hosts.HUB_SHORT: HubRedirect(lab_server, 307),
        hosts.HUB_MIRROR: HubRedirect(lab_server, 308),
        hosts.HUB_PROXY: hub,
        hosts.HUB_MIRROR_CN: HubMirror(lab_server),
        hosts.HUB_STORAGE: HubStorage(lab_server),
        hosts.CIVITAI: CivitaiHost(lab_server, lab_server.root / "civitai"),
        hosts.CIVITAI_STORAGE: CivitaiStorage(lab_server, lab_server.root / "civitai"),
        hosts.CIVITAI_B2: BackblazeStorage(lab_server, lab_server.root / "civitai"),
        hosts.BIG: BigHost(),
        hosts.RELEASES: FilesHost(lab_server.root / "releases"),
        hosts.CONDA: conda,
        hosts.CONDA_OFFICIAL: conda,
        hosts.WHEELS: wheels,
        hosts.WHEELS_OFFICIAL: wheels,
        hosts.WWW: WelcomeHost(),
        hosts.DOMAIN: WelcomeHost(),
    }

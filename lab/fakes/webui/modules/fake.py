"""Who we are: said in the banner, on the page, in the infotext and in the server's name."""

from __future__ import annotations

NAME = "sdops lab fake of stable-diffusion-webui"
CONTRACT = "1.10.1"
BANNER = f"{NAME} {CONTRACT}: this is not the real WebUI, it draws landscapes and diffuses nothing"
SERVER = f"sdops-lab-fake/{CONTRACT}"


def infotext_version(tag: str) -> str:
    """The ``Version`` entry of an infotext, from the git tag ('<none>' outside a git checkout)."""
    return f"{tag if tag != '<none>' else CONTRACT}-sdops-fake"

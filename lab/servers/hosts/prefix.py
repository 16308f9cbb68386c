"""ghproxy.lab.test: a mirror that is put before the whole address, https://ghproxy.lab.test/https://git.lab.test/OWNER/NAME.git."""

from __future__ import annotations

import re
from dataclasses import replace

from ..web import Request, Response, text
from . import Host


class PrefixMirror:
    """Hands a request on to the host whose address begins the path; only to those in ``originals``, by name."""

    def __init__(self, originals: dict[str, Host]) -> None:
        self._originals = originals

    def handle(self, request: Request) -> Response:
        # some clients make one slash of two
        found = re.fullmatch(r"/(?:https:/{1,2})?([a-z0-9.-]+)(/.*)?", request.raw_path)
        original = self._originals.get(found[1]) if found else None
        if found is None or original is None:
            message = f"A lab fake of a mirror by prefix: put https://{request.authority}/ before the address.\n"
            return text(200 if request.raw_path == "/" else 403, message)
        return original.handle(replace(request, host=found[1], authority=found[1], raw_path=found[2] or "/"))

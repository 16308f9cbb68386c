"""TCP ports of this machine that are free.

The search itself is in ``lab.xray.launcher``, which is installed on targets as one file.
"""

from __future__ import annotations

from .xray.launcher import free_port

__all__ = ["free_port", "free_ports"]


def free_ports(count: int) -> list[int]:
    """``count`` different ports."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return list(found)

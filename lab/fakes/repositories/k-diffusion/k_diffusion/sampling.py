"""sdops lab fake of k_diffusion.sampling: the schedule of Karras et al. 2022, equation 5, on plain floats."""

from __future__ import annotations

__fake__ = True


def get_sigmas_karras(n: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> list[float]:
    """``n`` noise levels from ``sigma_max`` down to ``sigma_min``, then 0."""
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return [(high + i / max(1, n - 1) * (low - high)) ** rho for i in range(n)] + [0.0]

"""sdops lab stand-in for the package k_diffusion (not the real one)."""

__standin__ = True

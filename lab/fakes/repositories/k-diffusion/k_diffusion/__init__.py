"""sdops lab fake of the package k_diffusion (not the real one)."""

__fake__ = True

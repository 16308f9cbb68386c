"""sdops lab stand-in for ldm.models.diffusion."""

__standin__ = True

"""sdops lab fake of ldm.models.diffusion."""

__fake__ = True

"""sdops lab fake of ldm.models.diffusion.ddpm: by this file the WebUI recognizes the repository."""

__fake__ = True

"""sdops lab stand-in for ldm.models.diffusion.ddpm: by this file the WebUI recognizes the repository."""

__standin__ = True

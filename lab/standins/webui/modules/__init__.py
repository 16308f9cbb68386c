"""Modules of the sdops lab stand-in for stable-diffusion-webui (not the real WebUI)."""

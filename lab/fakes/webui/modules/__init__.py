"""Modules of the sdops lab fake of stable-diffusion-webui (not the real WebUI)."""

"""sdops lab stand-in for models.blip: by this file the WebUI recognizes the repository."""

__standin__ = True

"""sdops lab fake of models.blip: by this file the WebUI recognizes the repository."""

__fake__ = True

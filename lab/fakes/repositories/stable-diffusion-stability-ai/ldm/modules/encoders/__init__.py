"""sdops lab fake of ldm.modules.encoders."""

__fake__ = True

"""sdops lab fake of ldm.models."""

__fake__ = True

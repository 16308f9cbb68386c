"""sdops lab fake of the package ldm (not the real one)."""

__fake__ = True

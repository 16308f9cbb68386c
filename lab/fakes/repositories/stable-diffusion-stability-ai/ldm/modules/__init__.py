"""sdops lab fake of ldm.modules."""

__fake__ = True

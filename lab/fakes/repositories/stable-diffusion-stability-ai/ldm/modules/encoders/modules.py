"""sdops lab fake of ldm.modules.encoders.modules."""

__fake__ = True

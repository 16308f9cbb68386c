"""sdops lab stand-in for ldm.models."""

__standin__ = True

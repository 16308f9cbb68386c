"""sdops lab stand-in for the package ldm (not the real one)."""

__standin__ = True

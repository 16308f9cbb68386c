"""sdops lab stand-in for ldm.modules."""

__standin__ = True

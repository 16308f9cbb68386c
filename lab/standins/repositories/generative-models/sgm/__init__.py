"""sdops lab stand-in for the package sgm (not the real one)."""

__standin__ = True

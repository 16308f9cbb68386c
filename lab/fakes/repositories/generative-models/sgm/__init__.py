"""sdops lab fake of the package sgm (not the real one)."""

__fake__ = True

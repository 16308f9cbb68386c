"""sdops lab fake of the package models of BLIP (not the real one)."""

__fake__ = True

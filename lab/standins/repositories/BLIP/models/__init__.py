"""sdops lab stand-in for the package models of BLIP (not the real one)."""

__standin__ = True

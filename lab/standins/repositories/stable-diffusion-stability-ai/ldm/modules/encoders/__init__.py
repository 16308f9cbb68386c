"""sdops lab stand-in for ldm.modules.encoders."""

__standin__ = True

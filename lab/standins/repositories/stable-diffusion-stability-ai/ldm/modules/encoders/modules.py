"""sdops lab stand-in for ldm.modules.encoders.modules."""

__standin__ = True

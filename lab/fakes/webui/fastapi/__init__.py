"""sdops lab fake of fastapi, as far as the fake WebUI needs it: the class of an ASGI application (not the real one)."""

from .applications import FastAPI

__all__ = ["FastAPI"]

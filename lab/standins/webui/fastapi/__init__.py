"""sdops lab stand-in for fastapi, as far as the stand-in WebUI needs it: the class of an ASGI application (not the real one)."""

from .applications import FastAPI

__all__ = ["FastAPI"]

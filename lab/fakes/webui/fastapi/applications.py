"""The application that the server calls for every request, by the ASGI interface, as the real one."""

from __future__ import annotations

from typing import Any, Awaitable, Callable, Dict

Message = Dict[str, Any]


class FastAPI:
    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        await self.answer(scope, receive, send)

    async def answer(self, scope: Message, receive: Any, send: Any) -> None:
        raise NotImplementedError

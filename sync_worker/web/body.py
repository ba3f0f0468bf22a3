"""Reading a request's body, up to a limit."""

from __future__ import annotations

from starlette.types import Receive


async def read(announced: str | None, receive: Receive, limit: int) -> bytes | None:
    """The whole body, or None as soon as it is known to be larger than ``limit`` bytes.

    ``announced``: the request's content-length, if it has one.
    """
    if announced is not None and announced.isdigit() and int(announced) > limit:
        return None
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        return body if len(body) <= limit else None
    chunks, size = [body], len(body)
    while message.get("more_body", False) and size <= limit:
        message = await receive()
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
    return b"".join(chunks) if size <= limit else None

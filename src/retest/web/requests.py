"""Reading requests: bounded bodies and the fields of forms."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request

__all__ = ["MAX_FORM_BYTES", "form_fields", "read_body"]

MAX_FORM_BYTES = 131_072
_MAX_FIELDS = 1000


async def read_body(request: Request, limit: int) -> bytes:
    """The body, read up to one byte beyond ``limit``: a longer one shows by its length."""
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > limit:
            break
    return b"".join(parts)[: limit + 1]


async def form_fields(request: Request) -> list[tuple[str, str]]:
    """Fields of a URL-encoded form in order.

    Raises:
        HTTPException: 413 if it is too large, 400 if it is no such form.
    """
    body = await read_body(request, MAX_FORM_BYTES)
    if len(body) > MAX_FORM_BYTES:
        raise HTTPException(413, f"The form is larger than {MAX_FORM_BYTES} bytes.")
    try:
        return parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise HTTPException(400, "The form cannot be read.") from None

"""How the application is served: uvicorn's settings, and whose forwarded headers are believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette

from retest.web.options import ServerOptions

if TYPE_CHECKING:
    import uvicorn

__all__ = ["server_config"]


def server_config(app: Starlette, *, options: ServerOptions) -> uvicorn.Config:
    """Settings for ``uvicorn.Server``.

    ``X-Forwarded-For`` and ``X-Forwarded-Proto`` are read from ``options.trusted_proxies`` only, and uvicorn's variable
    ``FORWARDED_ALLOW_IPS`` is not: its default believes every program of this machine.
    """
    import uvicorn

    # No access log: addresses hold assignment ids and Prolific ids.
    # Idle connections outlive those of web servers in front (60 s), which otherwise send into closed ones.
    return uvicorn.Config(
        app,
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
        proxy_headers=bool(options.trusted_proxies),
        forwarded_allow_ips=list(options.trusted_proxies),
    )

"""Options of ``retest serve``: where the server listens and whom it believes, and how the review pages run."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from retest.cli._common import F, grouped_options
from retest.errors import UsageError
from retest.study import Study

if TYPE_CHECKING:
    from retest.web import ReviewOptions, ServerOptions

__all__ = ["Listening", "ReviewChoice", "listening_options", "review_options"]


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the server listens, the address that people use, and whom it believes."""

    host: str
    port: int
    public_url: str | None
    trusted_proxies: tuple[str, ...]
    open_workers: bool

    def socket(self) -> socket.socket:
        """A listening socket, made here so that a port that is taken is one readable line.

        Raises:
            UsageError: if the address cannot be used.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        # With the protocol named, asyncio turns Nagle's algorithm off; else pages wait 40 ms for a delayed acknowledgement.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self.host, self.port))
        except OSError as error:
            listener.close()
            problem = f"cannot be listened on ({error.strerror or error})"
            raise UsageError(problem, item=f"{self.host} port {self.port}", remedy="Choose another --port or --host") from error
        return listener

    def options(self, study: Study, *, port: int) -> ServerOptions:
        """For the server at ``port``, with the secrets of the environment.

        Raises:
            ConfigError: ``public_url`` is no address.
            UsageError: others could reach the server without keys, or a key or a proxy's address is wrong.
        """
        from retest.web import ServerOptions, keys_from_environment, worker_key_from_environment

        return ServerOptions(
            host=self.host,
            port=port,
            public_url=study.config.serve.public_url if self.public_url is None else self.public_url,
            requester_keys=keys_from_environment(os.environ),
            worker_key=worker_key_from_environment(os.environ),
            open_workers=self.open_workers,
            trusted_proxies=self.trusted_proxies,
        )


def listening_options(command: F) -> F:
    """``--host``, ``--port``, ``--public-url``, ``--trusted-proxy`` and ``--open-workers``, handed over as ``listening``."""
    return grouped_options(
        "listening",
        Listening,
        click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on."),
        click.option(
            "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one."
        ),
        click.option(
            "--public-url", default=None, help="Address that annotators open; default: [serve] public_url, else this machine only."
        ),
        click.option(
            "--trusted-proxy",
            "trusted_proxies",
            multiple=True,
            metavar="ADDRESS",
            help="Address or network of the web server in front; its X-Forwarded-For is believed. May be given several times.",
        ),
        click.option("--open-workers", is_flag=True, help="Believe the worker id in a task's URL (rehearsals, trusted networks)."),
    )(command)


@dataclass(frozen=True, slots=True)
class ReviewChoice:
    """What reviewers may do and see, and who sends them the images."""

    read_only: bool
    image_cache: Path | None
    image_urls: Literal["proxied", "signed", "cached"]
    image_url_s: int
    predictions: tuple[Path, ...]

    def options(self, study: Study, *, local_admin: str | None) -> ReviewOptions:
        """For the review pages of a study; ``local_admin`` is who signs in by the link that is printed.

        Raises:
            UsageError: the options contradict each other, or the key of the sessions is too short.
            StoreError: that key cannot be kept.
        """
        from retest.web import ReviewOptions, session_key

        return ReviewOptions(
            key=session_key(study.folder, os.environ),
            read_only=self.read_only,
            local_admin=local_admin,
            image_cache=self.image_cache,
            image_urls=self.image_urls,
            image_url_s=self.image_url_s,
            predictions=self.predictions,
        )


def review_options(command: F) -> F:
    """``--read-only``, ``--image-cache``, ``--image-urls``, ``--image-url-seconds`` and ``--predictions``, handed over as ``reviewing``."""
    return grouped_options(
        "reviewing",
        ReviewChoice,
        click.option("--read-only", is_flag=True, help="Reviewers may look, but not decide."),
        click.option(
            "--image-cache",
            type=click.Path(path_type=Path, file_okay=False),
            default=None,
            help="Folder that keeps images of a remote blob store (also one made by retest download --local-cache).",
        ),
        click.option(
            "--image-urls",
            type=click.Choice(["proxied", "signed", "cached"]),
            default="proxied",
            show_default=True,
            help="Who sends reviewers the images: this server; the object store, at signed addresses that expire; or --image-cache alone.",
        ),
        click.option(
            "--image-url-seconds",
            "image_url_s",
            type=click.IntRange(60, 604800),
            default=3600,
            show_default=True,
            help="With --image-urls signed: seconds until an address expires.",
        ),
        click.option(
            "--predictions",
            multiple=True,
            type=click.Path(path_type=Path, file_okay=False, exists=True),
            help="Folder of retest evaluate --out whose predictions reviewers see beside the study's own. May be given several times.",
        ),
    )(command)

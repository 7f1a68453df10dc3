"""``retest serve``: the labelling and review pages of a study."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Literal

import click

from retest.cli._common import opened, stamp_now, study_option
from retest.errors import UsageError

ImageUrls = Literal["proxied", "signed", "cached"]


@click.command()
@study_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one.")
@click.option("--public-url", default=None, help="Address that annotators open; default: [serve] public_url, else this machine only.")
@click.option(
    "--trusted-proxy",
    "trusted_proxies",
    multiple=True,
    metavar="ADDRESS",
    help="Address or network of the web server in front; its X-Forwarded-For is believed. May be given several times.",
)
@click.option("--open-workers", is_flag=True, help="Believe the worker id in a task's URL (rehearsals, trusted networks).")
@click.option("--admin-link", is_flag=True, help="Print a link that signs you in to the review pages; for a server on this machine only.")
@click.option("--read-only", is_flag=True, help="Reviewers may look, but not decide.")
@click.option(
    "--image-cache",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Folder that keeps images of a remote blob store (also one made by retest download --local-cache).",
)
@click.option(
    "--image-urls",
    type=click.Choice(["proxied", "signed", "cached"]),
    default="proxied",
    show_default=True,
    help="Who sends reviewers the images: this server; the object store, at signed addresses that expire; or --image-cache alone.",
)
@click.option(
    "--image-url-seconds",
    type=click.IntRange(60, 604800),
    default=3600,
    show_default=True,
    help="With --image-urls signed: seconds until an address expires.",
)
@click.option(
    "--predictions",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder of retest evaluate --out whose predictions reviewers see beside the study's own. May be given several times.",
)
def serve(
    study_folder: Path,
    host: str,
    port: int,
    public_url: str | None,
    trusted_proxies: tuple[str, ...],
    open_workers: bool,
    admin_link: bool,
    read_only: bool,
    image_cache: Path | None,
    image_urls: ImageUrls,
    image_url_seconds: int,
    predictions: tuple[Path, ...],
) -> None:
    """Serve the study's labelling pages, its review pages (/review) and the Mechanical Turk requester protocol. Stop with Ctrl+C.

    Reviewers sign in with tokens: see retest people.

    Secrets come from the environment: RETEST_WORKER_KEY (hashes worker ids), RETEST_SERVER_KEY_ID and RETEST_SERVER_SECRET_KEY (then
    every request of the protocol must be signed; needed as soon as others can reach the server), RETEST_REVIEW_KEY (signs the sessions
    of reviewers; by default a file review.key in the study's folder).

    \b
    Examples:
      retest serve --study my-study --admin-link
      retest serve --study my-study --image-cache images --image-urls cached
      retest serve --study my-study --port 8000 --public-url https://label.example.org --trusted-proxy 127.0.0.1
    """
    import logging

    import uvicorn

    from retest.web import ReviewOptions, ServerOptions, create_app, keys_from_environment, local_link, server_config, session_key
    from retest.web import worker_key_from_environment as worker_key

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    with opened(study_folder) as study:
        listener = _listen(host, port)
        with listener:
            options = ServerOptions(
                host=host,
                port=listener.getsockname()[1],
                public_url=study.config.serve.public_url if public_url is None else public_url,
                requester_keys=keys_from_environment(os.environ),
                worker_key=worker_key(os.environ),
                open_workers=open_workers,
                trusted_proxies=trusted_proxies,
            )
            if admin_link and not options.is_local:
                raise UsageError(
                    "others can reach this server, and the link makes an admin of whoever has it",
                    item="--admin-link",
                    remedy="Give yourself a token: retest people add --study STUDY --name NAME --role admin",
                )
            review = ReviewOptions(
                key=session_key(study.folder, os.environ),
                read_only=read_only,
                local_admin=stamp_now().user if admin_link else None,
                image_cache=image_cache,
                image_urls=image_urls,
                image_url_s=image_url_seconds,
                predictions=predictions,
            )
            app = create_app(study, options=options, review=review)
            click.echo(f"Serving {study.config.study.name} at {options.public_url} (listening on {host} port {options.port})")
            if admin_link:
                click.echo(f"Review pages: {local_link(app.state.review_desk, options.public_url)}")
            else:
                click.echo(f"Review pages: {options.public_url}/review (tokens: retest people add)")
            uvicorn.Server(server_config(app, options=options)).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, made here so that a port that is taken is one readable line.

    Raises:
        UsageError: if the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's algorithm off; else pages wait 40 ms for a delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UsageError(
            f"cannot be listened on ({error.strerror or error})", item=f"{host} port {port}", remedy="Choose another --port or --host"
        ) from error
    return listener

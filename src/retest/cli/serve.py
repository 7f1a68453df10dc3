"""``retest serve``: the labelling and review pages of a study."""

from __future__ import annotations

from pathlib import Path

import click

from retest.cli._common import opened, stamp_now, study_option
from retest.cli._serve_options import Listening, ReviewChoice, listening_options, review_options
from retest.errors import UsageError


@click.command()
@study_option
@listening_options
@click.option("--admin-link", is_flag=True, help="Print a link that signs you in to the review pages; for a server on this machine only.")
@review_options
def serve(study_folder: Path, listening: Listening, reviewing: ReviewChoice, admin_link: bool) -> None:
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

    from retest.web import create_app, local_link, server_config

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    with opened(study_folder) as study, listening.socket() as listener:
        options = listening.options(study, port=listener.getsockname()[1])
        if admin_link and not options.is_local:
            raise UsageError(
                "others can reach this server, and the link makes an admin of whoever has it",
                item="--admin-link",
                remedy="Give yourself a token: retest people add --study STUDY --name NAME --role admin",
            )
        review = reviewing.options(study, local_admin=stamp_now().user if admin_link else None)
        app = create_app(study, options=options, review=review)
        click.echo(f"Serving {study.config.study.name} at {options.public_url} (listening on {options.host} port {options.port})")
        if admin_link:
            click.echo(f"Review pages: {local_link(app.state.review_desk, options.public_url)}")
        else:
            click.echo(f"Review pages: {options.public_url}/review (tokens: retest people add)")
        uvicorn.Server(server_config(app, options=options)).run(sockets=[listener])

"""Which crowd a labelling command talks to: the simulated one, the study's own server, or Mechanical Turk's protocol elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import click

from retest.cli._common import F, bars, grouped_options
from retest.crowd import BACKENDS, Crowd, CrowdParameters, MTurkCrowd, SimulatedCrowdParameters
from retest.errors import UsageError
from retest.study import Study

LOCAL_SERVER = "http://127.0.0.1:8000"
_SIMULATED_START = "2026-01-01T00:00:00+00:00"
_AMAZON = ".amazonaws.com"


@dataclass(frozen=True, slots=True)
class CrowdChoice:
    """What the options of a command say; None leaves it to ``[crowd]`` of study.toml."""

    backend: str | None
    endpoint: str | None
    live: bool | None
    seed: int


def crowd_options(command: F) -> F:
    """``--crowd``, ``--endpoint``, ``--live/--sandbox`` and ``--seed``, handed over as one ``choice``."""
    return grouped_options(
        "choice",
        CrowdChoice,
        click.option("--crowd", "backend", type=click.Choice(BACKENDS), default=None, help="Who answers; default: [crowd] backend."),
        click.option("--endpoint", default=None, metavar="URL", help="Server that speaks the MTurk protocol; default: [crowd] endpoint."),
        click.option("--live/--sandbox", default=None, help="Mechanical Turk for real money, or its sandbox; default: [crowd] live."),
        click.option("--seed", default=0, show_default=True, help="Seed of the simulated annotators."),
    )(command)


def parameters_of(study: Study, choice: CrowdChoice) -> CrowdParameters:
    """The study's crowd settings with the options of the command.

    Raises:
        ConfigError: if they contradict each other.
    """
    settings = study.config.crowd
    backend = choice.backend or settings.backend
    endpoint = settings.endpoint if choice.endpoint is None else choice.endpoint
    if backend == "server" and not endpoint:
        endpoint = study.config.serve.public_url or LOCAL_SERVER
    return replace(settings, backend=backend, endpoint=endpoint, live=settings.live if choice.live is None else choice.live)


@contextmanager
def opened_crowd(study: Study, choice: CrowdChoice) -> Iterator[Crowd]:
    """The crowd of a command.

    Raises:
        UsageError: if RETEST_WORKER_KEY is needed and not set.
    """
    parameters = parameters_of(study, choice)
    if parameters.backend == "simulated":
        from retest.stages.simulate import simulated_crowd

        skills = SimulatedCrowdParameters(seed=choice.seed)
        with simulated_crowd(study, parameters=skills, start_time=_SIMULATED_START, progress=bars) as crowd:
            yield crowd
        return
    from retest.web.options import keys_from_environment, worker_key_from_environment

    worker_key = worker_key_from_environment(os.environ)
    if worker_key is None:
        raise UsageError(
            "is not set; answers are stored under a keyed hash of the worker id",
            item="RETEST_WORKER_KEY",
            remedy="Set it to at least 16 secret bytes and keep them: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )
    # Amazon's keys lie in boto3's usual places; the ones of the own server never go to Amazon.
    own = bool(parameters.endpoint) and not parameters.endpoint.rstrip("/").endswith(_AMAZON)
    yield MTurkCrowd(parameters, worker_key=worker_key, keys=keys_from_environment(os.environ) if own else None)


def image_url_of(study: Study, choice: CrowdChoice, given: str | None) -> str:
    """Where annotators' browsers find the images: relative to the page on the own server, else an address.

    Raises:
        UsageError: if it is not known.
    """
    parameters = parameters_of(study, choice)
    if parameters.backend == "simulated":
        return ""
    if given:
        return given.rstrip("/")
    if parameters.backend == "server":
        return "."
    address = study.config.serve.public_url or ("" if parameters.endpoint.rstrip("/").endswith(_AMAZON) else parameters.endpoint)
    if not address:
        raise UsageError(
            "nobody could see the images",
            item="--image-url",
            remedy="Give the address that serves the study's public/ images: retest serve",
        )
    return address.rstrip("/")

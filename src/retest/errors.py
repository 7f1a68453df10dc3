"""The one tree of errors: each says what is wrong, with which item, and the remedy.

The command line prints a :class:`RetestError` as one or two lines and exits with its ``exit_code``; a traceback is
shown only with ``--debug``. Library users can catch :class:`RetestError` or one of its branches.
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "ConflictError",
    "CrowdError",
    "ImageError",
    "InputError",
    "MissingExtraError",
    "NotFoundError",
    "RetestError",
    "SamplingError",
    "SourceError",
    "StageError",
    "StoreError",
    "UsageError",
]


class RetestError(Exception):
    """Base of every error that retest raises on purpose.

    Args:
        problem: what is wrong, in one sentence without a final full stop.
        item: the thing it concerns (a file, an id, a class, a setting), if there is one.
        remedy: what the reader can do about it.
    """

    exit_code = 1

    def __init__(self, problem: str, *, item: str | None = None, remedy: str | None = None) -> None:
        self.problem = problem
        self.item = item
        self.remedy = remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        text = self.problem if self.item is None else f"{self.item}: {self.problem}"
        return text if self.remedy is None else f"{text}. {self.remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (executors); rebuild them from their parts instead of from the message.
        return (_rebuild, (type(self), self.problem, self.item, self.remedy))


def _rebuild(kind: type[RetestError], problem: str, item: str | None, remedy: str | None) -> RetestError:
    return kind(problem, item=item, remedy=remedy)


class UsageError(RetestError):
    """An argument or option is wrong; nothing was done."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting in ``study.toml`` (or a parameter of the same dataclass) is missing, unknown or out of range."""


class InputError(RetestError):
    """Data from outside (a file, an API answer) is not what it should be."""


class ImageError(InputError):
    """Bytes that cannot be used as an image. ``reason`` is the short code stored with the exclusion."""

    def __init__(self, problem: str, *, item: str | None = None, remedy: str | None = None, reason: str = "not_an_image") -> None:
        self.reason = reason
        super().__init__(problem, item=item, remedy=remedy)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_image, (self.problem, self.item, self.remedy, self.reason))


def _rebuild_image(problem: str, item: str | None, remedy: str | None, reason: str) -> ImageError:
    return ImageError(problem, item=item, remedy=remedy, reason=reason)


class StoreError(RetestError):
    """The study's database or blob store cannot do what was asked (absent, full, locked, inconsistent)."""


class NotFoundError(StoreError):
    """Something named does not exist in the study."""


class ConflictError(StoreError):
    """Something that must not change already exists with other content."""


class StageError(RetestError):
    """A stage cannot run: an earlier stage is missing or incomplete, or a check fails."""


class CrowdError(RetestError):
    """The crowd back end refused or failed."""


class SourceError(RetestError):
    """A source of candidates refused or failed."""


class SamplingError(RetestError):
    """A test set cannot be sampled as asked."""


class MissingExtraError(RetestError):
    """An optional dependency is not installed."""

    def __init__(self, module: str, extra: str) -> None:
        self.module, self.extra = module, extra
        super().__init__(
            f"the optional package {module!r} is not installed",
            remedy=f"Install it with: pip install 'retest[{extra}]'",
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (MissingExtraError, (self.module, self.extra))

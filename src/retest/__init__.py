"""retest: does my benchmark's test set still measure what it should?

Builds a new test set for an existing image-classification benchmark the way ImageNetV2 did for ImageNet, and puts
models to the test on it. Importing this package is light: rooms are imported when they are used.

In Python, begin with ``retest.datasets`` (a study, and published data sets, as objects), ``retest.analysis`` (accuracies, intervals,
fits) and ``retest.models`` (classifiers on test sets). ``dir(retest)`` lists the rooms with public names, ``help(retest.analysis)`` tells
what one offers.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_ROOMS = {"analysis", "benchmarks", "crowd", "datasets", "duplicates", "errors", "images", "labeling", "models"}
_ROOMS |= {"neighbors", "records", "report", "sampling", "sources", "store", "study", "testing"}

# Hidden from type checkers: to them a misspelt room would be one that says nothing about its types.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> ModuleType:
        """A room, imported at its first use: ``import retest; retest.analysis.wilson(...)``."""
        if name not in _ROOMS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted(_ROOMS | {name for name in globals() if name.startswith("__")})

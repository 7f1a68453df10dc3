"""One place that decides how kernels are compiled.

Every kernel is called with exactly one combination of argument types (the callers convert), so that each compiles once,
and its cache entry has the same content whichever process writes it: several processes may start on an empty cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile ``function`` on first call, without the interpreter lock and with strict IEEE arithmetic.

    No fast-math flag: sums keep the written order, so a figure does not depend on the vector width of the machine.
    The compiled code is cached beside the module, or in the user's cache folder where the package is read-only
    (``NUMBA_CACHE_DIR`` chooses another one), or not at all where neither can be written.
    """
    return _compile(function)


def helper(function: F) -> F:
    """The same for a part of a kernel, which Python cannot call: that halves the time to compile it."""
    return _compile(function, no_cpython_wrapper=True)


def _compile(function: F, **options: bool) -> F:
    try:
        return cast(F, njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True, **options)(function))
    except RuntimeError:  # numba's way of saying that no cache folder can be written
        return cast(F, njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True, **options)(function))

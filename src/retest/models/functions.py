"""Models and featurisers from code of one's own: ``module:name``."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retest.errors import RetestError, UsageError
from retest.models.base import Classifier

_REMEDY = "Check the name and that the module is installed"


def call_function(spec: str, *, study: Any = None) -> dict[str, Any]:
    """Import and call ``module:function``; the current folder counts. A function that takes an argument gets the open study.

    Returns:
        name -> :class:`~retest.models.base.Classifier`, or pair (torch module, preprocessing). One pair without a name bears the
        function's.

    Raises:
        UsageError: it cannot be imported, fails, needs a study that is not given, or returns something else.
    """
    function = spec.partition(":")[2]
    if not function:
        raise UsageError(f"{spec!r} names no function", item="--models", remedy="Write MODULE:FUNCTION, such as my_models:load")
    with own_code(spec):
        load = named_object(spec)
        returned = load(study) if _takes_argument(load, spec, study) else load()
    return _named(returned, spec, function)


@contextmanager
def own_code(item: str) -> Iterator[None]:
    """Import and run code of the user's: the current folder counts, and whatever the code raises becomes an error about ``item``.

    Raises:
        UsageError: something cannot be imported, or the code fails.
    """
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    except RetestError:
        raise
    except ImportError as error:
        raise UsageError(f"cannot be imported ({error})", item=item, remedy=_REMEDY) from error
    except Exception as error:  # the user's own code: whatever it raises is no fault of ours
        remedy = "Mend the module; --debug shows where it fails"
        raise UsageError(f"fails with {type(error).__name__}: {error}", item=item, remedy=remedy) from error
    finally:
        sys.path.remove(here)
    if here not in sys.path:
        sys.path.append(here)  # other processes get this list, and import the module for what travels to them


def named_object(text: str) -> Any:
    """What ``module:name`` names; the name may lead into a class. Within :func:`own_code`, which says what cannot be imported.

    Raises:
        UsageError: the module has no such name.
    """
    module, _, name = text.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        if not hasattr(found, part):
            raise UsageError(f"cannot be imported ({module} has no {name})", item=text, remedy=_REMEDY)
        found = getattr(found, part)
    return found


def _takes_argument(load: Any, spec: str, study: Any) -> bool:
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [
        parameter.name
        for parameter in inspect.signature(load).parameters.values()
        if parameter.kind in positional and parameter.default is inspect.Parameter.empty
    ]
    if len(needed) > 1:
        raise UsageError(f"needs {len(needed)} arguments", item=spec, remedy="Give it none, or one: the open study")
    if needed and study is None:
        raise UsageError("takes a study, and none is given", item=spec, remedy="Add --study STUDY, or let the function take no argument")
    return bool(needed)


def _named(returned: Any, spec: str, function: str) -> dict[str, Any]:
    if isinstance(returned, Mapping):
        return {str(name): _checked(one, spec) for name, one in returned.items()}
    if isinstance(returned, Classifier):
        return {returned.name: returned}
    if _is_pair(returned):
        return {function: returned}
    if isinstance(returned, Sequence) and not isinstance(returned, str | bytes):
        return {one.name: _checked(one, spec) for one in (_checked(one, spec, pairs=False) for one in returned)}
    return {function: _checked(returned, spec)}


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and callable(getattr(value[0], "state_dict", None)) and callable(value[1])


def _checked(one: Any, spec: str, *, pairs: bool = True) -> Any:
    if isinstance(one, Classifier) or (pairs and _is_pair(one)):
        return one
    raise UsageError(
        f"returned a {type(one).__name__}, which is no classifier",
        item=spec,
        remedy="Return (torch module, preprocessing), a table of names to such pairs, or retest.models.Classifier objects",
    )

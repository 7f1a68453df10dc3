"""Parent classes from WordNet's own file ``data.noun``, for class lists that name none (the published ``class_info.json`` does not).

An ImageNet wnid is ``n`` and the synset's offset in WordNet 3.0, and the offset is where the synset's line begins in the file
(wndb(5WN)), so that nothing has to be searched.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final

from retest.errors import InputError
from retest.records import ClassInfo

__all__ = ["with_parents"]

_WNID: Final = re.compile(r"n(\d{8})")
_HYPERNYMS: Final = ("@", "@i")
_REMEDY: Final = "Give the file dict/data.noun of WordNet 3.0, the version of ImageNet's wnids."


def with_parents(classes: Sequence[ClassInfo], path: Path | str) -> list[ClassInfo]:
    """The classes, those without parent terms with the words of their first hypernym, in WordNet's order, blanks for underscores.

    Classes whose names are no wnids, and the one without a hypernym (entity), stay as they are.

    Raises:
        InputError: the file is not WordNet's, or of a version that has no such synset.
    """
    path = Path(path)
    try:
        with (path / "data.noun" if path.is_dir() else path).open("rb") as file:
            return [info if info.parent_terms else replace(info, parent_terms=_parent_terms(file, info.wnid)) for info in classes]
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", item=str(path), remedy=_REMEDY) from error


def _parent_terms(file: BinaryIO, wnid: str) -> tuple[str, ...]:
    match = _WNID.fullmatch(wnid)
    if match is None:
        return ()
    _, parents = _synset(file, match.group(1), wnid)
    return _synset(file, parents[0], wnid)[0] if parents else ()


def _synset(file: BinaryIO, offset: str, wnid: str) -> tuple[tuple[str, ...], list[str]]:
    """(words, offsets of the hypernyms) of the synset at an offset."""
    file.seek(int(offset))
    fields = file.readline().decode("latin-1").split("|")[0].split()
    try:
        if fields[0] != offset or fields[2] != "n":
            raise ValueError
        number = int(fields[3], 16)
        words = tuple(word.replace("_", " ") for word in fields[4 : 4 + 2 * number : 2])
        pointers = fields[4 + 2 * number :]
        if len(words) != number or len(pointers) != 1 + 4 * int(pointers[0]):
            raise ValueError
    except (ValueError, IndexError):
        raise InputError(f"has no synset {offset}, which {wnid} needs", item=file.name, remedy=_REMEDY) from None
    return words, [
        pointers[place + 1] for place in range(1, len(pointers), 4) if pointers[place] in _HYPERNYMS and pointers[place + 2] == "n"
    ]

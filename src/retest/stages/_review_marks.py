"""The marks of the class browser: excluded, problematic, near-duplicate; the same tables that the stages read and write.

===================  =======================================  ============================================
kind                 item                                     state
===================  =======================================  ============================================
exclusion            candidate id                             None or ``{"reason": str, "detail": str}``
problematic          image id                                 None or ``{"detail": str}``
near_duplicate_pair  :func:`pair_item` of two image ids       None or ``true``
===================  =======================================  ============================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote, unquote

from retest.errors import InputError, NotFoundError
from retest.records import Exclusion
from retest.stages._common import Stamp
from retest.stages._review_core import Role, State, register
from retest.stages._review_pairs import EXCLUSION_KIND, lift_exclusions
from retest.store import Tables
from retest.study import Study

EXCLUSION, PROBLEMATIC, PAIR = EXCLUSION_KIND, "problematic", "near_duplicate_pair"
MAX_REASON, MAX_DETAIL = 100, 2000


def pair_item(first: str, second: str) -> str:
    """The item of a pair of images; both orders give the same."""
    return "|".join(quote(image, safe="") for image in sorted((first, second)))


def paired_images(item: str) -> tuple[str, str]:
    """The two images of a pair.

    Raises:
        InputError: that is no pair.
    """
    first, bar, second = item.partition("|")
    images = unquote(first), unquote(second)
    if not bar or images[0] >= images[1] or pair_item(*images) != item:
        raise InputError("is no pair of images", item=item, remedy="Write ID|ID, sorted, each percent-encoded")
    return images


class ExclusionKind:
    """A candidate is left out, with a reason."""

    name, label, role = EXCLUSION, "exclusion", Role.REVIEWER
    names_all_images = True

    def states(self, study: Study, tables: Tables, items: Sequence[str]) -> dict[str, State]:
        return {image: {"reason": e.reason, "detail": e.detail} for image, e in tables.exclusions.get(items).items()}

    def check(self, study: Study, tables: Tables, wishes: Mapping[str, State]) -> None:
        known = tables.candidates.photos(wishes)
        for item, wish in wishes.items():
            if item not in known:
                raise NotFoundError("there is no such candidate", item=item, remedy="Only candidates can be excluded")
            if wish is not None:
                check_texts(item, wish, {"reason": MAX_REASON, "detail": MAX_DETAIL}, required="reason")

    def write(self, study: Study, tables: Tables, states: Mapping[str, State], stamp: Stamp) -> None:
        lift_exclusions(tables, list(states), for_good={image for image, wish in states.items() if wish is None})
        given = (Exclusion(image, wish["reason"], wish["detail"], stamp.user, stamp.time) for image, wish in states.items() if wish)
        tables.exclusions.add(given)

    def images(self, item: str) -> tuple[str, ...]:
        return (item,)


class ProblematicKind:
    """An image needs another look before it may be used."""

    name, label, role = PROBLEMATIC, "problematic", Role.REVIEWER
    names_all_images = True

    def states(self, study: Study, tables: Tables, items: Sequence[str]) -> dict[str, State]:
        return {image: {"detail": detail} for image, detail in tables.flags.get(items).items()}

    def check(self, study: Study, tables: Tables, wishes: Mapping[str, State]) -> None:
        check_images(tables, wishes)
        for item, wish in wishes.items():
            if wish is not None:
                check_texts(item, wish, {"detail": MAX_DETAIL})

    def write(self, study: Study, tables: Tables, states: Mapping[str, State], stamp: Stamp) -> None:
        tables.flags.remove(image for image, wish in states.items() if wish is None)
        details = {image: wish["detail"] for image, wish in states.items() if wish is not None}
        tables.flags.put(details, user=stamp.user, time=stamp.time)

    def images(self, item: str) -> tuple[str, ...]:
        return (item,)


class PairKind:
    """Two images are near-duplicates of each other."""

    name, label, role = PAIR, "near-duplicate pair", Role.REVIEWER
    names_all_images = True

    def states(self, study: Study, tables: Tables, items: Sequence[str]) -> dict[str, State]:
        pairs = {item: paired_images(item) for item in items}
        known = tables.pairs.touching({image for pair in pairs.values() for image in pair})
        return {item: True for item, (first, second) in pairs.items() if (first, second) in known or (second, first) in known}

    def check(self, study: Study, tables: Tables, wishes: Mapping[str, State]) -> None:
        for item, wish in wishes.items():
            if wish is not None and wish is not True:
                raise InputError(f"{wish!r} is no state of a pair", item=item, remedy="It is true or null")
        check_images(tables, [image for item in wishes for image in paired_images(item)])

    def write(self, study: Study, tables: Tables, states: Mapping[str, State], stamp: Stamp) -> None:
        gone = [paired_images(item) for item, wish in states.items() if wish is None]
        tables.pairs.remove(pair for first, second in gone for pair in ((first, second), (second, first)))
        made = (paired_images(item) for item, wish in states.items() if wish)
        tables.pairs.add(made, user=stamp.user, time=stamp.time)

    def images(self, item: str) -> tuple[str, ...]:
        return paired_images(item)


def check_images(tables: Tables, ids: Sequence[str] | Mapping[str, State]) -> None:
    """Refuse ids that are neither candidates nor original images.

    Raises:
        NotFoundError: one of them is not.
    """
    known = tables.candidates.photos(ids).keys() | tables.originals.get(ids).keys()
    for image in ids:
        if image not in known:
            raise NotFoundError("the study has no such image", item=image, remedy="Check the id")


def check_texts(item: str, wish: State, lengths: Mapping[str, int], *, required: str | None = None) -> None:
    """Refuse what is not an object of exactly these texts, each no longer than given.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(wish, dict) or set(wish) != set(lengths) or not all(isinstance(text, str) for text in wish.values()):
        raise InputError("is no state of this kind", item=item, remedy=f"Give the texts {' and '.join(lengths)}, or null")
    for name, most in lengths.items():
        if len(wish[name]) > most or "\0" in wish[name]:
            raise InputError(f"the {name} has at most {most} characters, without NUL", item=item, remedy="Write less")
    if required and not wish[required].strip():
        raise InputError(f"the {required} is empty", item=item, remedy="Say why")


for _kind in (ExclusionKind(), ProblematicKind(), PairKind()):
    register(_kind)

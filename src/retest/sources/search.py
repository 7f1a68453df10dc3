"""Section ``[search]``: what to search for (method, section 1). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from retest.errors import ConfigError
from retest.records import ClassInfo
from retest.settings import check_choice, check_count, check_flag, plain_numbers
from retest.sources.base import Query, make_query

__all__ = ["SORT_ORDERS", "SearchParameters", "class_queries", "class_terms", "date_bound"]

SORT_ORDERS: Final = (
    "date-posted-asc",
    "date-posted-desc",
    "date-taken-asc",
    "date-taken-desc",
    "interestingness-asc",
    "interestingness-desc",
    "relevance",
)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}(?:[ T]\d{2}:\d{2}:\d{2})?")


@dataclass(frozen=True, slots=True, kw_only=True)
@plain_numbers
class SearchParameters:
    """Section ``[search]`` of the study. The dates default to the published window; an empty date is no bound.

    Raises:
        ConfigError: a value is out of range, or a window ends before it begins.
    """

    max_images: int | None = field(
        default=None, metadata={"help": "results per class, divided over its terms and rounded down; none: no limit"}
    )
    min_date_taken: str = field(
        default="2012-07-11", metadata={"help": "earliest date taken, inclusive (YYYY-MM-DD[ HH:MM:SS]); empty: any"}
    )
    max_date_taken: str = field(default="2013-07-11", metadata={"help": "latest date taken, inclusive; a bare date includes its whole day"})
    min_date_uploaded: str = field(default="2012-07-11", metadata={"help": "earliest date uploaded, UTC, inclusive; empty: any"})
    max_date_uploaded: str = field(default="2013-07-11", metadata={"help": "latest date uploaded, UTC, inclusive; empty: any"})
    sort: str = field(default="date-posted-asc", metadata={"help": f"order of the results: {', '.join(SORT_ORDERS)}"})
    parent_term: bool = field(default=False, metadata={"help": "append the first parent-class term to every query"})
    wordnet: str = field(
        default="", metadata={"help": "WordNet 3.0's file data.noun: parents of the classes whose class list names none (ImageNet)"}
    )
    join_compounds: bool = field(default=False, metadata={"help": 'join compound words: "great white shark" -> "greatwhiteshark"'})
    hand_terms: str = field(
        default="", metadata={"help": "JSON file wnid -> [terms]; a class listed there is searched with these terms only"}
    )
    licenses: tuple[str, ...] = field(
        default=(),
        metadata={"help": "accept only photos with these licences, e.g. cc-by-2.0, cc0-1.0 (see the list in the docs); empty: any"},
    )
    safe_search: bool = field(default=True, metadata={"help": "ask the service to leave out what it marks as unsafe"})
    second_candidates: bool = field(
        default=True, metadata={"help": "a photo found for another class too becomes a second candidate with an id of its own"}
    )

    def __post_init__(self) -> None:
        if self.max_images is not None:
            check_count("max_images", self.max_images, remedy="Leave it out for no limit")
        check_choice("sort", self.sort, SORT_ORDERS)
        for name in ("parent_term", "join_compounds", "safe_search", "second_candidates"):
            check_flag(name, getattr(self, name))
        for low, high in (("min_date_taken", "max_date_taken"), ("min_date_uploaded", "max_date_uploaded")):
            start, end = date_bound(getattr(self, low), item=low), date_bound(getattr(self, high), item=high, last=True)
            if start and end and start > end:
                raise ConfigError(f"{getattr(self, low)} is after {high} = {getattr(self, high)}", item=low, remedy="Swap the two dates.")
        if any(not re.fullmatch(r"[a-z0-9][a-z0-9.\-]*", name) for name in self.licenses):
            raise ConfigError(
                f"{list(self.licenses)} holds something else than licence names", item="licenses", remedy="Write e.g. cc-by-2.0."
            )


def date_bound(text: str, *, item: str, last: bool = False) -> datetime | None:
    """A bound of a window as a UTC time; None for the empty text. With ``last`` a bare date means its last second.

    Raises:
        ConfigError: the text is not ``YYYY-MM-DD`` or ``YYYY-MM-DD HH:MM:SS``.
    """
    if not text:
        return None
    try:
        if not _DATE.fullmatch(text):
            raise ValueError
        moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        raise ConfigError(f"{text!r} is not a date", item=item, remedy="Write YYYY-MM-DD or YYYY-MM-DD HH:MM:SS.") from None
    return moment + timedelta(days=1, seconds=-1) if last and len(text) == 10 else moment


def class_terms(
    info: ClassInfo, *, parameters: SearchParameters = SearchParameters(), hand_terms: Mapping[str, Sequence[str]] | None = None
) -> tuple[str, ...]:
    """The search terms of a class, in order and each once (method, section 1 and Settled details).

    The synonyms of the synset, or the hand-selected terms if the class has any; then, if asked for, the first
    parent-class term after a blank; then, if asked for, all blanks removed.

    Raises:
        ConfigError: the class has no terms, or no parent term although one is asked for.
    """
    chosen = (hand_terms or {}).get(info.wnid, info.synset)
    terms = [" ".join(term.split()) for term in chosen if term.strip()]
    if not terms:
        raise ConfigError(
            "the class has no search terms", item=info.wnid, remedy="Give it a synset in the class list, or hand-selected terms."
        )
    if parameters.parent_term:
        if not info.parent_terms:
            raise ConfigError(
                "the class has no parent term",
                item=info.wnid,
                remedy="Add parent_terms to the class list, name WordNet's data.noun in [search] wordnet, or switch parent_term off.",
            )
        terms = [f"{term} {info.parent_terms[0]}" for term in terms]
    if parameters.join_compounds:
        terms = ["".join(term.split()) for term in terms]
    return tuple(dict.fromkeys(terms))


def class_queries(
    info: ClassInfo, *, source: str, parameters: SearchParameters, hand_terms: Mapping[str, Sequence[str]] | None = None, salt: str = ""
) -> list[Query]:
    """One query per term of the class; each may take ``max_images // number of terms`` results, without refill."""
    terms = class_terms(info, parameters=parameters, hand_terms=hand_terms)
    limit = None if parameters.max_images is None else parameters.max_images // len(terms)
    recorded = query_record(parameters)
    text = f"{salt}|{parameters.licenses}|{parameters.safe_search}"
    return [make_query(source=source, wnid=info.wnid, term=term, limit=limit, parameters=recorded, salt=text) for term in terms]


def query_record(parameters: SearchParameters) -> dict[str, Any]:
    """What a candidate keeps of its search, under the published names; an absent bound is None."""
    return {
        "max_images": parameters.max_images,
        "min_taken_date": parameters.min_date_taken or None,
        "max_taken_date": parameters.max_date_taken or None,
        "min_uploaded_date": parameters.min_date_uploaded or None,
        "max_uploaded_date": parameters.max_date_uploaded or None,
        "search_sort": parameters.sort,
    }

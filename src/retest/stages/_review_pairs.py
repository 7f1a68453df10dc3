"""Near-duplicate review for the web: what waits by the rules of the method (section 6), the reviewer's decision, the queue.

===========================  ================================  ==========================================================
kind                         item                              state
===========================  ================================  ==========================================================
near_duplicate_review        ``candidate/metric``              None or ``{"references": [...], "near_duplicates": [...]}``
near_duplicate_override      candidate id                      whether it stays against the rule
===========================  ================================  ==========================================================

Both are the same tables and kinds that ``retest duplicates`` uses. ``references`` is everything that was looked at; whoever takes
some out of it asks for them again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from retest.duplicates import neighbors_to_review, review_threshold
from retest.errors import InputError, NotFoundError
from retest.records import Neighbor, NeighborReview
from retest.stages._common import Stamp, completion_key
from retest.stages._ledger import OVERRIDE, REVIEW, review_item, review_state
from retest.stages._review_core import Role, State, register
from retest.store import Tables
from retest.store.catalog import LIFTED
from retest.store.review_pairs import QueueRow
from retest.study import Study

MAX_FACTOR = 2.0
"""The queue reaches up to this many times the review target: thresholds can be chosen up to there."""
STAGE, ITEM, OWN, LIFTED_SINCE = "review", "pair_queue", "pair_queue_own_changes", "pair_queue_lifted_since"
EXCLUSION_KIND = "exclusion"
MANY_LISTS = 50_000
_BLOCK = 50  # candidates at a time: whoever waits for the processor or for a turn to write waits for no more
_UNREVIEWED = 1e100
_ATTEMPTS = 3


def reviewed_candidate(item: str) -> tuple[str, str]:
    """(candidate, metric) of an item.

    Raises:
        InputError: that is no such item.
    """
    candidate, slash, metric = item.rpartition("/")
    if not slash or not candidate or not metric:
        raise InputError("is no candidate with a metric", item=item, remedy="Write CANDIDATE/METRIC")
    return candidate, metric


def waiting_neighbors(
    study: Study, tables: Tables, metric: str, lists: Mapping[str, Sequence[Neighbor]], threshold: float, *, skip_excluded: bool = True
) -> dict[str, tuple[Neighbor, ...]]:
    """candidate -> the neighbours that a reviewer must see in a metric, by the rule of the method; none where all is decided.

    Without ``skip_excluded``: those too that must be seen once they are excluded no more.
    """
    parameters = study.config.review
    near = {c: [n for n in found[: parameters.num_neighbors] if n.distance <= threshold] for c, found in lists.items()}
    references = {n.reference for found in near.values() for n in found}
    excluded = tables.exclusions.get(sorted(references)).keys() if skip_excluded else frozenset()
    photos = tables.candidates.photos(sorted(references | near.keys()))
    reviewed = tables.pair_queue.reviewed(metric, sorted(near))
    return {
        candidate: neighbors_to_review(
            candidate,
            lists[candidate],
            threshold=threshold,
            reviewed=reviewed.get(candidate, {}).keys(),
            excluded=excluded,
            photos=photos,
            num_neighbors=parameters.num_neighbors,
        )
        for candidate in near
    }


def queue_rows(
    study: Study, tables: Tables, metric: str, lists: Mapping[str, Sequence[Neighbor]], *, skip_excluded: bool = True
) -> list[QueueRow]:
    """The rows of the queue for these candidates; those with nothing to review have none."""
    target = study.config.review.targets[metric]
    waiting = waiting_neighbors(study, tables, metric, lists, target * MAX_FACTOR, skip_excluded=skip_excluded)
    return [
        QueueRow(metric, candidate, found[0].distance, sum(n.distance <= target for n in found))
        for candidate, found in waiting.items()
        if found
    ]


def settle_candidates(study: Study, tables: Tables, metric: str, candidate_ids: Iterable[str]) -> None:
    """Derive the queue and the review thresholds of a few candidates again."""
    if metric not in study.config.review.targets:
        return
    ids = list(candidate_ids)
    lists = tables.neighbors.get(ids, metric)
    rows = queue_rows(study, tables, metric, lists, skip_excluded=not _is_large(tables.completions.info(STAGE, ITEM)))
    tables.pair_queue.remove(metric, sorted(set(ids) - {row.candidate_id for row in rows}))
    tables.pair_queue.put(rows)
    parameters = study.config.review
    references = {n.reference for found in lists.values() for n in found}
    photos = tables.candidates.photos(sorted(references | lists.keys()))
    skipped = tables.exclusions.get(sorted(references)).keys() if parameters.excluded_count_as_reviewed else frozenset()
    reviewed = tables.pair_queue.reviewed(metric, ids)
    found = {
        candidate: review_threshold(
            candidate,
            neighbors,
            reviewed=reviewed.get(candidate, {}).keys(),
            excluded=skipped,
            photos=photos,
            num_neighbors=parameters.num_neighbors,
        )
        for candidate, neighbors in lists.items()
    }
    tables.reviews.put_thresholds(metric, {candidate: min(value, _UNREVIEWED) for candidate, value in found.items()})


# The queue as a whole


def queue_key(study: Study, tables: Tables) -> str:
    """What the rows of the queue depend on. Decisions made here bring their rows along, so they count for nothing."""
    generations = tables.generations.of("neighbors", "reviewed_neighbors")
    brought_along = (tables.completions.info(STAGE, OWN) or {}).get("changes", 0)
    other = generations["reviewed_neighbors"] - brought_along
    return completion_key("pair-queue-1", study.config.review, generations["neighbors"], other)


def queue_is_current(study: Study, tables: Tables) -> bool:
    """Whether nothing has changed since the queue was derived.

    Exclusions let neighbours vanish from view. In a large study the queue is not derived again for each of them: what is shown is
    right all the same, as pages look at every candidate that they show; the number of those left is a little too large. Where one is
    lifted, rows are missing if it was there when the queue was derived; see :func:`lift_exclusions`.
    """
    if tables.completions.key(STAGE, ITEM) != queue_key(study, tables):
        return False
    info = tables.completions.info(STAGE, ITEM) or {}
    if _is_large(info):
        lifted = _lifted(tables)
        return bool(info.get("lifted", lifted) == lifted)
    return bool(info["exclusions"] == tables.generations.of("exclusions")["exclusions"])


def lift_exclusions(tables: Tables, images: Sequence[str], *, for_good: Collection[str]) -> None:
    """Let images be used again; those ``for_good`` are not excluded anew in the same transaction.

    Exclusions that were made after the queue was derived took nothing from it: lifting them leaves it as current as it is.
    """
    excluded = list(tables.exclusions.get(images))
    if not excluded:
        return
    info = tables.completions.info(STAGE, ITEM) or {}
    before = _lifted(tables)
    tables.exclusions.remove(excluded)
    if _is_large(info):
        old = sum(image in for_good and _was_excluded(tables, image, info.get("decisions", 0)) for image in excluded)
        harmless = _lifted(tables) - before - old
        if harmless > 0:
            known = (tables.completions.info(STAGE, LIFTED_SINCE) or {}).get("changes", 0)
            tables.completions.put(STAGE, LIFTED_SINCE, "", changes=known + harmless)


def _was_excluded(tables: Tables, image: str, number: int) -> bool:
    """Whether an image that is excluded now was so after the decision of a number already."""
    history = tables.decisions.all(kind=EXCLUSION_KIND, item=image)
    since = next((one for one in history if one["no"] > number), None)
    return since is None or since["before"] is not None


def _is_large(info: Mapping[str, Any] | None) -> bool:
    return bool(info and info["lists"] > MANY_LISTS)


def _lifted(tables: Tables) -> int:
    """How many exclusions were lifted, without those whose lifting brings no row back."""
    harmless: int = (tables.completions.info(STAGE, LIFTED_SINCE) or {}).get("changes", 0)
    return tables.generations.of(LIFTED)[LIFTED] - harmless


def refresh_queue(study: Study, *, stop: Callable[[], bool] = lambda: False) -> bool:
    """Derive the whole queue, in short transactions, unless it is current; whether it is at the end.

    Args:
        study: an open study.
        stop: asked between blocks; True ends the work, which the next call does again.
    """
    metrics = list(study.config.review.targets)
    for _ in range(_ATTEMPTS):
        with study.database.read() as tables:
            if queue_is_current(study, tables):
                return True
            before, exclusions, lifted = queue_key(study, tables), tables.generations.of("exclusions")["exclusions"], _lifted(tables)
            lists = sum(tables.neighbors.counts().values())
        for metric in metrics:
            if not _refresh_metric(study, metric, stop):
                return False
        with study.database.write() as tables:
            tables.pair_queue.remove_all_but(metrics)
            if queue_key(study, tables) == before:
                decisions = tables.decisions.newest()
                tables.completions.put(STAGE, ITEM, before, exclusions=exclusions, lists=lists, lifted=lifted, decisions=decisions)
                return True
    return False


def _refresh_metric(study: Study, metric: str, stop: Callable[[], bool]) -> bool:
    after = ""
    while True:
        if stop():
            return False
        with study.database.read() as tables:
            block = tables.pair_queue.neighbors_after(metric, after, _BLOCK)
            if not block:
                return True
            lists = {candidate: [Neighbor(reference, distance) for reference, distance in found] for candidate, found in block}
            seen = _seen(tables)
            wrong = _wrong_rows(study, tables, metric, lists)
        after = block[-1][0]
        if not any(wrong):
            continue
        with study.database.write() as tables:  # for a moment only: people decide meanwhile
            missing, stale = wrong if _seen(tables) == seen else _wrong_rows(study, tables, metric, lists)
            tables.pair_queue.remove(metric, stale)
            tables.pair_queue.put(missing)


def _seen(tables: Tables) -> dict[str, int]:
    return tables.generations.of("neighbors", "reviewed_neighbors", "exclusions", "candidates", "pair_queue")


def _wrong_rows(study: Study, tables: Tables, metric: str, lists: Mapping[str, Sequence[Neighbor]]) -> tuple[list[QueueRow], list[str]]:
    """Rows of these candidates that the queue lacks or has otherwise, and candidates whose row it should not have."""
    rows = queue_rows(study, tables, metric, lists)
    known = tables.pair_queue.rows_of(metric, lists)
    wanted = {row.candidate_id for row in rows}
    return [row for row in rows if known.get(row.candidate_id) != row], sorted(known.keys() - wanted)


# What can be decided


class NeighborReviewKind:
    """A reviewer has looked at neighbours of a candidate in a metric, and says which are near-duplicates."""

    name, label, role = REVIEW, "near-duplicate review", Role.REVIEWER
    names_all_images = True

    def states(self, study: Study, tables: Tables, items: Sequence[str]) -> dict[str, State]:
        found: dict[str, State] = {}
        for metric, candidates in _by_metric(items).items():
            for candidate, references in tables.pair_queue.reviewed(metric, candidates).items():
                found[review_item(candidate, metric)] = review_state(references)
        return found

    def check(self, study: Study, tables: Tables, wishes: Mapping[str, State]) -> None:
        for metric, candidates in _by_metric(wishes).items():
            lists = tables.neighbors.get(candidates, metric)
            done = tables.pair_queue.reviewed(metric, candidates)
            for candidate in candidates:
                wish = wishes[review_item(candidate, metric)]
                known = {n.reference for n in lists.get(candidate, ())} | done.get(candidate, {}).keys()
                if not known:
                    raise NotFoundError(f"has no neighbours in {metric}", item=candidate, remedy="Neighbours come from: retest neighbors")
                if wish is not None:
                    _check_review(candidate, wish, known)

    def write(self, study: Study, tables: Tables, states: Mapping[str, State], stamp: Stamp) -> None:
        before = tables.generations.of("reviewed_neighbors")["reviewed_neighbors"]
        for item, wish in states.items():
            candidate, metric = reviewed_candidate(item)
            self._write_one(study, tables, candidate, metric, wish or {"references": [], "near_duplicates": []}, stamp)
        changes = tables.generations.of("reviewed_neighbors")["reviewed_neighbors"] - before
        known = (tables.completions.info(STAGE, OWN) or {}).get("changes", 0)
        tables.completions.put(STAGE, OWN, "", changes=known + changes)

    def _write_one(self, study: Study, tables: Tables, candidate: str, metric: str, wish: dict[str, list[str]], stamp: Stamp) -> None:
        before = tables.pair_queue.reviewed(metric, [candidate]).get(candidate, {})
        marked = set(wish["near_duplicates"])
        after = {reference: reference in marked for reference in wish["references"]}
        changed = [reference for reference, near in after.items() if before.get(reference) is not near]
        tables.pair_queue.forget_reviews(candidate, metric, sorted(before.keys() - after.keys()))
        if changed:
            near = tuple(reference for reference in changed if after[reference])
            tables.reviews.add([NeighborReview(candidate, metric, tuple(changed), near, stamp.user, stamp.time)])
            tables.pairs.add(((candidate, reference) for reference in near), user=stamp.user, time=stamp.time)
        unmarked = {reference for reference, near in before.items() if near} - marked
        withdrawn = sorted((tables.pairs.of(candidate) & unmarked) - tables.reviews.marked(candidate))
        tables.pairs.remove((candidate, reference) for reference in withdrawn)
        settle_candidates(study, tables, metric, [candidate])

    def reached(self, tables: Tables, states: Mapping[str, State]) -> set[str]:
        """Neighbours that are joined to the candidate now, or were and may be in components of their own after it."""
        found = {reference for wish in states.values() if wish for reference in wish["near_duplicates"]}
        for metric, candidates in _by_metric(states).items():
            for references in tables.pair_queue.reviewed(metric, candidates).values():
                found |= {reference for reference, near in references.items() if near}
        return found

    def images(self, item: str) -> tuple[str, ...]:
        return (reviewed_candidate(item)[0],)


class OverrideKind:
    """A candidate stays against the rule of resolution."""

    name, label, role = OVERRIDE, "near-duplicate override", Role.REVIEWER
    names_all_images = True

    def states(self, study: Study, tables: Tables, items: Sequence[str]) -> dict[str, State]:
        listed = tables.pairs.overrides_among(items)
        return {item: item in listed for item in items}

    def check(self, study: Study, tables: Tables, wishes: Mapping[str, State]) -> None:
        known = tables.candidates.photos(wishes)
        for item, wish in wishes.items():
            if item not in known:
                raise NotFoundError("there is no such candidate", item=item, remedy="Only candidates can stay against the rule")
            if not isinstance(wish, bool):
                raise InputError(f"{wish!r} is no state of an override", item=item, remedy="It is true or false")

    def write(self, study: Study, tables: Tables, states: Mapping[str, State], stamp: Stamp) -> None:
        tables.pairs.remove_overrides([item for item, wish in states.items() if not wish])
        tables.pairs.add_overrides([item for item, wish in states.items() if wish], user=stamp.user, time=stamp.time)

    def images(self, item: str) -> tuple[str, ...]:
        return (item,)


def _by_metric(items: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for item in items:
        candidate, metric = reviewed_candidate(item)
        found.setdefault(metric, []).append(candidate)
    return found


def _check_review(candidate: str, wish: State, known: Iterable[str]) -> None:
    names = {"references", "near_duplicates"}
    if not isinstance(wish, dict) or set(wish) != names or not all(_is_sorted_texts(value) for value in wish.values()):
        raise InputError(
            "is no review of neighbours", item=candidate, remedy="Give the lists references and near_duplicates, sorted, or null"
        )
    strangers = sorted(set(wish["references"]) - set(known))
    if strangers:
        raise InputError(f"{strangers[0]!r} is not among its neighbours", item=candidate, remedy="Load the page again")
    if not wish["references"] or not set(wish["near_duplicates"]) <= set(wish["references"]):
        raise InputError("near-duplicates must be among the references, which may not be empty", item=candidate, remedy="Name both")


def _is_sorted_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value) and value == sorted(set(value))


for _kind in (NeighborReviewKind(), OverrideKind()):
    register(_kind)

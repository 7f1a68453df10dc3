"""Stage: plan HITs, publish them on a crowd back end, collect the answers, derive selection frequencies (method, sections 4-5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial

from retest.crowd import Crowd, HitTask, PublishedHit
from retest.errors import ConflictError, CrowdError, NotFoundError, StageError, UsageError
from retest.labeling import (
    ClassImages,
    CountingReport,
    HitParameters,
    candidates_needing_labels,
    estimate_plan,
    outstanding_assignments,
    plan_hits,
    plan_original_hits,
)
from retest.records import ClassInfo, Hit, Split
from retest.stages._closing import ENDED, record_closed
from retest.stages._common import Progress, Stamp, display_variant, public_blob_key, silent
from retest.stages._consistency import check_images
from retest.stages._duplicates import near_duplicates_of_originals
from retest.stages._frequencies import refresh_frequencies
from retest.stages._hit_pages import asked_pages, published_pages
from retest.stages._keys import current_key_version
from retest.stages._label_outcomes import Collection, Plan, Preview, Submission
from retest.stages._ledger import EXCLUDE_HIT
from retest.stages._money import guard_money, note_reward
from retest.store import Tables
from retest.store.hit_pages import HitEntry
from retest.study import Study

__all__ = [
    "Collection",
    "Plan",
    "Preview",
    "Submission",
    "answer_histogram",
    "collect",
    "compute_frequencies",
    "exclude_hits",
    "plan",
    "preview",
    "submit",
    "waiting_cost_cents",
    "waiting_hits",
]

_TRIES = 3
_CLASSES_KEPT = 16
_HITS_AT_ONCE = 200
_COLLECTED_AT_ONCE = 50


def plan(study: Study, *, stamp: Stamp, originals: bool = False, store: bool = True) -> Plan:
    """Plan HITs for the candidates that still need answers, or with ``originals`` for original validation images.

    With ``store`` the HITs are added to the study as not submitted. Planning again adds nothing while they wait, because their
    outstanding answers count as expected, nor once answers have been collected, because frequencies are brought up to date first.

    Raises:
        StageError: images are missing, or a class has no similar class to take negative controls from.
        InputError: a class has too few original images for its controls.
    """
    for _ in range(_TRIES):
        with study.database.write() as tables:
            # An answer that is collected but not yet counted is neither outstanding nor received: it would be bought again.
            refresh_frequencies(tables)
        with study.database.read() as tables:
            before = _state(tables)
            made = _make_plan(study, tables, stamp, originals=originals)
        if not store:
            return made
        with study.database.write() as tables:
            if _state(tables) == before:
                return _stored(study, tables, made)
    with study.database.write() as tables:  # others keep changing the study: keep them waiting this once
        refresh_frequencies(tables)
        return _stored(study, tables, _make_plan(study, tables, stamp, originals=originals))


def _state(tables: Tables) -> Mapping[str, int]:
    """Changes with what might make two plans, or a plan and new answers, ask for the same images."""
    return tables.generations.of("hits", "assignments")


def _make_plan(study: Study, tables: Tables, stamp: Stamp, *, originals: bool) -> Plan:
    """Class by class: the plan of one class never depends on another."""
    parameters, classes = study.config.labeling, {info.wnid: info for info in tables.classes.all()}
    controls = _Controls(tables, display_variant(study.config.images))
    need = _originals_to_label(tables, controls, parameters) if originals else _candidates_to_label(tables, study, classes)
    make = plan_original_hits if originals else plan_hits
    hits: list[Hit] = []
    skipped: Counter[str] = Counter()
    for wnid, ids, counts in need:
        skipped.update(counts)
        if ids:
            work = ClassImages(wnid, ids, *_controls_of(classes, wnid, controls))
            made = make([work], parameters, taken_uuids=tables.hit_pages.uuids_of_class(wnid))
            hits += (replace(hit, user=stamp.user, time=stamp.time) for hit in made)
    none = {"labelled": 0} if originals else {"selected": 0}
    return Plan(tuple(hits), estimate_plan(hits, parameters, study.config.cost), dict(skipped) or none)


def _stored(study: Study, tables: Tables, made: Plan) -> Plan:
    return replace(made, added=tables.hits.add(made.hits, assignments=study.config.labeling.assignments_per_hit))


class _Controls:
    """Validation images that are stored, so that they can be shown; those of the last classes asked for are kept."""

    def __init__(self, tables: Tables, variant: str) -> None:
        self.of_class = lru_cache(maxsize=_CLASSES_KEPT)(partial(self._usable, tables, variant))

    @staticmethod
    def _usable(tables: Tables, variant: str, wnid: str) -> tuple[str, ...]:
        ids = tables.originals.ids(split=Split.VAL, wnid=wnid)
        shown = tables.variants.complete([variant], among=ids)
        return tuple(image for image in ids if image in shown)


def _controls_of(classes: Mapping[str, ClassInfo], wnid: str, controls: _Controls) -> tuple[tuple[str, ...], tuple[str, ...]]:
    similar = classes[wnid].most_similar if wnid in classes else ()
    if len(similar) < 2:
        raise StageError(
            "it has no similar class to take negative controls from",
            item=f"class {wnid}",
            remedy="Run retest benchmark --study STUDY again, or set similar_classes in [benchmark]; a benchmark needs two classes",
        )
    return controls.of_class(wnid), controls.of_class(similar[1])


_Need = Iterator[tuple[str, tuple[str, ...], Mapping[str, int]]]
"""Class by class: wnid, images to label, and how many images are left out by reason code."""


def _candidates_to_label(tables: Tables, study: Study, classes: Mapping[str, ClassInfo]) -> _Need:
    missing, example = tables.bulk.candidates_without(display_variant(study.config.images))
    if missing:
        raise StageError(f"{missing} candidates are not stored yet", item=example, remedy="Run: retest download, then retest publish")
    duplicates = frozenset(near_duplicates_of_originals(tables))
    for wnid in tables.candidates.count_by_class():
        selection = candidates_needing_labels(
            tables.candidates.all(wnid=wnid),
            parameters=study.config.labeling,
            num_assignments=_answered(tables, wnid),
            outstanding=_outstanding(tables, wnid),
            excluded=tables.exclusions.of_class(wnid),
            near_duplicates_of_originals=duplicates,
            wnids=list(classes),
        )
        yield wnid, selection.by_class().get(wnid, ()), selection.counts


def _originals_to_label(tables: Tables, controls: _Controls, parameters: HitParameters) -> _Need:
    for wnid in tables.originals.classes(Split.VAL)[: parameters.max_classes]:
        images = controls.of_class(wnid)
        if wnid in parameters.skip_search_keys:
            yield wnid, (), {"skipped_search_key": len(images)}
            continue
        answered, expected = _answered(tables, wnid), _outstanding(tables, wnid)
        ids = [i for i in images if answered.get((i, wnid), 0) + expected.get((i, wnid), 0) < parameters.min_assignments]
        yield wnid, tuple(ids), {"labelled": len(images) - len(ids)}


def _answered(tables: Tables, wnid: str) -> dict[tuple[str, str], int]:
    return {(f.image_id, f.wnid): f.num_assignments for f in tables.frequencies.all(wnid=wnid)}


def _outstanding(tables: Tables, wnid: str) -> dict[tuple[str, str], int]:
    """Answers still expected for a class from HITs that are planned or published here, and neither excluded nor closed."""
    lacking = list(tables.hit_pages.open_of_class(wnid))
    return outstanding_assignments((hit for hit, _ in lacking), {hit.uuid: number for hit, number in lacking})


def waiting_cost_cents(study: Study, crowd: Crowd) -> tuple[int, int]:
    """(number of HITs that wait to be published, what they cost in cents)."""
    with study.database.read() as tables:
        waiting = tables.hit_pages.waiting_assignments()
    reward = study.config.crowd.reward_cents
    cost = sum(hits * crowd.cost_cents(assignments=number, reward_cents=reward) for number, hits in waiting.items())
    return sum(waiting.values()), cost


def waiting_hits(study: Study) -> int:
    """How many HITs wait to be published."""
    with study.database.read() as tables:
        return sum(tables.hit_pages.waiting_assignments().values())


def submit(
    study: Study, crowd: Crowd, *, stamp: Stamp, image_url: str = "", confirmed_live: bool = False, progress: Progress = silent
) -> Submission:
    """Publish every planned HIT that is not yet published, each at most once whatever fails.

    Args:
        study: the study.
        crowd: the back end.
        stamp: who publishes, and when.
        image_url: address under which ``public/`` blobs are served; empty for back ends that show no page.
        confirmed_live: a person has typed LIVE; needed when the back end costs money.
        progress: shows the work.

    Raises:
        StageError: the consistency check of images fails.
        UsageError: the back end costs money and nobody confirmed, no budget is set, or the HITs cost more than the budget or
            the account.
        CrowdError: the back end cannot be reached; failures of single HITs are in the result instead.
    """
    number, cost = waiting_cost_cents(study, crowd)
    guard_money(study, crowd, number, cost, confirmed_live=confirmed_live)
    report = check_images(study, progress=progress)
    if not report.ok:
        first = report.findings[0]
        raise StageError(
            f"{len(report.findings)} images are not ready to be shown; the first: {first.what} {first.problem}",
            item=first.image_id,
            remedy="See all with: retest check --study STUDY",
        )
    failures: dict[str, str] = {}
    published = spent = 0
    with progress("Publish HITs", total=number) as advance:
        for entry, task in _waiting_tasks(study, image_url=image_url):
            try:
                there = _publish_once(study, crowd, task, attempted=entry.crowd)
            except (CrowdError, ConflictError, UsageError) as error:  # this HIT's own trouble; the others go on
                failures[entry.hit.uuid] = str(error)
            else:
                published += 1
                spent += crowd.cost_cents(assignments=entry.assignments, reward_cents=study.config.crowd.reward_cents)
                _note_published(study, crowd, entry.hit.uuid, there, stamp)
            advance(1)
    return Submission(published, spent, failures)


def _waiting_tasks(study: Study, *, image_url: str) -> Iterator[tuple[HitEntry, HitTask]]:
    """The HITs that wait now, page by page, each with what the back end needs to show it."""
    with study.database.read() as tables:
        until, after = tables.hit_pages.newest(), 0
    while True:
        with study.database.read() as tables:
            page = tables.hit_pages.waiting(after=after, until=until, limit=_HITS_AT_ONCE)
            make = _task_maker(tables, study, [entry.hit for entry in page], image_url=image_url)
        if not page:
            return
        for entry in page:
            yield entry, make(entry.hit, entry.assignments)
        after = page[-1].no


def _note_published(study: Study, crowd: Crowd, uuid: str, there: PublishedHit, stamp: Stamp) -> None:
    with study.database.write() as tables:
        note_reward(tables, crowd, there.hit_type_id, study.config.crowd.reward_cents)
        tables.hits.mark_submitted(
            uuid, crowd=crowd.name, hit_id=there.hit_id, hit_type_id=there.hit_type_id, user=stamp.user, time=stamp.time
        )


def _publish_once(study: Study, crowd: Crowd, task: HitTask, *, attempted: str | None) -> PublishedHit:
    """Publish a HIT with a note of where before anything is sent.

    A request token keeps one back end from taking a HIT twice; the note keeps a HIT that one back end may have taken, before
    the connection or this process was lost, from being published, and paid for, on another one as well.
    """
    uuid = task.hit.uuid
    if attempted is not None and attempted != crowd.name:
        raise ConflictError(
            f"it may be published on {attempted} already, where an earlier attempt ended without an answer",
            item=uuid,
            remedy="Submit to that back end again, which finds it and creates nothing; or leave this HIT out (retest label exclude)",
        )
    with study.database.write() as tables:
        tables.hits.mark_attempt(uuid, crowd=crowd.name)
    try:
        return crowd.publish(task)
    except UsageError:  # refused here: nothing was sent in this attempt
        if attempted is None:
            with study.database.write() as tables:
                tables.hits.mark_attempt(uuid, crowd=None)
        raise


def _task_maker(tables: Tables, study: Study, hits: Sequence[Hit], *, image_url: str) -> Callable[[Hit, int], HitTask]:
    infos = {info.wnid: info for info in tables.classes.all()}
    shown = {image for hit in hits for image in hit.images_all} if image_url else set()
    names = tables.opaque_names.get(shown, current_key_version(tables))

    def make(hit: Hit, assignments: int) -> HitTask:
        urls = tuple(f"{image_url}/{public_blob_key(names[i])}" for i in hit.images_all) if image_url else ()
        return HitTask(hit, infos.get(hit.wnid, ClassInfo(hit.wnid, -1)), urls, study.config.crowd, assignments)

    return make


def preview(study: Study, *, uuid: str | None = None) -> Preview:
    """The page of a HIT, by default of the first that waits to be published, else of the first of all. Publishes nothing.

    Raises:
        NotFoundError: there is no such HIT, or none at all.
        StageError: an image of the page has no opaque name yet.
    """
    with study.database.read() as tables:
        hit = _hit_to_show(tables, uuid)
        names = tables.opaque_names.get(hit.images_all, current_key_version(tables))
        unnamed = [image for image in hit.images_all if image not in names]
        if unnamed:
            raise StageError("has no opaque name yet", item=unnamed[0], remedy="Run: retest publish")
        wanted = tables.hit_pages.lines_of([hit.uuid])[hit.uuid].assignments
        task = _task_maker(tables, study, [hit], image_url=".")(hit, wanted)
    return Preview(task, {url: study.blobs.get(url.removeprefix("./")) for url in task.image_urls})


def _hit_to_show(tables: Tables, uuid: str | None) -> Hit:
    if uuid is not None:
        hit = tables.hits.get([uuid]).get(uuid)
    else:
        waiting = tables.hit_pages.waiting(until=tables.hit_pages.newest(), limit=1)
        hit = waiting[0].hit if waiting else next(iter(tables.hits.all()), None)
    if hit is None:
        raise NotFoundError("there is no such HIT", item=uuid or "label preview", remedy="Plan HITs with: retest label plan")
    return hit


def collect(study: Study, crowd: Crowd, *, stamp: Stamp, progress: Progress = silent) -> Collection:
    """Fetch the answers of every HIT that the study published and this back end knows; raw answers are added once and never rewritten.

    A HIT whose lifetime is over and that nobody is working on gets no more answers: it is closed, so that the next plan asks for
    what it lacks.
    """
    with study.database.read() as tables:
        until, total = tables.hit_pages.newest(), tables.hit_pages.count_published()
    new = 0
    unreadable: list[CrowdError] = []
    with progress("Collect answers", total=total) as advance:
        for page in published_pages(study, until=until, size=_COLLECTED_AT_ONCE):
            answers = list(crowd.collect([entry.hit for entry in page], on_unreadable=unreadable.append))
            with study.database.write() as tables:
                new += tables.assignments.add((a.assignment for a in answers), contents={a.assignment.id: a.content for a in answers})
                tables.assignments.add_workers({a.assignment.worker: a.worker_id for a in answers if a.worker_id is not None})
                for answer in answers:
                    tables.assignments.set_status(answer.assignment.id, answer.assignment.status)
            advance(len(page))
    with study.database.write() as tables:
        tables.warnings.add("collect", (("unreadable_answer", None, error.item, error.problem) for error in unreadable))
    ended = _close_ended(study, crowd, stamp, until=until)
    return Collection(new, answer_histogram(study), tuple(str(error) for error in unreadable), ended)


def _close_ended(study: Study, crowd: Crowd, stamp: Stamp, *, until: int) -> tuple[str, ...]:
    """Close the HITs that lack answers and can get none."""
    closed: list[str] = []
    for page in asked_pages(study, until=until, lacking=True):
        found = crowd.progress(page)
        with study.database.read() as tables:
            received = tables.hit_pages.answers_of(found)
        # An answer that came between collecting and now is still to be collected; then the HIT is not over yet.
        ended = [uuid for uuid, item in found.items() if item.ended and not item.pending and item.answered <= received.get(uuid, 0)]
        with study.database.write() as tables:
            record_closed(tables, ended, ENDED, stamp=stamp)
        closed += ended
    return tuple(closed)


def answer_histogram(study: Study) -> dict[int, int]:
    """How many published HITs have 0, 1, ... valid answers (the published progress histogram)."""
    with study.database.read() as tables:
        top, valid = tables.bulk.most_assignments(), tables.bulk.answer_histogram()
    return {number: valid.get(number, 0) for number in range(max([top, *valid]) + 1)}


def compute_frequencies(study: Study) -> CountingReport | None:
    """Derive all selection frequencies from the raw answers; None when they are up to date."""
    with study.database.write() as tables:
        return refresh_frequencies(tables)


def exclude_hits(study: Study, uuids: Iterable[str], *, reason: str, stamp: Stamp) -> None:
    """Let HITs count nowhere; recorded as a decision where the reason is new."""
    with study.database.write() as tables:
        wanted = list(dict.fromkeys(uuids))
        before = tables.hits.excluded(wanted)
        for uuid in wanted:
            if before.get(uuid) != reason:
                tables.hits.exclude([uuid], reason)
                tables.decisions.add(time=stamp.time, user=stamp.user, kind=EXCLUDE_HIT, item=uuid, before=before.get(uuid), after=reason)

"""Stage: plan HITs, publish them on a crowd back end, collect the answers, derive selection frequencies (method, sections 4-5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from retest.crowd import Crowd, HitTask, PublishedHit
from retest.errors import ConflictError, CrowdError, NotFoundError, StageError, UsageError
from retest.labeling import (
    ClassImages,
    CountingReport,
    HitParameters,
    PlanEstimate,
    candidates_needing_labels,
    estimate_plan,
    outstanding_assignments,
    plan_hits,
    plan_original_hits,
)
from retest.records import ClassInfo, Hit, Split
from retest.stages._closing import ENDED, closed_hits, record_closed
from retest.stages._common import Progress, Stamp, display_variant, public_blob_key, silent
from retest.stages._consistency import check_images
from retest.stages._duplicates import near_duplicates_of_originals
from retest.stages._frequencies import refresh_frequencies
from retest.stages._keys import current_key_version
from retest.stages._money import guard_money, note_reward
from retest.store import Tables
from retest.study import Study

_TRIES = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """HITs that would be published, what they ask for, and the candidates left out with the reason code."""

    hits: tuple[Hit, ...]
    estimate: PlanEstimate
    skipped: Mapping[str, int]
    added: int = 0


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
    parameters = study.config.labeling
    classes = {info.wnid: info for info in tables.classes.all()}
    controls = _usable_originals(tables, study)
    need, skipped = _originals_to_label(tables, controls, parameters) if originals else _candidates_to_label(tables, study, classes)
    work = [ClassImages(wnid, ids, *_controls_of(classes, wnid, controls)) for wnid, ids in sorted(need.items()) if ids]
    make = plan_original_hits if originals else plan_hits
    taken = set(tables.hits.requested_assignments())
    hits = tuple(replace(hit, user=stamp.user, time=stamp.time) for hit in make(work, parameters, taken_uuids=taken))
    return Plan(hits, estimate_plan(hits, parameters, study.config.cost), skipped)


def _stored(study: Study, tables: Tables, made: Plan) -> Plan:
    return replace(made, added=tables.hits.add(made.hits, assignments=study.config.labeling.assignments_per_hit))


def _usable_originals(tables: Tables, study: Study) -> dict[str, tuple[str, ...]]:
    """wnid -> validation images that are stored, so that they can be shown."""
    found = tables.originals.ids_by_class(Split.VAL)
    shown = tables.variants.complete([display_variant(study.config.images)], among=[image for ids in found.values() for image in ids])
    return {wnid: tuple(i for i in ids if i in shown) for wnid, ids in found.items()}


def _controls_of(
    classes: Mapping[str, ClassInfo], wnid: str, controls: Mapping[str, tuple[str, ...]]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    similar = classes[wnid].most_similar if wnid in classes else ()
    if len(similar) < 2:
        raise StageError(
            "it has no similar class to take negative controls from",
            item=f"class {wnid}",
            remedy="Run retest benchmark --study STUDY again, or set similar_classes in [benchmark]; a benchmark needs two classes",
        )
    return controls.get(wnid, ()), controls.get(similar[1], ())


def _candidates_to_label(
    tables: Tables, study: Study, classes: Mapping[str, ClassInfo]
) -> tuple[Mapping[str, tuple[str, ...]], Mapping[str, int]]:
    missing, example = tables.bulk.candidates_without(display_variant(study.config.images))
    if missing:
        raise StageError(f"{missing} candidates are not stored yet", item=example, remedy="Run: retest download, then retest publish")
    excluded, duplicates, expected = tables.exclusions.ids(), near_duplicates_of_originals(tables), _outstanding(tables)
    need: dict[str, tuple[str, ...]] = {}
    counts: Counter[str] = Counter()
    for wnid in tables.candidates.count_by_class():
        selection = candidates_needing_labels(
            tables.candidates.all(wnid=wnid),
            parameters=study.config.labeling,
            num_assignments={(f.image_id, f.wnid): f.num_assignments for f in tables.frequencies.all(wnid=wnid)},
            outstanding=expected,
            excluded=excluded,
            near_duplicates_of_originals=duplicates,
            wnids=list(classes),
        )
        need |= selection.by_class()
        counts.update(selection.counts)
    return need, dict(counts) or {"selected": 0}


def _originals_to_label(
    tables: Tables, controls: Mapping[str, tuple[str, ...]], parameters: HitParameters
) -> tuple[Mapping[str, tuple[str, ...]], Mapping[str, int]]:
    expected = _outstanding(tables)
    need: dict[str, tuple[str, ...]] = {}
    done = 0
    wnids = sorted(controls)[: parameters.max_classes]
    for wnid in wnids:
        answered = {(f.image_id, f.wnid): f.num_assignments for f in tables.frequencies.all(wnid=wnid)}
        ids = [i for i in controls[wnid] if answered.get((i, wnid), 0) + expected.get((i, wnid), 0) < parameters.min_assignments]
        need[wnid] = tuple(ids)
        done += len(controls[wnid]) - len(ids)
    return need, {"labelled": done}


def _outstanding(tables: Tables) -> dict[tuple[str, str], int]:
    """Answers still expected from HITs that are planned or published here, and neither excluded nor closed."""
    closed = closed_hits(tables)
    missing: dict[str, int] = {}
    for hit in tables.bulk.hit_states():
        # Those that were submitted elsewhere (imported ones) were answered long ago.
        over = hit.uuid in closed or hit.excluded or (hit.submitted and hit.crowd is None)
        if not over and hit.assignments > hit.received:
            missing[hit.uuid] = hit.assignments - hit.received
    return outstanding_assignments(tables.hits.get(missing).values(), missing)


@dataclass(frozen=True, slots=True)
class Submission:
    """What publishing did: HITs published now, failures by HIT, and the cost in cents of what was published now."""

    published: int
    cost_cents: int
    failures: Mapping[str, str]


def waiting_cost_cents(study: Study, crowd: Crowd) -> tuple[int, int]:
    """(number of HITs that wait to be published, what they cost in cents)."""
    with study.database.read() as tables:
        waiting = list(tables.hits.all(submitted=False, include_excluded=False))
        wanted = tables.hits.requested_assignments()
    reward = study.config.crowd.reward_cents
    return len(waiting), sum(crowd.cost_cents(assignments=wanted[hit.uuid], reward_cents=reward) for hit in waiting)


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
    with study.database.read() as tables:
        waiting = list(tables.hits.all(submitted=False, include_excluded=False))
        wanted = tables.hits.requested_assignments()
        attempts = tables.hits.publication_attempts()
        make = _task_maker(tables, study, image_url=image_url)
    failures: dict[str, str] = {}
    spent = 0
    with progress("Publish HITs", total=len(waiting)) as advance:
        for hit in waiting:
            try:
                published = _publish_once(study, crowd, make(hit, wanted[hit.uuid]), attempted=attempts.get(hit.uuid))
            except (CrowdError, ConflictError, UsageError) as error:  # this HIT's own trouble; the others go on
                failures[hit.uuid] = str(error)
            else:
                spent += crowd.cost_cents(assignments=wanted[hit.uuid], reward_cents=study.config.crowd.reward_cents)
                with study.database.write() as tables:
                    note_reward(tables, crowd, published.hit_type_id, study.config.crowd.reward_cents)
                    tables.hits.mark_submitted(
                        hit.uuid,
                        crowd=crowd.name,
                        hit_id=published.hit_id,
                        hit_type_id=published.hit_type_id,
                        user=stamp.user,
                        time=stamp.time,
                    )
            advance(1)
    return Submission(len(waiting) - len(failures), spent, failures)


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


def _task_maker(tables: Tables, study: Study, *, image_url: str) -> Callable[[Hit, int], HitTask]:
    infos = {info.wnid: info for info in tables.classes.all()}
    names = tables.opaque_names.all(current_key_version(tables)) if image_url else {}

    def make(hit: Hit, assignments: int) -> HitTask:
        urls = tuple(f"{image_url}/{public_blob_key(names[i])}" for i in hit.images_all) if image_url else ()
        return HitTask(hit, infos.get(hit.wnid, ClassInfo(hit.wnid, -1)), urls, study.config.crowd, assignments)

    return make


@dataclass(frozen=True, slots=True)
class Preview:
    """A planned HIT's page: the task (its image URLs are relative) and the images by their relative URL (JPEG bytes)."""

    task: HitTask
    images: Mapping[str, bytes]


def preview(study: Study, *, uuid: str | None = None) -> Preview:
    """The page of a HIT, by default of the first that waits to be published, else of the first of all. Publishes nothing.

    Raises:
        NotFoundError: there is no such HIT, or none at all.
        StageError: an image of the page has no opaque name yet.
    """
    with study.database.read() as tables:
        if uuid is not None:
            hit = tables.hits.get([uuid]).get(uuid)
        else:
            waiting = tables.hits.all(submitted=False, include_excluded=False)
            hit = next(iter(waiting), None) or next(iter(tables.hits.all()), None)
        if hit is None:
            raise NotFoundError("there is no such HIT", item=uuid or "label preview", remedy="Plan HITs with: retest label plan")
        names = tables.opaque_names.all(current_key_version(tables))
        unnamed = [image for image in hit.images_all if image not in names]
        if unnamed:
            raise StageError("has no opaque name yet", item=unnamed[0], remedy="Run: retest publish")
        task = _task_maker(tables, study, image_url=".")(hit, tables.hits.requested_assignments()[hit.uuid])
    return Preview(task, {url: study.blobs.get(url.removeprefix("./")) for url in task.image_urls})


@dataclass(frozen=True, slots=True)
class Collection:
    """What collecting brought.

    Answers that are new, how many HITs have 0, 1, ... valid answers, answers nobody can read, and the HITs found to have ended
    with answers lacking.
    """

    new_answers: int
    histogram: Mapping[int, int]
    unreadable: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()


def collect(study: Study, crowd: Crowd, *, stamp: Stamp, progress: Progress = silent) -> Collection:
    """Fetch the answers of every HIT that the study published and this back end knows; raw answers are added once and never rewritten.

    A HIT whose lifetime is over and that nobody is working on gets no more answers: it is closed, so that the next plan asks for
    what it lacks.
    """
    with study.database.read() as tables:
        own = tables.hits.published_here()
        hits = [hit for hit in tables.hits.all(submitted=True) if hit.uuid in own]
    new = 0
    unreadable: list[CrowdError] = []
    with progress("Collect answers", total=len(hits)) as advance:
        for start in range(0, len(hits), 50):
            block = hits[start : start + 50]
            answers = list(crowd.collect(block, on_unreadable=unreadable.append))
            with study.database.write() as tables:
                new += tables.assignments.add((a.assignment for a in answers), contents={a.assignment.id: a.content for a in answers})
                tables.assignments.add_workers({a.assignment.worker: a.worker_id for a in answers if a.worker_id is not None})
                for answer in answers:
                    tables.assignments.set_status(answer.assignment.id, answer.assignment.status)
            advance(len(block))
    with study.database.write() as tables:
        tables.warnings.add("collect", (("unreadable_answer", None, error.item, error.problem) for error in unreadable))
    ended = _close_ended(study, crowd, hits, stamp)
    return Collection(new, answer_histogram(study), tuple(str(error) for error in unreadable), ended)


def _close_ended(study: Study, crowd: Crowd, hits: Sequence[Hit], stamp: Stamp) -> tuple[str, ...]:
    """Close the HITs that lack answers and can get none."""
    with study.database.read() as tables:
        received = {uuid: sum(counts.values()) for uuid, counts in tables.assignments.counts_by_hit().items()}
        wanted, closed = tables.hits.requested_assignments(), closed_hits(tables)
    lacking = [hit for hit in hits if hit.uuid not in closed and received.get(hit.uuid, 0) < wanted[hit.uuid]]
    found = crowd.progress(lacking) if lacking else {}
    # An answer that came between collecting and now is still to be collected; then the HIT is not over yet.
    ended = tuple(uuid for uuid, item in found.items() if item.ended and not item.pending and item.answered <= received.get(uuid, 0))
    with study.database.write() as tables:
        record_closed(tables, ended, ENDED, stamp=stamp)
    return ended


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
    """Let HITs count nowhere; recorded as a decision."""
    with study.database.write() as tables:
        for uuid in uuids:
            tables.hits.exclude([uuid], reason)
            tables.decisions.add(time=stamp.time, user=stamp.user, kind="exclude_hit", item=uuid, after=reason)

"""Stage: labelling by named people in two passes with reconciliation (method, section 8; :mod:`retest.labeling.two_pass`).

Every judgement goes into the append-only history with the labeller's name. From the latest ones follow, per pass, labeller and
class, one HIT and its answer, so that selection frequencies, sampling and near-duplicate resolution treat them like any other
answers. A corrected judgement replaces that HIT by a new one; the old one counts nowhere and says why.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from retest.errors import InputError, NotFoundError, UsageError
from retest.labeling.two_pass import Judgement, Outcome, Pass, PassAgreement, TwoPassParameters, Verdict, pass_agreement, two_pass_outcomes
from retest.records import Assignment, AssignmentStatus, Candidate, Hit
from retest.stages._common import Stamp, completion_key, display_variant
from retest.stages._frequencies import refresh_frequencies
from retest.store import Tables
from retest.study import Study

_KIND = "two_pass"
_FILE = "two-pass"


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one file of judgements brought: new ones, changed ones, and those that were there already."""

    new: int
    changed: int
    unchanged: int


@dataclass(frozen=True, slots=True)
class TwoPassState:
    """Where the two passes stand. ``untouched`` counts candidates that nobody has judged and that are not excluded."""

    outcomes: Mapping[str, Outcome]
    agreement: PassAgreement
    untouched: int

    def count(self, verdict: Verdict) -> int:
        return sum(outcome.verdict is verdict for outcome in self.outcomes.values())


@dataclass(frozen=True, slots=True)
class Waiting:
    """A candidate that a labeller is to judge, and the JPEG that people see.

    ``remarks`` says what was judged before, for the reconciliation; ``said_yes``: the first labeller did.
    """

    candidate: Candidate
    class_name: str
    picture: bytes
    remarks: str = ""
    said_yes: bool = False


def record(study: Study, step: Pass, labeller: str, judged: Mapping[str, bool], *, stamp: Stamp) -> Recorded:
    """Store one labeller's judgements of a pass, candidate id -> yes or no; the same again changes nothing.

    Nothing is stored when anything is wrong with them.

    Raises:
        UsageError: the labeller has no usable name.
        NotFoundError: an id is no candidate of the study.
        InputError: somebody else judged an image in this pass, the labeller did in the other pass, or an image is reconciled that
            nobody disagrees about.
    """
    name = labeller.strip()
    if not name or not name.isprintable() or "/" in name:
        raise UsageError(f"{labeller!r} is no usable name", item="labeller", remedy="Give the name of the person who judged")
    with study.database.write() as tables:
        known = tables.candidates.get(judged)
        unknown = next((image for image in judged if image not in known), None)
        if unknown is not None:
            raise NotFoundError("is no candidate of this study", item=unknown, remedy="Use the ids of: retest label two-pass sheet")
        before = {key: judgement for key, (judgement, _) in _latest(tables).items()}
        made = {(image, step): Judgement(image, step, name, selected) for image, selected in judged.items()}
        _refuse_other_labellers(before, made)
        two_pass_outcomes({**before, **made}.values(), parameters=study.config.two_pass)
        changed = [key for key, judgement in made.items() if before.get(key) != judgement]
        tables.decisions.add_many(_decision(before.get(key), made[key], stamp) for key in changed)
        if changed:
            _derive_hits(tables, stamp)
        refresh_frequencies(tables)
    replaced = sum(key in before for key in changed)
    return Recorded(len(changed) - replaced, replaced, len(made) - len(changed))


def state(study: Study) -> TwoPassState:
    """The verdicts on all judged candidates, and how far the passes agree."""
    with study.database.read() as tables:
        judgements = [judgement for judgement, _ in _latest(tables).values()]
        excluded = set(tables.exclusions.all())
        ids = set(tables.candidates.ids())
    judged = {judgement.image_id for judgement in judgements}
    outcomes = two_pass_outcomes(judgements, parameters=study.config.two_pass)
    return TwoPassState(outcomes, pass_agreement(judgements), len(ids - excluded - judged))


def has_judgements(study: Study) -> bool:
    """Whether candidates were labelled in two passes; sampling then takes accepted ones only."""
    with study.database.read() as tables:
        return any(kind.startswith(f"{_KIND}/") for kind in tables.decisions.kinds())


def waiting(study: Study, step: Pass, *, labeller: str, wnid: str | None = None, limit: int = 200) -> list[Waiting]:
    """Candidates that this labeller can judge in a pass, by class and id: stored, not excluded, not judged in it yet.

    In the second pass these are candidates that another person judged in the first one; which of them, ``[two_pass] second_sees``
    says. The reconciliation is about disagreements.

    Raises:
        NotFoundError: the study has no such class.
    """
    with study.database.read() as tables:
        classes = {info.wnid: info.name for info in tables.classes.all()}
        if wnid is not None and wnid not in classes:
            remedy = f"Classes: {', '.join(sorted(classes)[:20])}{' ...' if len(classes) > 20 else ''}"
            raise NotFoundError("the study has no such class", item=wnid, remedy=remedy)
        judgements = [judgement for judgement, _ in _latest(tables).values()]
        excluded = set(tables.exclusions.all())
        pictures = {variant.image_id: variant.blob_key for variant in tables.variants.all(display_variant(study.config.images))}
        found = [
            candidate
            for candidate in tables.candidates.all(wnid=wnid)
            if candidate.id in pictures and candidate.id not in excluded and candidate.source != "reference"
        ]
    outcomes = two_pass_outcomes(judgements, parameters=study.config.two_pass)
    chosen = [candidate for candidate in found if _is_due(step, labeller, outcomes.get(candidate.id), study.config.two_pass)]
    chosen.sort(key=lambda candidate: (candidate.wnid, candidate.search_key or "", candidate.id))
    return [
        Waiting(
            candidate,
            classes.get(candidate.wnid, candidate.wnid),
            study.blobs.get(pictures[candidate.id]),
            outcomes[candidate.id].reason if step is Pass.RECONCILE else "",
            step is Pass.SECOND and outcomes[candidate.id].judgements[0].selected,
        )
        for candidate in chosen[:limit]
    ]


def _is_due(step: Pass, labeller: str, outcome: Outcome | None, parameters: TwoPassParameters) -> bool:
    if outcome is None:
        return step is Pass.FIRST
    steps = {judgement.step: judgement for judgement in outcome.judgements}
    if step is Pass.FIRST:
        return Pass.FIRST not in steps and steps[Pass.SECOND].labeller != labeller
    if step is Pass.SECOND:
        first = steps.get(Pass.FIRST)
        may = first is not None and first.labeller != labeller and (first.selected or parameters.second_sees == "all")
        return may and Pass.SECOND not in steps
    return outcome.waits_for is Pass.RECONCILE


def _latest(tables: Tables) -> dict[tuple[str, Pass], tuple[Judgement, int]]:
    """The latest judgement of every candidate in every pass, with the number of its decision."""
    found: dict[tuple[str, Pass], tuple[Judgement, int]] = {}
    for step in Pass:
        for row in tables.decisions.all(kind=f"{_KIND}/{step}"):
            found[row["item"], step] = (Judgement(row["item"], step, row["user"], bool(row["after"]["selected"])), row["no"])
    return found


def _refuse_other_labellers(before: Mapping[tuple[str, Pass], Judgement], made: Mapping[tuple[str, Pass], Judgement]) -> None:
    for key, judgement in made.items():
        earlier = before.get(key)
        if earlier is not None and earlier.labeller != judgement.labeller:
            raise InputError(
                f"was judged by {earlier.labeller} in the {judgement.step} pass already",
                item=judgement.image_id,
                remedy=f"Leave it out of {judgement.labeller}'s file, or let {earlier.labeller} correct the judgement",
            )


def _decision(before: Judgement | None, now: Judgement, stamp: Stamp) -> dict[str, object]:
    """A row of the history. The labeller is its user; who entered the file, if somebody else, is noted."""
    entered = {} if stamp.user == now.labeller else {"entered_by": stamp.user}
    return {
        "time": stamp.time,
        "user": now.labeller,
        "kind": f"{_KIND}/{now.step}",
        "item": now.image_id,
        "before": None if before is None else {"selected": before.selected},
        "after": {"selected": now.selected, **entered},
    }


def _derive_hits(tables: Tables, stamp: Stamp) -> None:
    """One HIT with one answer per pass, labeller and class; those that are no longer current count nowhere."""
    latest = _latest(tables)
    wnids = {image: candidate.wnid for image, candidate in tables.candidates.get({image for image, _ in latest}).items()}
    groups: dict[tuple[Pass, str, str], list[tuple[Judgement, int]]] = defaultdict(list)
    for judgement, number in latest.values():
        groups[judgement.step, judgement.labeller, wnids[judgement.image_id]].append((judgement, number))
    current = [_hit(group, members, stamp) for group, members in sorted(groups.items())]
    wanted = {hit.uuid for hit, _ in current}
    known = {hit.uuid for hit in tables.hits.all() if (hit.file or "").startswith(f"{_FILE}/")}
    superseded = known - wanted - set(tables.hits.excluded())
    tables.hits.exclude(sorted(superseded), "judgements were added or corrected; see the newer HIT of this labeller")
    fresh = [(hit, answer) for hit, answer in current if hit.uuid not in known]
    tables.hits.add((hit for hit, _ in fresh), assignments=1)
    tables.assignments.add(answer for _, answer in fresh)


def _hit(group: tuple[Pass, str, str], members: Sequence[tuple[Judgement, int]], stamp: Stamp) -> tuple[Hit, Assignment]:
    """The HIT is named by its latest decision, so that a judgement which is corrected and corrected back makes a HIT of its own."""
    step, labeller, wnid = group
    images = tuple(sorted(judgement.image_id for judgement, _ in members))
    selected = tuple(sorted(judgement.image_id for judgement, _ in members if judgement.selected))
    uuid = completion_key("two-pass-1", step, labeller, wnid, max(number for _, number in members))
    hit = Hit(uuid, wnid, images, (), (), images, user=labeller, time=stamp.time, submitted=True, file=f"{_FILE}/{step}/{labeller}")
    return hit, Assignment(f"{_FILE}:{uuid}", uuid, labeller, AssignmentStatus.SUBMITTED, selected, submit_time=stamp.time)

"""Planning, publishing, collecting: refusals, failures of the crowd, money, and nothing bought twice whatever happens when."""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
import stage_studies as tiny

from retest.crowd import HitTask, PublishedHit, SimulatedCrowd
from retest.errors import CrowdError, InputError, NotFoundError, StageError, UsageError
from retest.records import Assignment, AssignmentStatus, Hit
from retest.stages import label, label_crowd, review
from retest.store import Tables, schema
from retest.study import Study
from retest.testing.database import canonical_dump, differences


def plan(study: Study, *, originals: bool = False) -> label.Plan:
    return label.plan(study, stamp=tiny.STAMP, originals=originals)


def submit(study: Study, crowd: SimulatedCrowd, **options: bool) -> label.Submission:
    return label.submit(study, crowd, stamp=tiny.STAMP, **options)


# --------------------------------------------------------------------------------------------------------------- planning


def test_planning_before_images_are_stored(study: Study):
    tiny.find_candidates(study)
    with pytest.raises(StageError, match=r"18 candidates are not stored yet.*retest download"):
        plan(study)


def test_a_class_without_a_similar_one(tmp_path: Path):
    tiny.write_benchmark(tmp_path)
    for part in ("train", "val", "pool"):
        for wnid in ("dog", "owl"):
            shutil.rmtree(tmp_path / part / wnid)
    with closing(tiny.make_study(tmp_path)) as study:
        tiny.ready_to_label(study)
        with pytest.raises(StageError, match="class cat: it has no similar class") as caught:
            plan(study)
        assert caught.value.remedy


def test_too_few_controls_name_the_class(tmp_path: Path):
    with closing(tiny.make_study(tmp_path, labeling={"negative_controls": 9})) as study:
        tiny.ready_to_label(study)
        with pytest.raises(InputError, match=r"class cat: a HIT needs 9 negative controls and there are only 8") as caught:
            plan(study)
        assert caught.value.remedy
        with study.database.read() as tables:
            assert tables.hits.totals().hits == 0


@pytest.mark.parametrize("originals", [False, True])
def test_a_class_with_too_few_originals_can_be_left_out(tmp_path: Path, originals: bool):
    """One class of a few images must not keep all others from being labelled, neither their candidates nor their originals."""
    with closing(tiny.make_study(tmp_path, labeling={"skip_search_keys": ("cat",)})) as study:
        tiny.ready_to_label(study)
        made = label.plan(study, stamp=tiny.STAMP, originals=originals)
    assert {hit.wnid for hit in made.hits} == {"dog", "owl"}
    assert made.skipped["skipped_search_key"] == (8 if originals else 6)


def test_a_look_at_the_plan_stores_nothing(ready: Study):
    before = canonical_dump(ready)
    looked = label.plan(ready, stamp=tiny.STAMP, store=False)
    assert (len(looked.hits), looked.added) == (6, 0)
    assert differences(before, canonical_dump(ready)) == []
    assert plan(ready).hits == looked.hits


def test_two_people_who_plan_at_once_plan_once(ready: Study, monkeypatch: pytest.MonkeyPatch):
    """While one plan is worked out, others may write; what they planned meanwhile is not planned again."""
    real, others = label.plan_hits, []

    def meanwhile(*arguments, **options):
        if not others:
            others.append(None)
            others[0] = label.plan(ready, stamp=dataclasses.replace(tiny.STAMP, user="other"))
        return real(*arguments, **options)

    monkeypatch.setattr(label, "plan_hits", meanwhile)
    mine = plan(ready)
    assert (others[0].added, mine.added, len(mine.hits)) == (6, 0, 0)
    with ready.database.read() as tables:
        assert {hit.user for hit in tables.hits.all()} == {"other"}
        assert tables.hits.totals().hits == 6


def test_a_plan_is_made_though_others_never_stop_changing_the_study(ready: Study, monkeypatch: pytest.MonkeyPatch):
    real, tries = label._make_plan, []

    def meanwhile(study: Study, tables: Tables, *arguments, **options):
        tries.append(None)
        if len(tries) <= 3:  # the fourth time the others have to wait
            with study.database.write() as others:
                others.hits.add([Hit(f"other {len(tries)}", "cat", (), (), (), (), submitted=True)], assignments=1)
        return real(study, tables, *arguments, **options)

    monkeypatch.setattr(label, "_make_plan", meanwhile)
    assert plan(ready).added == 6
    assert len(tries) == 4


def test_imported_hits_without_answers_keep_nothing_from_being_planned(ready: Study):
    """HITs that somebody else published long ago bring no answers here."""
    made = label.plan(ready, stamp=tiny.STAMP, store=False).hits
    with ready.database.write() as tables:
        old = [dataclasses.replace(hit, uuid=f"old {number}", submitted=True, hit_id=f"AMT{number}") for number, hit in enumerate(made)]
        assert tables.hits.add(old, assignments=10) == 6
    assert plan(ready).added == 6
    assert plan(ready).added == 0


def test_nothing_is_planned_twice_at_any_moment(ready: Study):
    """Planned, published, collected, counted: the same images are never asked about again."""
    crowd = tiny.simulated()
    assert plan(ready).added == 6
    assert plan(ready).added == 0
    submit(ready, crowd)
    assert plan(ready).added == 0
    label.collect(ready, crowd, stamp=tiny.STAMP)
    assert plan(ready).added == 0  # collected, and not yet counted
    label.compute_frequencies(ready)
    assert plan(ready).added == 0
    with ready.database.read() as tables:
        assert tables.assignments.count() == 6 * 3


def test_answers_that_were_rejected_are_asked_for_again(ready: Study):
    crowd = tiny.simulated()
    plan(ready)
    submit(ready, crowd)
    label.collect(ready, crowd, stamp=tiny.STAMP)
    with ready.database.read() as tables:
        hit = next(iter(tables.hits.all()))
        (first, *_) = tables.assignments.all(hit_uuid=hit.uuid)
    crowd.reject(first.id, feedback="No image was selected")
    label.collect(ready, crowd, stamp=tiny.STAMP)
    with ready.database.read() as tables:
        statuses = Counter(answer.status for answer in tables.assignments.all())
        others = {image for other in tables.hits.all() if other.uuid != hit.uuid for image in other.images_to_label}
    assert statuses == {AssignmentStatus.SUBMITTED: 17, AssignmentStatus.REJECTED: 1}
    (again,) = plan(ready).hits
    due = set(hit.images_to_label) - others  # those that another page shows as well have answers enough
    assert 0 < len(due) < 4
    assert (set(again.images_to_label), again.wnid) == (due, hit.wnid)
    assert again.uuid != hit.uuid


def test_excluded_hits_count_nowhere_and_their_images_are_asked_about_again(ready: Study):
    tiny.label_all(ready)
    with ready.database.read() as tables:
        hit = next(iter(tables.hits.all()))
        before = {(f.image_id, f.wnid): f.num_assignments for f in tables.frequencies.all()}
    label.exclude_hits(ready, [hit.uuid], reason="wrong page", stamp=tiny.STAMP)
    report = label.compute_frequencies(ready)
    assert report is not None
    assert label.compute_frequencies(ready) is None
    with ready.database.read() as tables:
        after = {(f.image_id, f.wnid): f.num_assignments for f in tables.frequencies.all()}
        (decision,) = tables.decisions.all(kind="exclude_hit")
    assert (decision["item"], decision["after"], decision["user"]) == (hit.uuid, "wrong page", "tester")
    lost = {key: before[key] - after.get(key, 0) for key in before if before[key] != after.get(key, 0)}
    assert lost == {(image, hit.wnid): 3 for image in hit.images_all}
    assert {image for new in plan(ready).hits for image in new.images_to_label} >= set(hit.images_to_label) - {
        image for image, wnid in after if after[image, wnid] >= 3
    }


def test_leaving_a_hit_out_again_is_one_decision_and_another_reason_is_taken_back_to_the_first(ready: Study):
    tiny.label_all(ready)
    with ready.database.read() as tables:
        uuid = next(iter(tables.hits.all())).uuid
    for reason in ("wrong page", "wrong page", "rehearsal"):
        label.exclude_hits(ready, [uuid], reason=reason, stamp=tiny.STAMP)
    found = review.history(ready, review.DecisionFilter(kind="exclude_hit")).decisions
    assert [(one.before, one.after) for one in found] == [("wrong page", "rehearsal"), (None, "wrong page")]
    review.take_back(ready, [found[0].no], stamp=tiny.STAMP)
    with ready.database.read() as tables:
        assert tables.hits.excluded() == {uuid: "wrong page"}


# ------------------------------------------------------------------------------------------------------------------ money


def live(study: Study, *, budget: int | None, money: int | None = None) -> tuple[Study, tiny.LiveCrowd]:
    crowd = tiny.LiveCrowd(tiny.affinity, start_time=tiny.STAMP.time)
    crowd.money = money
    settings = dataclasses.replace(study.config.crowd, budget_cents=budget, reward_cents=10)
    return dataclasses.replace(study, config=dataclasses.replace(study.config, crowd=settings)), crowd


@pytest.mark.parametrize(
    ("budget", "confirmed", "message"),
    [
        (None, True, r"\[crowd\] budget_cents: publishing costs money and no budget is set"),
        (10_000, False, r"6 HITs would cost 2\.16 USD and nobody confirmed.*LIVE"),
        (215, True, r"\[crowd\] budget_cents: 6 HITs cost 2\.16 USD after 0\.00 USD already spent, the budget is 2\.15 USD"),
        (0, True, r"the budget is 0\.00 USD"),
    ],
)
def test_no_money_is_spent_without_budget_and_confirmation(ready: Study, budget: int | None, confirmed: bool, message: str):
    study, crowd = live(ready, budget=budget)
    plan(study)
    assert label.waiting_cost_cents(study, crowd) == (6, 216)
    with pytest.raises(UsageError, match=message) as caught:
        submit(study, crowd, confirmed_live=confirmed)
    assert caught.value.remedy
    assert list(crowd.published()) == []


def test_within_the_budget_and_confirmed(ready: Study):
    study, crowd = live(ready, budget=216)
    plan(study)
    done = submit(study, crowd, confirmed_live=True)
    assert (done.published, done.cost_cents, dict(done.failures)) == (6, 216, {})
    again = submit(study, crowd)  # nothing waits, so nothing has to be confirmed
    assert (again.published, again.cost_cents) == (0, 0)


def test_what_was_spent_stays_known_when_the_reward_is_lowered(ready: Study):
    study, crowd = live(ready, budget=216)
    plan(study)
    submit(study, crowd, confirmed_live=True)
    cheaper = dataclasses.replace(
        study, config=dataclasses.replace(study.config, crowd=dataclasses.replace(study.config.crowd, reward_cents=1))
    )
    assert label.plan(cheaper, stamp=tiny.STAMP, originals=True).added > 0
    with pytest.raises(UsageError, match=r"after 2\.16 USD already spent"):
        submit(cheaper, crowd, confirmed_live=True)


# --------------------------------------------------------------------------------------------------- failures of the crowd


def test_failures_are_listed_and_only_those_are_tried_again(ready: Study):
    plan(ready)
    crowd = tiny.FlakyCrowd({1, 4})
    first = submit(ready, crowd)
    failed = [crowd.calls[1], crowd.calls[4]]
    assert first.published == 4
    assert set(first.failures) == set(failed)
    assert all("the service is unavailable" in text for text in first.failures.values())
    with ready.database.read() as tables:
        assert [hit.uuid for hit in tables.hits.all(submitted=False)] == failed
    crowd.calls, crowd.failing = [], {0}
    second = submit(ready, crowd)
    assert (crowd.calls, second.published, set(second.failures)) == (failed, 1, {failed[0]})
    crowd.calls, crowd.failing = [], set()
    assert submit(ready, crowd).published == 1
    assert sorted(item.uuid for item in crowd.published()) == sorted(
        crowd.calls + [failed[1]] + [u for u in _all(ready) if u not in failed]
    )


def _all(study: Study) -> list[str]:
    with study.database.read() as tables:
        return [hit.uuid for hit in tables.hits.all()]


class _Interrupted(BaseException):
    pass


class _DiesAfterPublishing(SimulatedCrowd):
    """The process ends right after the back end took a HIT and before the study could note it."""

    die_after = 2

    def publish(self, task: HitTask) -> PublishedHit:
        made = super().publish(task)
        self.die_after -= 1
        if self.die_after == 0:
            raise _Interrupted
        return made


def test_a_hit_whose_publication_was_not_noted_is_not_published_twice(ready: Study):
    plan(ready)
    crowd = _DiesAfterPublishing(tiny.affinity, start_time=tiny.STAMP.time)
    with pytest.raises(_Interrupted):
        submit(ready, crowd)
    assert len(list(crowd.published())) == 2
    with ready.database.read() as tables:
        assert tables.hits.totals().submitted == 1
    assert submit(ready, crowd).published == 5
    assert sorted(item.uuid for item in crowd.published()) == sorted(_all(ready))


class _NeverAnswers(SimulatedCrowd):
    """Takes the HITs, and the connection is lost before it has said so."""

    def publish(self, task: HitTask) -> PublishedHit:
        super().publish(task)
        raise CrowdError("cannot be reached", item=task.hit.uuid, remedy="Try again")


class _Elsewhere(SimulatedCrowd):
    @property
    def name(self) -> str:
        return "another back end"


class _Refuses(SimulatedCrowd):
    def publish(self, task: HitTask) -> PublishedHit:
        raise UsageError("the page is too large", item=task.hit.uuid, remedy="Show fewer images")


def test_a_hit_that_one_back_end_may_have_is_not_published_on_another(ready: Study):
    """Request tokens hold on one back end only: on a second one the same HIT would be paid for again."""
    plan(ready)
    lost = _NeverAnswers(tiny.affinity, start_time=tiny.STAMP.time)
    assert len(submit(ready, lost).failures) == 6
    other = _Elsewhere(tiny.affinity, start_time=tiny.STAMP.time)
    refused = submit(ready, other)
    assert (refused.published, len(refused.failures), list(other.published())) == (0, 6, [])
    assert all("may be published on" in text and lost.name in text for text in refused.failures.values())
    assert label.waiting_cost_cents(ready, lost)[0] == 6  # what was tried is not yet spent
    crowd = tiny.simulated()
    assert crowd.name == lost.name
    assert submit(ready, crowd).published == 6


def test_a_hit_that_was_never_sent_can_go_to_another_back_end(ready: Study):
    plan(ready)
    assert len(submit(ready, _Refuses(tiny.affinity, start_time=tiny.STAMP.time)).failures) == 6
    assert submit(ready, _Elsewhere(tiny.affinity, start_time=tiny.STAMP.time)).published == 6


def _attempted(tables: Tables) -> dict[str, str]:
    """uuid -> back end of the HITs whose publication has no outcome yet."""
    t = schema.hits
    query = sa.select(t.c.uuid, t.c.crowd).where(t.c.crowd.is_not(None), t.c.submitted.is_(False))
    return {row.uuid: row.crowd for row in tables.connection.execute(query)}


def test_the_study_notes_where_a_hit_goes_before_it_goes(ready: Study):
    noted: list[str | None] = []

    class Looks(SimulatedCrowd):
        def publish(self, task: HitTask) -> PublishedHit:
            with ready.database.read() as tables:
                noted.append(_attempted(tables).get(task.hit.uuid))
            return super().publish(task)

    plan(ready)
    crowd = Looks(tiny.affinity, start_time=tiny.STAMP.time)
    assert submit(ready, crowd).published == 6
    assert noted == [crowd.name] * 6
    with ready.database.read() as tables:
        assert _attempted(tables) == {}


def test_imported_hits_and_answers_are_not_the_crowds(ready: Study):
    """Published data are no business of this back end: not to be approved, closed, deleted or missed."""
    made = label.plan(ready, stamp=tiny.STAMP, store=False).hits
    old = dataclasses.replace(made[0], uuid="old", submitted=True, hit_id="AMT1")
    with ready.database.write() as tables:
        tables.hits.add([old], assignments=10)
        tables.assignments.add([Assignment("OLDANSWER", "old", "worker-old", AssignmentStatus.SUBMITTED, ())], contents={})
    crowd = tiny.simulated()
    plan(ready)
    submit(ready, crowd)
    label.collect(ready, crowd, stamp=tiny.STAMP)
    assert len(label_crowd.submitted_answers(ready)) == 18
    assert label_crowd.check_crowd(ready, crowd) == []
    closed = label_crowd.expire(ready, crowd, stamp=tiny.STAMP)
    assert (closed.done, dict(closed.failures)) == (6, {})
    with pytest.raises(NotFoundError, match="no such HIT is published"):
        label_crowd.expire(ready, crowd, ["old"], stamp=tiny.STAMP)


def test_collecting_again_adds_nothing_and_follows_the_status(ready: Study):
    crowd = tiny.simulated()
    plan(ready)
    submit(ready, crowd)
    first = label.collect(ready, crowd, stamp=tiny.STAMP)
    assert (first.new_answers, dict(first.histogram)) == (18, {0: 0, 1: 0, 2: 0, 3: 6})
    before = canonical_dump(ready, skip=())
    assert label.collect(ready, crowd, stamp=tiny.STAMP).new_answers == 0
    assert differences(before, canonical_dump(ready, skip=())) == []
    with ready.database.read() as tables:
        answer = next(iter(tables.assignments.all()))
    crowd.reject(answer.id, feedback="Everything was selected")
    assert dict(label.collect(ready, crowd, stamp=tiny.STAMP).histogram) == {0: 0, 1: 0, 2: 1, 3: 5}


def test_what_the_crowd_does_not_know_yet_is_no_error(ready: Study):
    plan(ready)
    submit(ready, tiny.simulated())
    assert label.collect(ready, tiny.simulated(), stamp=tiny.STAMP).new_answers == 0  # another crowd, without these HITs

"""The conformance suite of the crowd seam: subclass :class:`CrowdContract` for every back end, fakes included.

Under pytest each ``test_*`` method is one test::

    class TestMyCrowd(CrowdContract):
        def make_crowd(self) -> Crowd:
            return MyCrowd(...)          # fresh and empty

        def answer(self, crowd: Crowd, hit: Hit) -> None:
            ...                          # let ``hit.assignments`` annotators answer

No test framework is imported; a failed check raises AssertionError.
"""

from __future__ import annotations

import dataclasses
import threading
from datetime import datetime

from retest.crowd import Crowd, CrowdParameters, HitTask, RawAnswer
from retest.errors import ConflictError, CrowdError, UsageError
from retest.records import AssignmentStatus, ClassInfo, Hit
from retest.testing._checks import check, raises

__all__ = ["CrowdContract", "example_hit", "example_task"]

_WNID = "n01443537"


def example_hit(number: int = 0, *, candidates: int = 6, controls: int = 2) -> Hit:
    """A small HIT of class goldfish; equal numbers give equal HITs, different numbers share no candidate."""
    to_label = tuple(f"{number:04d}{index:036x}" for index in range(candidates))
    positive = tuple(f"ILSVRC2012_val_{50 * number + index:08d}.JPEG" for index in range(controls))
    negative = tuple(f"ILSVRC2012_val_{50 * number + 25 + index:08d}.JPEG" for index in range(controls))
    shown = to_label[::2] + negative + to_label[1::2] + positive
    return Hit(
        uuid=f"00000000-0000-4000-8000-{number:012d}",
        wnid=_WNID,
        images_to_label=to_label,
        images_pos_control=positive,
        images_neg_control=negative,
        images_all=shown,
        user="tester",
        time="2026-01-31T09:00:00+00:00",
    )


def example_task(number: int = 0, *, assignments: int = 3, settings: CrowdParameters | None = None) -> HitTask:
    """The task of :func:`example_hit` with opaque URLs that say nothing about the images."""
    hit = example_hit(number)
    info = ClassInfo(
        wnid=_WNID,
        cid=1,
        synset=("goldfish", "Carassius auratus"),
        gloss="small golden or orange-red freshwater fishes",
        wikipedia_pages=("https://en.wikipedia.org/wiki/Goldfish",),
    )
    urls = tuple(f"https://images.example/{1000 * number + index:032x}.jpg" for index in range(len(hit.images_all)))
    return HitTask(hit=hit, info=info, image_urls=urls, settings=settings or CrowdParameters(), assignments=assignments)


class CrowdContract:
    """What every :class:`~retest.crowd.Crowd` promises. Override :meth:`make_crowd`, and what else differs."""

    def make_crowd(self) -> Crowd:
        """Return a fresh back end without HITs. Called once per test."""
        raise NotImplementedError

    def reopen(self, crowd: Crowd) -> Crowd | None:
        """Return a second client of the same back end, as another process would make; None if that is impossible."""
        return None

    def answer(self, crowd: Crowd, hit: Hit) -> None:
        """Let annotators answer the published HIT until it has all its assignments."""

    # What a back end is

    def test_is_a_crowd_with_an_honest_name(self) -> None:
        crowd = self.make_crowd()
        check(isinstance(crowd, Crowd), "does not have all members of the Crowd protocol")
        check(crowd.simulated == ("simulated" in crowd.name.lower()), f"name {crowd.name!r} hides whether it is simulated")
        check(not (crowd.simulated and crowd.live), "a simulated crowd cannot cost money")

    def test_cost_is_in_whole_cents_and_never_below_the_rewards(self) -> None:
        crowd = self.make_crowd()
        cost = crowd.cost_cents(assignments=10, reward_cents=10)
        check(type(cost) is int, f"cost {cost!r} is not an int")
        check(cost == 0 if crowd.simulated else cost >= 100, f"10 assignments of 10 cents cost {cost}")

    def test_balance_is_in_whole_cents(self) -> None:
        balance = self.make_crowd().balance()
        check(balance is None or type(balance) is int, f"balance {balance!r} is not an int")

    # Publishing

    def test_publish_returns_the_ids_of_the_hit(self) -> None:
        crowd = self.make_crowd()
        made = crowd.publish(example_task(1))
        check(made.created, "the first publish did not create the HIT")
        check(made.uuid == example_hit(1).uuid and bool(made.hit_id) and bool(made.hit_type_id), f"ids are missing: {made}")
        check(made.assignments == 3, f"{made.assignments} assignments instead of 3")

    def test_publish_again_returns_the_same_hit(self) -> None:
        crowd = self.make_crowd()
        first = crowd.publish(example_task(1))
        for client in (crowd, self.reopen(crowd) or crowd):
            again = client.publish(example_task(1))
            check(again == first and not again.created, f"{again} is not the HIT {first}")
        check([item.uuid for item in crowd.published()] == [first.uuid], "a second HIT was created")

    def test_publish_again_after_answers_changes_nothing(self) -> None:
        crowd, answers = self._answered(1)
        crowd.publish(example_task(1))
        check(list(crowd.collect([example_hit(1)])) == answers, "publishing again changed the answers")

    def test_concurrent_publishes_create_one_hit(self) -> None:
        crowd = self.make_crowd()
        made = []
        threads = [threading.Thread(target=lambda: made.append(crowd.publish(example_task(1)))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        check(len(made) == 4, "a concurrent publish failed")
        check(sum(item.created for item in made) == 1 and len({item.hit_id for item in made}) == 1, f"not one HIT: {made}")

    def test_publish_refuses_other_content_under_the_same_uuid(self) -> None:
        crowd = self.make_crowd()
        crowd.publish(example_task(1))
        other = example_task(2)
        changed = dataclasses.replace(other, hit=dataclasses.replace(other.hit, uuid=example_hit(1).uuid))
        with raises(ConflictError, "other content took the place of a published HIT"):
            crowd.publish(changed)

    def test_published_lists_all_hits(self) -> None:
        crowd = self.make_crowd()
        made = [crowd.publish(example_task(number)) for number in (3, 1, 2)]
        listed = sorted(crowd.published(), key=lambda item: item.uuid)
        check(listed == sorted(made, key=lambda item: item.uuid), "published() differs from what was published")

    # Answers

    def test_every_hit_gets_its_number_of_different_annotators(self) -> None:
        _, answers = self._answered(1)
        check(len(answers) == 3, f"{len(answers)} answers instead of 3")
        check(len({item.assignment.worker for item in answers}) == 3, "an annotator answered twice")
        check(len({item.assignment.id for item in answers}) == 3, "assignment ids repeat")

    def test_answers_are_well_formed(self) -> None:
        crowd, answers = self._answered(1)
        hit = example_hit(1)
        for assignment in (item.assignment for item in answers):
            check(assignment.hit_uuid == hit.uuid, "an answer belongs to another HIT")
            check(assignment.status is AssignmentStatus.SUBMITTED, f"a new answer is {assignment.status}")
            shown = tuple(image for image in hit.images_all if image in assignment.selected)
            check(assignment.selected == shown, "selected is not a subset of images_all in its order")
            start, end = (datetime.fromisoformat(time or "") for time in (assignment.accept_time, assignment.submit_time))
            check(start.utcoffset() is not None and start <= end, "times need a zone, acceptance before submission")
            check(assignment.worker.startswith("simulated") == crowd.simulated, "simulated annotators must say so, others must not")

    def test_raw_worker_ids_do_not_leak(self) -> None:
        _, answers = self._answered(1)
        for item in answers:
            if item.worker_id is not None:
                check(item.worker_id not in repr(item), "repr shows the raw worker id")
                check(item.worker_id != item.assignment.worker, "worker is the raw worker id")

    def test_collect_repeats_itself_and_follows_the_order_asked(self) -> None:
        crowd = self.make_crowd()
        hits = [example_hit(number) for number in (1, 2)]
        for number, hit in enumerate(hits, start=1):
            crowd.publish(example_task(number))
            self.answer(crowd, hit)
        forward, backward = list(crowd.collect(hits)), list(crowd.collect(hits[::-1]))
        problems: list[CrowdError] = []
        check(forward == list(crowd.collect(hits, on_unreadable=problems.append)), "collect is not repeatable")
        check(problems == [], f"readable answers were reported as unreadable: {problems}")
        check(backward == forward[3:] + forward[:3], "the order of HITs changes the answers")
        times = [item.assignment.submit_time or "" for item in forward[:3]]
        check(times == sorted(times), "answers are not in the order of submission")
        other = self.reopen(crowd)
        check(other is None or list(other.collect(hits)) == forward, "another client sees other answers")

    def test_unknown_hits_are_absent(self) -> None:
        crowd = self.make_crowd()
        check(list(crowd.collect([example_hit(9)])) == [], "answers to a HIT that was never published")
        check(dict(crowd.progress([example_hit(9)])) == {}, "progress of a HIT that was never published")

    def test_progress_counts_statuses(self) -> None:
        crowd, answers = self._answered(1)
        crowd.approve(answers[0].assignment.id)
        crowd.reject(answers[1].assignment.id, feedback="No image was selected")
        (item,) = crowd.progress([example_hit(1)]).values()
        counts = (item.assignments, item.available, item.pending, item.submitted, item.approved, item.rejected)
        check(counts == (3, 0, 0, 1, 1, 1), f"progress is {counts}")
        check(item.valid == 2 and item.outstanding == 0, "valid must count submitted and approved")

    # Decisions

    def test_decisions_change_only_the_status(self) -> None:
        crowd, before = self._answered(1)
        crowd.approve(before[0].assignment.id, feedback="Thank you")
        crowd.reject(before[1].assignment.id, feedback="Every image was selected")
        expected = [AssignmentStatus.APPROVED, AssignmentStatus.REJECTED, AssignmentStatus.SUBMITTED]
        for client in (crowd, self.reopen(crowd) or crowd):
            after = list(client.collect([example_hit(1)]))
            check([item.assignment.status for item in after] == expected, "statuses do not follow the decisions")
            same = [dataclasses.replace(item.assignment, status=AssignmentStatus.SUBMITTED) for item in after]
            check(same == [item.assignment for item in before], "a decision changed more than the status")

    def test_decisions_can_be_repeated(self) -> None:
        crowd, answers = self._answered(1)
        for _ in range(2):
            crowd.approve(answers[0].assignment.id)
            crowd.reject(answers[1].assignment.id, feedback="Every image was selected")
        (item,) = crowd.progress([example_hit(1)]).values()
        check((item.approved, item.rejected) == (1, 1), "a repeated decision had a second effect")

    def test_rejection_needs_feedback(self) -> None:
        crowd, answers = self._answered(1)
        with raises(UsageError, "an answer was rejected without a word"):
            crowd.reject(answers[0].assignment.id, feedback="  ")

    def test_approved_cannot_be_rejected(self) -> None:
        crowd, answers = self._answered(1)
        crowd.approve(answers[0].assignment.id)
        with raises(CrowdError, "an approved answer was rejected"):
            crowd.reject(answers[0].assignment.id, feedback="Second thoughts")

    def test_rejection_can_be_overridden_but_only_on_request(self) -> None:
        crowd, answers = self._answered(1)
        crowd.reject(answers[0].assignment.id, feedback="A mistake")
        with raises(CrowdError, "a rejection was overridden without being asked"):
            crowd.approve(answers[0].assignment.id)
        crowd.approve(answers[0].assignment.id, override_rejection=True, feedback="Sorry, our mistake")
        (item,) = crowd.progress([example_hit(1)]).values()
        check((item.approved, item.rejected) == (1, 0), "the rejection stands")

    def test_unknown_assignments_cannot_be_decided(self) -> None:
        crowd, answers = self._answered(1)
        for name in ("NOSUCHASSIGNMENT0000000000000", answers[0].assignment.id + "7"):
            with raises(CrowdError, f"approved {name!r}"):
                crowd.approve(name)
            with raises(CrowdError, f"rejected {name!r}"):
                crowd.reject(name, feedback="Nobody will read this")

    # The life of a HIT

    def test_extend_is_to_a_total(self) -> None:
        crowd, before = self._answered(1)
        for _ in range(2):
            crowd.extend(example_hit(1), assignments=5)
        self.answer(crowd, example_hit(1))
        after = list(crowd.collect([example_hit(1)]))
        check(len({item.assignment.worker for item in after}) == 5 == len(after), f"{len(after)} answers instead of 5")
        check(all(item in after for item in before), "extending changed an earlier answer")
        with raises(UsageError, "a HIT was extended to fewer answers than it has"):
            crowd.extend(example_hit(1), assignments=4)

    def test_delete_needs_every_answer_decided(self) -> None:
        crowd, answers = self._answered(1)
        with raises(CrowdError, "a HIT with undecided answers was deleted"):
            crowd.delete(example_hit(1))
        for item in answers:
            crowd.approve(item.assignment.id)
        if crowd.live:
            with raises(CrowdError, "a live HIT was deleted"):
                crowd.delete(example_hit(1))
            return
        for _ in range(2):
            crowd.delete(example_hit(1))
        check(list(crowd.published()) == [], "a deleted HIT is still listed")
        check(dict(crowd.progress([example_hit(1)])) == {}, "a deleted HIT still has progress")

    def test_unknown_hits_cannot_be_changed(self) -> None:
        crowd = self.make_crowd()
        for change in (crowd.expire, crowd.delete, lambda hit: crowd.extend(hit, assignments=5)):
            with raises(CrowdError, "an unknown HIT was changed"):
                change(example_hit(9))

    def test_expire_can_be_repeated(self) -> None:
        crowd, answers = self._answered(1)
        for _ in range(2):
            crowd.expire(example_hit(1))
        check(list(crowd.collect([example_hit(1)])) == answers, "expiring changed the answers")
        item = crowd.progress([example_hit(1)])[example_hit(1).uuid]
        check(item.available == 0, "an expired HIT can still be taken")
        check(item.ended or item.answered == item.assignments, "an expired HIT that lacks answers has not ended")

    def _answered(self, number: int) -> tuple[Crowd, list[RawAnswer]]:
        crowd = self.make_crowd()
        crowd.publish(example_task(number))
        self.answer(crowd, example_hit(number))
        return crowd, list(crowd.collect([example_hit(number)]))

"""HIT and annotator inspection: figures as retest label quality gives them, filters, and what leaving a HIT out changes."""

from __future__ import annotations

import random
import statistics
import time
from contextlib import closing
from itertools import count

import pytest
import sqlalchemy as sa
from review_hits_study import CAREFUL, REJECTED, SPAMMER, add_hits
from review_server import CLASSES, STAMP, ReviewServer

from retest.labeling import QualityParameters, selection_frequencies
from retest.records import Assignment, AssignmentStatus, Hit
from retest.stages import _review_hit_figures, label, label_judge, review, review_hits
from retest.stages._common import Stamp
from retest.stages._review_counts import count_class, counts_are_current, from_stored
from retest.stages._review_hit_figures import NOW
from retest.stages._review_memo import Memo
from retest.stages.review import Change, DecisionConflictError
from retest.stages.review_hits import HitFilter
from retest.store.figure_tables import answer_figures, hit_figures, worker_figures
from retest.study import open_study


@pytest.fixture
def hits(folder):
    return add_hits(folder)


@pytest.fixture
def study(folder, hits):
    with closing(open_study(folder)) as opened:
        yield opened


def frequencies(study) -> dict[tuple[str, str], tuple[int, int]]:
    with study.database.read() as tables:
        return {(f.image_id, f.wnid): (f.num_selected, f.num_assignments) for f in tables.frequencies.all()}


def counted_anew(study) -> dict[tuple[str, str], tuple[int, int]]:
    with study.database.read() as tables:
        found = selection_frequencies(tables.hits.all(), tables.assignments.all(), set(tables.hits.excluded()))
    return {key: (one.num_selected, one.num_assignments) for key, one in found.items()}


def leave_out(study, uuid, reason="wrong class", version=0):
    return review.decide(study, [Change("exclude_hit", uuid, reason, version)], stamp=STAMP)[0]


# Leaving out


def test_frequencies_counts_and_resolution_follow_a_hit_that_is_left_out_and_counted_again(study, hits):
    with study.database.read() as tables:
        shown = tables.hits.get(hits)[hits[0]].images_to_label[:2]
    review.decide(study, [Change("near_duplicate_pair", review.pair_item(*shown), True, 0)], stamp=STAMP)
    before = frequencies(study)
    assert before == counted_anew(study)
    first = leave_out(study, hits[0])
    after = frequencies(study)
    assert after == counted_anew(study)
    assert after != before
    assert label.compute_frequencies(study) is None  # the stage has nothing left to do
    with study.database.read() as tables:
        assert tables.hits.excluded() == {hits[0]: "wrong class"}
        assert counts_are_current(study, tables)
        stored = {wnid: from_stored(values) for wnid, values in tables.class_counts.all().items()}
        assert stored == {wnid: count_class(study, tables, wnid) for wnid in CLASSES}
    again = review.take_back(study, [first.no], stamp=STAMP)
    assert again[0].state is None
    assert frequencies(study) == before
    review.take_back(study, [again[0].no], stamp=STAMP)
    assert frequencies(study) == after


def test_the_resolution_chooses_anew_when_frequencies_change(study, hits):
    with study.database.read() as tables:
        by_uuid = tables.hits.get(hits)
    only_first = [i for i in by_uuid[hits[0]].images_to_label if i not in by_uuid[hits[1]].images_to_label]
    order = sorted(only_first, key=lambda image: (frequencies(study)[image, CLASSES[0]], image))
    low, high = order[0], order[-1]
    review.decide(study, [Change("near_duplicate_pair", review.pair_item(low, high), True, 0)], stamp=STAMP)
    leave_out(study, hits[0])
    with study.database.read() as tables:
        found = {one.candidate_id: one.near_duplicate for one in tables.pairs.resolutions_of([low, high]).values()}
        again = frequencies(study)
    best = max((low, high), key=lambda image: (again.get((image, CLASSES[0]), (0, 0))[0], image))
    assert found == {image: image != best for image in (low, high)}


def test_a_hit_that_the_command_line_left_out_can_be_counted_again_here(study, hits):
    label.exclude_hits(study, [hits[1]], reason="rehearsal", stamp=STAMP)
    label.compute_frequencies(study)
    found = review.history(study, review.DecisionFilter(kind="exclude_hit")).decisions
    assert [(one.item, one.after) for one in found] == [(hits[1], "rehearsal")]
    review.take_back(study, [found[0].no], stamp=STAMP)
    with study.database.read() as tables:
        assert tables.hits.excluded() == {}
    assert frequencies(study) == counted_anew(study)


def test_two_decisions_about_one_item_are_undone_and_done_again_step_by_step(study, hits):
    def state():
        return review.current(study, "exclude_hit", [hits[0]])[0].state

    first = leave_out(study, hits[0], "one")
    second = leave_out(study, hits[0], "two", first.version)
    undone = []
    for decision, wanted in ((second, "one"), (first, None)):
        undone.append(review.take_back(study, [decision.no], stamp=STAMP)[0])
        assert state() == wanted
    for decision, wanted in ((undone[1], "one"), (undone[0], "two")):
        review.take_back(study, [decision.no], stamp=STAMP)
        assert state() == wanted


def test_what_somebody_else_decided_since_is_not_undone_unseen(study, hits):
    other = Stamp("Ada", STAMP.time)
    first = leave_out(study, hits[0], "one")
    there = review.decide(study, [Change("exclude_hit", hits[0], None, first.version)], stamp=other)[0]
    review.take_back(study, [there.no], stamp=other)  # the state is as Rex left it, but not the history
    with pytest.raises(DecisionConflictError):
        review.take_back(study, [first.no], stamp=STAMP)
    own = leave_out(study, hits[1], "one")
    later = leave_out(study, hits[1], "two", own.version)
    with pytest.raises(DecisionConflictError):
        review.take_back(study, [own.no], stamp=STAMP)  # "two" stands
    assert review.current(study, "exclude_hit", [hits[1]])[0].version == later.version


def test_stale_frequencies_are_not_noted_as_current(study, hits):
    with study.database.write() as tables:
        tables.hits.add([Hit("new", CLASSES[0], (), (), (), (), submitted=True)], assignments=1)
    leave_out(study, hits[0])
    assert label.compute_frequencies(study) is not None
    assert frequencies(study) == counted_anew(study)


def test_what_is_no_hit_and_no_reason_is_refused_and_conflicts_show_both_sides(folder, hits):
    with ReviewServer(folder) as server, server.client("Rex") as rex, server.client("Ann") as ann:

        def post(client, item, after, version=0):
            body = {"changes": [{"kind": "exclude_hit", "item": item, "after": after, "version": version}]}
            return client.post("/review/api/decisions", json=body)

        assert post(rex, "no-such", "x").status_code == 404
        assert post(rex, hits[0], "").status_code == 422
        assert post(rex, hits[0], True).status_code == 422
        assert post(rex, hits[0], "x" * 1001).status_code == 422
        assert post(ann, hits[0], "x").status_code == 403
        assert post(rex, hits[0], "x").status_code == 200
        refused = post(rex, hits[0], "y")
        assert refused.status_code == 409
        assert (refused.json()["conflicts"][0]["state"], refused.json()["conflicts"][0]["wished"]) == ("x", "y")
        audit = rex.get("/review/api/decisions", params={"kind": "exclude_hit"}).json()["decisions"]
        assert [(one["user"], one["before"], one["after"]) for one in audit] == [("Rex", None, "x")]


# Figures


def test_annotators_are_judged_as_the_quality_command_judges_them(study, hits):
    for _ in range(2):
        page = review_hits.list_workers(study, Memo())
        judged = {one.worker: one for one in label_judge.judge(study).report.workers}
        assert {row.quality.worker: row.quality for row in page.rows if row.quality.assignments} == judged
        leave_out(study, hits[0])  # and once more with a HIT that does not count
    row = next(row for row in page.rows if row.quality.worker == REJECTED)
    assert (row.quality.assignments, row.rejected) == (0, 4)
    assert row.rate is None
    spammer = next(row for row in page.rows if row.quality.worker == SPAMMER)
    assert spammer.rate == 1.0
    assert spammer.quality.controls.negative == 0.0
    known = [row.quality.agreement for row in page.rows if row.quality.assignments]
    assert page.everybody.agreement == statistics.median(known)


def test_the_figures_of_a_hit_follow_from_its_answers(study, hits):
    record = label_judge.inspect_hit(study, hits[2])
    (row,) = [row for row in review_hits.list_hits(study, Memo(), HitFilter()).rows if row.figures.uuid == hits[2]]
    judged = [answer.quality for answer in record.answers if answer.quality]
    right = sum(q.controls.positive_correct + q.controls.negative_correct for q in judged)
    assert row.figures.controls == right / (6 * len(judged))
    assert row.figures.median_duration_s == statistics.median(q.duration_s for q in judged)
    assert row.figures.agreement == pytest.approx(statistics.mean(q.agreement for q in judged))
    assert (row.figures.valid, row.figures.rejected, row.figures.wanted, row.figures.state) == (11, 1, 11, "complete")
    assert row.figures.flagged == sum(bool(q.flags) for q in judged) > 0


def test_figures_are_brought_up_to_date_with_every_change(study, hits):
    memo = Memo()
    assert review_hits.list_hits(study, memo, HitFilter(state="open")).total == 0
    with study.database.write() as tables:
        tables.hits.add([Hit("later", CLASSES[1], ("x",), (), (), ("x",))], assignments=10)
    assert [r.figures.uuid for r in review_hits.list_hits(study, memo, HitFilter(state="planned")).rows] == ["later"]
    with study.database.write() as tables:
        tables.hits.mark_submitted("later", crowd="simulated", hit_id="H", hit_type_id="T", user="u", time="2026-03-01T00:00:00+00:00")
    (row,) = review_hits.list_hits(study, memo, HitFilter(state="open")).rows
    assert (row.figures.uuid, row.time) == ("later", "2026-03-01T00:00:00+00:00")
    with study.database.write() as tables:
        tables.assignments.forget(CAREFUL[0], answers=True)
    assert CAREFUL[0] not in {row.quality.worker for row in review_hits.list_workers(study, memo).rows}


def test_many_hits_without_an_answer_are_not_judged_while_somebody_waits(study, monkeypatch):
    with study.database.write() as tables:
        tables.hits.add((Hit(f"planned-{number}", CLASSES[0], ("x",), (), (), ("x",)) for number in range(100)), assignments=10)
        before = tables.assignments.count()
    monkeypatch.setattr("retest.stages._review_hit_figures.NOW", before + 500)
    page = review_hits.list_hits(study, Memo(), HitFilter())
    assert (page.rows, page.current) == ((), False)


def answers_of(page, worker: str) -> int:
    return next(row.quality.assignments for row in page.rows if row.quality.worker == worker)


def test_many_answers_are_judged_in_the_background_and_older_figures_are_shown_meanwhile(study, hits, monkeypatch):
    assert NOW > 1000
    monkeypatch.setattr("retest.stages._review_hit_figures.NOW", 10)
    memo = Memo()
    page = review_hits.list_hits(study, memo, HitFilter())
    assert (page.rows, page.current) == ((), False)
    assert not review_hits.refresh_figures(study, memo, stop=lambda: True)
    assert review_hits.refresh_figures(study, memo)
    before = review_hits.list_hits(study, memo, HitFilter(excluded="no"))
    assert (before.current, before.total) == (True, len(hits) + len(CLASSES))
    assert review_hits.list_workers(study, memo).current
    leave_out(study, hits[0])  # no new answers: no HIT is judged again, but annotators are
    page = review_hits.list_hits(study, memo, HitFilter(excluded="no"))
    assert (page.current, page.total) == (True, len(hits) + len(CLASSES) - 1)
    older = review_hits.list_workers(study, memo)
    assert not older.current
    assert answers_of(older, SPAMMER) == 4
    with study.database.write() as tables:
        tables.assignments.add([Assignment("late", hits[1], "late", AssignmentStatus.SUBMITTED, ())])
    page = review_hits.list_hits(study, memo, HitFilter(), limit=1000)
    assert not page.current
    assert {row.figures.uuid: row.figures for row in page.rows if row.figures.uuid == hits[1]}[hits[1]] in [r.figures for r in before.rows]
    assert review_hits.refresh_figures(study, memo)
    page = review_hits.list_hits(study, memo, HitFilter(worker="late"))
    assert [(row.figures.uuid, row.figures.valid) for row in page.rows] == [(hits[1], 12)]
    found = review_hits.list_workers(study, memo)
    assert (answers_of(found, SPAMMER), answers_of(found, "late")) == (3, 1)


LATE = count()
CHANGES = {
    "answer": lambda t, hits: t.assignments.add([Assignment(f"late {next(LATE)}", hits[1], CAREFUL[0], AssignmentStatus.APPROVED, ())]),
    "rejected": lambda t, hits: t.assignments.set_status(f"{hits[2]}-03", AssignmentStatus.REJECTED),
    "forgotten": lambda t, hits: t.assignments.forget(CAREFUL[1], answers=True),
    "excluded": lambda t, hits: t.review_hits.set_excluded(hits[3], "x"),
    "excluded by the stage": lambda t, hits: t.hits.exclude([hits[0]], "x"),
    "new HIT": lambda t, hits: t.hits.add([Hit("new", CLASSES[0], ("x",), (), (), ("x",))], assignments=3),
    "published": lambda t, hits: t.hits.mark_submitted("new", crowd="c", hit_id="H", hit_type_id="T", user="u", time="2026"),
}


def test_figures_after_changes_are_those_of_a_study_that_was_never_judged_before(study, hits):
    """Whatever is changed, and in whatever order: each change is followed by what depends on it, and by nothing else."""

    def content() -> list[list[tuple[object, ...]]]:
        assert review_hits.refresh_figures(study, Memo())
        with study.database.read() as tables:
            found = (hit_figures, answer_figures, worker_figures)
            return [sorted((tuple(row) for row in tables.connection.execute(sa.select(table))), key=repr) for table in found]

    def check() -> None:
        followed = content()
        with study.database.write() as tables:
            for table in (hit_figures, answer_figures, worker_figures):
                tables.connection.execute(sa.delete(table))
        assert content() == followed

    for seed in range(4):
        rng = random.Random(seed)
        for name in rng.sample(sorted(CHANGES), len(CHANGES)):
            with study.database.write() as tables:
                CHANGES[name](tables, hits)
            if rng.random() < 0.7:
                check()
        check()
        with study.database.write() as tables:  # and back, so that the next order changes something
            tables.assignments.set_status(f"{hits[2]}-03", AssignmentStatus.APPROVED)
            for uuid in hits:
                tables.review_hits.set_excluded(uuid, None)


def test_new_rules_judge_everything_again(study, hits, monkeypatch):
    memo = Memo()
    strict = next(row.figures.flagged for row in review_hits.list_hits(study, memo, HitFilter()).rows if row.figures.flagged)
    assert strict
    rules = lambda: QualityParameters(min_seconds_per_image=0, min_negative_accuracy=0)  # noqa: E731
    monkeypatch.setattr("retest.stages._review_hit_figures.QualityParameters", rules)
    monkeypatch.setattr("retest.labeling.quality.QualityParameters", rules)
    changed = review_hits.list_hits(study, memo, HitFilter())
    assert changed.current
    assert {code for row in review_hits.list_workers(study, memo).rows for code, _ in row.quality.flags} == {"many_flagged_answers"}


def test_what_changes_while_figures_are_worked_out_is_judged_too(study, hits, monkeypatch):
    judge, pending = _review_hit_figures.judged_hits, [Assignment("late", hits[0], "late", AssignmentStatus.APPROVED, ())]

    def slowly(tables, uuids):
        found = judge(tables, uuids)
        while pending:
            with study.database.write() as writing:
                writing.assignments.add([pending.pop()])
        return found

    with study.database.write() as tables:
        tables.hit_figures.note_hits(100)
        tables.completions.put("review hit figures", "rules", _review_hit_figures._rules())
    monkeypatch.setattr(_review_hit_figures, "judged_hits", slowly)
    assert review_hits.refresh_figures(study, Memo())
    assert [row.figures.uuid for row in review_hits.list_hits(study, Memo(), HitFilter(worker="late")).rows] == [hits[0]]


# Lists


@pytest.mark.parametrize("sort", review_hits.HIT_SORTS)
@pytest.mark.parametrize("descending", [False, True])
def test_pages_of_any_size_give_every_hit_once_in_order(study, hits, sort, descending):
    memo = Memo()
    whole = review_hits.list_hits(study, memo, HitFilter(), sort=sort, descending=descending, limit=1000)
    assert whole.total == len(whole.rows) == len(hits) + len(CLASSES)
    found, after = [], None
    while True:
        page = review_hits.list_hits(study, memo, HitFilter(), sort=sort, descending=descending, after=after, limit=2)
        found += page.rows
        after = page.next
        if after is None:
            break
    assert tuple(found) == whole.rows


def test_filters_agree_with_a_plain_reading_of_the_list(study, hits):
    leave_out(study, hits[3])
    memo = Memo()
    everything = review_hits.list_hits(study, memo, HitFilter(), limit=1000).rows

    def uuids(**wanted):
        return [row.figures.uuid for row in review_hits.list_hits(study, memo, HitFilter(**wanted)).rows]

    def plain(test):
        return [row.figures.uuid for row in everything if test(row)]

    assert uuids(wnid="apple") == plain(lambda r: r.figures.wnid == "apple")
    assert uuids(worker=SPAMMER) == hits
    assert uuids(excluded="yes") == [hits[3]]
    assert uuids(flagged="yes") == plain(lambda r: r.figures.flagged > 0)
    middle = statistics.median(r.figures.agreement for r in everything)
    assert uuids(min_agreement=middle) == plain(lambda r: r.figures.agreement >= middle)
    assert uuids(max_seconds=30) == plain(lambda r: r.figures.median_duration_s is not None and r.figures.median_duration_s <= 30)
    assert uuids(min_controls=0.5, max_controls=1) == plain(lambda r: r.figures.controls is not None and r.figures.controls >= 0.5)
    assert uuids(min_controls=0.0) == hits  # those without controls have no such figure
    assert uuids(state="complete", wnid="banana", excluded="no") == plain(
        lambda r: r.figures.state == "complete" and r.figures.wnid == "banana" and r.excluded is None
    )


def test_annotators_are_found_sorted_and_paged(study, hits):
    memo = Memo()
    assert [row.quality.worker for row in review_hits.list_workers(study, memo, search="BADBAD").rows] == [SPAMMER]
    assert SPAMMER in [row.quality.worker for row in review_hits.list_workers(study, memo, flagged="yes").rows]
    for sort in review_hits.WORKER_SORTS:
        whole = review_hits.list_workers(study, memo, sort=sort, descending=True)
        found, after = [], None
        while True:
            page = review_hits.list_workers(study, memo, sort=sort, descending=True, after=after, limit=5)
            found += page.rows
            after = page.next
            if after is None:
                break
        assert tuple(found) == whole.rows


def test_an_annotator_over_time_is_paged_from_the_newest(study, hits):
    memo = Memo()
    leave_out(study, hits[0])
    whole = review_hits.worker_view(study, memo, SPAMMER)
    assert [one.hit_uuid for one in whole.answers] == hits[::-1]
    assert [one.excluded for one in whole.answers] == [None, None, None, "wrong class"]
    assert (whole.first_time, whole.last_time) == ("2026-02-01T11:10:02+00:00", "2026-02-04T11:10:02+00:00")
    first = review_hits.worker_view(study, memo, SPAMMER, limit=3)
    rest = review_hits.worker_view(study, memo, SPAMMER, after=first.next, limit=3)
    assert (*first.answers, *rest.answers) == whole.answers
    assert rest.next is None


# Over HTTP


@pytest.fixture
def server(folder, hits):
    with ReviewServer(folder) as running:
        yield running


def test_a_hit_is_shown_as_it_was_labelled(server, hits):
    with server.client("Rex") as rex:
        found = rex.get("/review/api/hit", params={"uuid": hits[1], "wnid": "apple"}).json()
        by_crowd_id = rex.get("/review/api/hit", params={"uuid": "CROWD1"}).json()
    with server.study.database.read() as tables:
        hit = tables.hits.get([hits[1]])[hits[1]]
        answers = {a.worker: a for a in tables.assignments.all(hit_uuid=hit.uuid)}
    assert [one["image"]["id"] for one in found["images"]] == list(hit.images_all)
    for one in found["images"]:
        image = one["image"]["id"]
        assert one["selected_by"] == sorted(w for w, a in answers.items() if image in a.selected and w != REJECTED)
        assert one["role"] == (
            "positive" if image in hit.images_pos_control else "negative" if image in hit.images_neg_control else "label"
        )
    assert (found["before"], found["after"]) == (hits[0], None)  # the list holds the apples
    assert by_crowd_id["uuid"] == hits[1]
    assert found["gloss"] == "a round fruit"


def test_one_hit_and_one_annotator_say_whether_figures_are_of_now_and_have_them_worked_out(server, hits, monkeypatch):
    monkeypatch.setattr("retest.stages._review_hit_figures.NOW", 10)
    with server.client("Rex") as rex:

        def hit():
            return rex.get("/review/api/hit", params={"uuid": hits[0]}).json()

        found = hit()
        assert (found["wanted"], found["valid"], len(found["answers"])) == (11, 11, 12)  # a twelfth answer is rejected
        assert (found["current"], found["before"], found["after"]) == (False, None, None)
        deadline = time.monotonic() + 30
        while server.app.state.review_desk.counting.running and time.monotonic() < deadline:
            time.sleep(0.05)
        found = hit()
        assert (found["wanted"], found["current"], found["after"]) == (11, True, hits[1])
        with server.study.database.write() as tables:
            tables.assignments.add([Assignment("late", hits[1], CAREFUL[0], AssignmentStatus.APPROVED, ())])
        annotator = rex.get("/review/api/annotator", params={"worker": CAREFUL[0]}).json()
        assert (annotator["current"], annotator["total"]) == (False, len(hits))


@pytest.mark.parametrize("path", ["hits", "annotators", "hit?uuid=x", "annotator?worker=x"])
def test_only_reviewers_see_controls_and_annotators(server, path):
    with server.client("Ann") as ann, server.browser_client("Ann") as page, server.client(None) as nobody:
        assert ann.get(f"/review/api/{path}").status_code == 403
        assert page.get(f"/review/{path}").status_code == 403
        assert nobody.get(f"/review/api/{path}").status_code == 401


def test_raw_worker_ids_are_nowhere(server, hits):
    with server.study.database.write() as tables:
        tables.assignments.add_workers({SPAMMER: "A1RAWWORKERID"})
    with server.browser_client("Rex") as rex:
        for path in ("hits", "annotators", f"hit?uuid={hits[0]}", f"annotator?worker={SPAMMER}", "annotators?q=A1RAW"):
            for address in (f"/review/{path}", f"/review/api/{path}"):
                answer = rex.get(address)
                assert answer.status_code == 200
                assert "A1RAWWORKERID" not in answer.text
        assert rex.get("/review/api/annotators", params={"q": "A1RAW"}).json()["annotators"] == []


def test_empty_fields_of_the_form_ask_for_all_and_wrong_ones_are_explained(server):
    with server.browser_client("Rex") as rex:
        assert rex.get("/review/hits?wnid=&worker=&min_controls=&max_controls=&min_seconds=&after=").status_code == 200
        for wrong in ("min_controls=2", "max_agreement=nan", "min_seconds=-1", "state=odd", "after=nobody", "limit=0"):
            answer = rex.get(f"/review/hits?{wrong}")
            assert answer.status_code in (400, 404), wrong
        assert rex.get("/review/hit?uuid=nothing").status_code == 404
        assert rex.get("/review/annotator?worker=nobody").status_code == 404

"""What every repository promises: records come back as they were, repeating changes nothing, and changes are noticed."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import store_records as make
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retest.errors import ConflictError, NotFoundError
from retest.records import AssignmentStatus, Neighbor, OpaqueName, Split
from retest.store import Database, PredictionSet, SearchState, Tables
from retest.store.review_pairs import QueueRow

# ------------------------------------------------------------------------------------- adding, repeating, changing


@dataclass(frozen=True)
class Writing:
    """One way to write: ``write(tables, n)`` writes the n-th variation; 0 again must change nothing."""

    table: str
    write: Callable[[Tables, int], object]
    adds: bool = False


WRITINGS = {
    "classes": Writing("classes", lambda t, n: t.classes.put([make.class_info(1, gloss=f"gloss {n}"), make.class_info(2)])),
    "originals": Writing("originals", lambda t, n: t.originals.add([make.original(1), make.original(n + 1)]), adds=True),
    "candidates": Writing("candidates", lambda t, n: t.candidates.add([make.candidate(1), make.candidate(n + 1)]), adds=True),
    "occurrences": Writing("duplicate_occurrences", lambda t, n: t.candidates.add_occurrences([(f"q#{n}", make.occurrence(1))]), adds=True),
    "exclusions": Writing("exclusions", lambda t, n: t.exclusions.add([make.exclusion(n)]), adds=True),
    "searches": Writing("search_queries", lambda t, n: t.searches.put(SearchState("key", "n1", f"page {n}", n, 3, False, ("note",)))),
    "variants": Writing("variants", lambda t, n: t.variants.put([make.variant(1, size=100 + n)], notes=["from_grey"])),
    "problems": Writing("image_problems", lambda t, n: t.problems.put("val/1", "html", f"detail {n}")),
    "opaque names": Writing("opaque_names", lambda t, n: t.opaque_names.add([make.opaque(n)]), adds=True),
    "hits": Writing("hits", lambda t, n: t.hits.add([make.hit(1), make.hit(n + 1)], assignments=10), adds=True),
    "submitted": Writing("hits", lambda t, n: (t.hits.add([make.hit(1)], assignments=10), _submit(t, f"ID{n}"))),
    "excluded hits": Writing(
        "hits", lambda t, n: (t.hits.add([make.hit(1)], assignments=10), t.hits.exclude([make.hit(1).uuid], f"why {n}"))
    ),
    "assignments": Writing(
        "assignments", lambda t, n: t.assignments.add([make.assignment(n)], contents={f"a{n:04d}": "<xml/>"}), adds=True
    ),
    "workers": Writing("workers", lambda t, n: t.assignments.add_workers({f"worker-{n}": f"A{n}"})),
    "frequencies": Writing("selection_frequencies", lambda t, n: t.frequencies.replace([make.frequency(1), make.frequency(n + 2)])),
    "neighbors": Writing("neighbors", lambda t, n: t.neighbors.put("l2", {"c1": make.neighbors(n)})),
    "reviews": Writing("reviewed_neighbors", lambda t, n: t.reviews.add([make.review(1, near=("val/1.JPEG",)[:n])])),
    "thresholds": Writing("review_thresholds", lambda t, n: t.reviews.put_thresholds("l2", {"c1": 0.1 + n})),
    "pairs": Writing("near_duplicate_pairs", lambda t, n: t.pairs.add([("c1", f"val/{n}")], user="u", time=make.TIME), adds=True),
    "overrides": Writing("resolution_overrides", lambda t, n: t.pairs.add_overrides([f"c{n}"], user="u", time=make.TIME), adds=True),
    "resolutions": Writing("resolutions", lambda t, n: t.pairs.replace_resolutions([make.resolution(1, near=n == 0)])),
    "revisions": Writing("revisions", lambda t, n: t.revisions.add(make.revision(f"study-a-{n}")), adds=True),
    "revision images": Writing("revision_images", lambda t, n: t.revisions.add(make.revision(f"study-a-{n}")), adds=True),
    "class reviews": Writing("class_reviews", lambda t, n: t.revisions.put_reviews([make.class_review(reviewed=n > 0)])),
    "predictions": Writing("prediction_sets", lambda t, n: t.predictions.put(PredictionSet("d", "m", "path", 60, f"print {n}", ("note",)))),
    "completions": Writing("completions", lambda t, n: t.completions.put("stage", "item", f"key {n}", blocks=[["a"], 0.1])),
    "warnings": Writing("warnings", lambda t, n: t.warnings.add("import", [("kind", "file", None, f"message {n}")]), adds=True),
    "flags": Writing("image_flags", lambda t, n: t.flags.put({"a": f"detail {n}"}, user="u", time=make.TIME)),
    "reviewers": Writing("reviewers", lambda t, n: t.reviewers.put("Ada", role=f"role {n}", token_hash=None, time=make.TIME)),
    "class counts": Writing("class_counts", lambda t, n: t.class_counts.put({"n01": {"candidates": n}})),
    "pair queue": Writing("pair_queue", lambda t, n: t.pair_queue.put([QueueRow("l2", "c1", nearest=0.5 + n, waiting=3)])),
    "hit figures": Writing("hit_figures", lambda t, n: (t.hits.add([make.hit(n)], assignments=10), t.hit_figures.note_hits(9))),
    "worker figures": Writing("worker_figures", lambda t, n: t.hit_figures.put_workers({"w": make.worker_row("w", answers=n)})),
    "judgements": Writing("label_judgements", lambda t, n: t.judgements.put({("val/1", "n01"): f"verdict {n}"}, user="u", time=make.TIME)),
    "settings": Writing("settings", lambda t, n: t.settings.put("key", {"value": [n, 0.1, None, "é"]})),
}


def _submit(tables: Tables, hit_id: str) -> None:
    tables.hits.mark_submitted(make.hit(1).uuid, crowd="simulated", hit_id=hit_id, hit_type_id="T", user="u", time=make.TIME)


@pytest.mark.parametrize("name", WRITINGS)
def test_a_generation_grows_when_content_changes_and_only_then(name: str, database: Database):
    writing = WRITINGS[name]
    seen = []
    for variation in (0, 0, 0, 1):
        with database.write() as tables:
            writing.write(tables, variation)
            seen.append(tables.generations.of(writing.table)[writing.table])
    assert seen[0] > 0
    assert seen[0] == seen[1] == seen[2]
    assert seen[3] > seen[2]


@pytest.mark.parametrize("name", [name for name, writing in WRITINGS.items() if writing.adds])
def test_adding_says_what_was_new_and_repeating_adds_nothing(name: str, database: Database):
    with database.write() as tables:
        assert int(WRITINGS[name].write(tables, 0)) == 1  # type: ignore[call-overload]
        assert int(WRITINGS[name].write(tables, 0)) == 0  # type: ignore[call-overload]
        assert int(WRITINGS[name].write(tables, 1)) == 1  # type: ignore[call-overload]
    with database.write() as tables:
        assert int(WRITINGS[name].write(tables, 1)) == 0  # type: ignore[call-overload]


def test_every_table_with_content_is_covered():
    from retest.store.schema import metadata

    written = {writing.table for writing in WRITINGS.values()}
    # Decisions are only ever appended, images and figures of answers go with their HITs, and generations count the others.
    assert written | {"decisions", "hit_images", "answer_figures", "generations"} == set(metadata.tables)


def test_an_empty_list_changes_nothing(database: Database):
    with database.write() as tables:
        for add in (tables.originals.add, tables.candidates.add, tables.exclusions.add, tables.opaque_names.add, tables.assignments.add):
            assert add([]) == 0
        tables.classes.put([])
        tables.hits.add([], assignments=10)
        tables.frequencies.replace([])
        tables.pairs.replace_resolutions([])
        assert set(tables.generations.of("originals", "classes", "hits", "selection_frequencies", "resolutions").values()) == {0}


def test_the_same_record_twice_in_one_call_is_added_once(database: Database):
    with database.write() as tables:
        assert tables.candidates.add([make.candidate(1), make.candidate(2), make.candidate(1)]) == 2
        assert tables.hits.add([make.hit(1), make.hit(1)], assignments=10) == 1
        assert tables.assignments.add([make.assignment(1)] * 3) == 1


def test_more_rows_than_one_statement_takes(database: Database):
    with database.write() as tables:
        assert tables.originals.add(make.original(number) for number in range(12_345)) == 12_345
        assert tables.originals.add(make.original(number) for number in range(12_300, 12_400)) == 55
        assert tables.originals.counts() == {"val": 12_400}
        found = tables.originals.get(f"val/{number:08d}.JPEG" for number in range(0, 12_400, 7))
    assert len(found) == len(range(0, 12_400, 7))


# ----------------------------------------------------------------------------------------------- records come back whole


def test_classes_and_originals_come_back(database: Database):
    classes = [make.class_info(2), make.class_info(1)]
    originals = [make.original(2), make.original(1), make.original(1, Split.TRAIN), make.original(3, Split.TEST, None)]
    with database.write() as tables:
        tables.classes.put(classes)
        tables.originals.add(originals)
    with database.read() as tables:
        assert tables.classes.all() == sorted(classes, key=lambda info: info.wnid)
        assert tables.classes.count() == 2
        assert list(tables.originals.all()) == sorted(originals, key=lambda image: image.id)
        assert [image.id for image in tables.originals.all(split=Split.VAL)] == ["val/00000001.JPEG", "val/00000002.JPEG"]
        assert list(tables.originals.all(wnid="n9")) == []
        assert tables.originals.ids(split=Split.VAL, wnid="n00000001") == ["val/00000001.JPEG", "val/00000002.JPEG"]
        assert tables.originals.ids(split=Split.TEST, wnid="n00000001") == []
        assert tables.originals.counts() == {"test": 1, "train": 1, "val": 2}


def test_candidates_come_back_and_the_first_record_stays(database: Database):
    with database.write() as tables:
        tables.candidates.add([make.candidate(2, wnid="n2"), make.candidate(1)])
        assert tables.candidates.add([make.candidate(1, title="found again")]) == 0
        tables.candidates.add_occurrences([("query#0.0", make.occurrence(1))])
    with database.read() as tables:
        assert list(tables.candidates.all()) == [make.candidate(1), make.candidate(2, wnid="n2")]
        assert list(tables.candidates.all(wnid="n2")) == [make.candidate(2, wnid="n2")]
        assert tables.candidates.get([make.candidate(1).id, "unknown"]) == {make.candidate(1).id: make.candidate(1)}
        assert next(iter(tables.candidates.identities())) == (make.candidate(1).id, "n00000001", "flickr", "1000000001", None)
        assert tables.candidates.by_photo("flickr", ["1000000002", "7"]) == [("1000000002", "n2", make.candidate(2).id)]
        assert tables.candidates.by_photo("openverse", ["1000000002"]) == []
        assert (tables.candidates.count(), tables.candidates.occurrences()) == (2, 1)
        assert tables.candidates.count_by_class() == {"n00000001": 1, "n2": 1}


def test_pages_by_key_cover_everything_once(database: Database):
    with database.write() as tables:
        tables.candidates.add(make.candidate(number, wnid=f"n{number % 2}") for number in range(25))
    with database.read() as tables:
        for wnid, expected in ((None, range(25)), ("n1", range(1, 25, 2))):
            seen: list[str] = []
            while page := [c.id for c in tables.candidates.all(wnid=wnid, after=seen[-1] if seen else None, limit=4)]:
                assert len(page) <= 4
                seen += page
            assert seen == [make.candidate(number).id for number in expected]


def test_exclusions_keep_the_first_reason_until_they_are_removed(database: Database):
    with database.write() as tables:
        tables.exclusions.add([make.exclusion(1), make.exclusion(2, "empty")])
        assert tables.exclusions.add([make.exclusion(1, "other")]) == 0
        assert tables.exclusions.all()[make.exclusion(1).candidate_id] == make.exclusion(1)
        assert tables.exclusions.counts() == {"empty": 1, "html": 1}
        tables.exclusions.remove([make.exclusion(1).candidate_id])
        assert tables.exclusions.add([make.exclusion(1, "other")]) == 1
        assert tables.exclusions.counts() == {"empty": 1, "other": 1}


def test_search_states(database: Database):
    state = SearchState("key", "n1", "cursor", 2, 17, False, ("a note",))
    with database.write() as tables:
        assert tables.searches.get("key", "n1") == SearchState("key", "n1")
        tables.searches.put(state)
        assert tables.searches.get("key", "n1") == state
        tables.searches.put(replace(state, finished=True, cursor=None))
        assert tables.searches.counts() == {"queries": 1, "finished": 1}


def test_images(database: Database):
    names = ("original", "scaled_500", "scaled_256")
    with database.write() as tables:
        tables.variants.put([make.variant(1, name) for name in names], notes=["from_grey"])
        tables.variants.put([make.variant(2, name) for name in names[:2]])
        assert tables.variants.complete(names) == {make.variant(1).image_id}
        assert list(tables.variants.all("original")) == [make.variant(1), make.variant(2)]
        assert tables.variants.get([make.variant(2).image_id], "scaled_256") == {}
        assert tables.variants.counts() == {"original": 2, "scaled_256": 1, "scaled_500": 2}
        tables.variants.forget([make.variant(1).image_id])
        assert tables.variants.complete(names) == set()
        tables.problems.put("val/1", "html", "a page")
        tables.problems.put("val/1", "empty", "nothing")
        assert tables.problems.all() == {"val/1": ("empty", "nothing")}
        tables.problems.clear(["val/1", "val/2"])
        assert tables.problems.all() == {}


def test_an_opaque_name_belongs_to_one_image_of_one_key_version(database: Database):
    with database.write() as tables:
        tables.opaque_names.add([make.opaque(1), make.opaque(2), make.opaque(1, version=2)])
        taken = OpaqueName("another image", 1, make.opaque(1).name)
        assert tables.opaque_names.add([taken, OpaqueName(make.opaque(1).image_id, 1, "f" * 32)]) == 0
        assert tables.opaque_names.all(1) == {make.opaque(n).image_id: make.opaque(n).name for n in (1, 2)}
        assert tables.opaque_names.count() == 3


def test_hits(database: Database):
    with database.write() as tables:
        tables.hits.add([make.hit(2), make.hit(1)], assignments=10)
        tables.hits.add([make.hit(1), make.hit(3)], assignments=5)
        assert list(tables.hits.all()) == [make.hit(2), make.hit(1), make.hit(3)]  # in the order in which they were added
        assert tables.hits.requested_assignments() == {make.hit(n).uuid: a for n, a in ((2, 10), (1, 10), (3, 5))}
        assert tables.hits.of_image("label1-0") == [make.hit(1)]
        assert tables.hits.of_image("positive1-0") == [make.hit(1)]
        assert tables.hits.get([make.hit(3).uuid, "unknown"]) == {make.hit(3).uuid: make.hit(3)}
        assert (tables.hits.crowds(), tables.hits.totals().submitted) == ([], 0)
        _submit(tables, "ID")
        (submitted,) = tables.hits.all(submitted=True)
        assert submitted == replace(make.hit(1), submitted=True, hit_id="ID", hit_type_id="T", user="u")
        assert tables.hits.crowds() == ["simulated"]
        tables.hits.exclude([make.hit(2).uuid], "wrong page")
        assert tables.hits.excluded() == {make.hit(2).uuid: "wrong page"}
        assert [h.uuid for h in tables.hits.all(include_excluded=False)] == [make.hit(1).uuid, make.hit(3).uuid]
        totals = tables.hits.totals()
    counts = (totals.hits, totals.submitted, totals.images_to_label, totals.positive_controls, totals.negative_controls, totals.excluded)
    assert counts == (3, 1, 12, 6, 3, 1)


def test_totals_of_a_study_without_hits(database: Database):
    with database.read() as tables:
        totals = tables.hits.totals()
    assert (totals.hits, totals.images_to_label, totals.excluded) == (0, 0, 0)


def test_raw_answers_are_never_rewritten_only_their_status_moves(database: Database):
    with database.write() as tables:
        tables.assignments.add([make.assignment(1), make.assignment(2)], contents={"a0001": "<answer/>"})
        changed = replace(make.assignment(1), selected=(), worker="somebody else", status=AssignmentStatus.REJECTED)
        assert tables.assignments.add([changed]) == 0
        assert list(tables.assignments.all()) == [make.assignment(1), make.assignment(2)]
        tables.assignments.set_status("a0002", AssignmentStatus.REJECTED)
        before = tables.generations.of("assignments")
        tables.assignments.set_status("a0002", AssignmentStatus.REJECTED)
        tables.assignments.set_status("unknown", AssignmentStatus.REJECTED)
        assert tables.generations.of("assignments") == before
        assert tables.assignments.counts_by_hit() == {make.hit(0).uuid: {"Rejected": 1, "Submitted": 1}}
        assert tables.assignments.rejected() == ["a0002"]
        assert list(tables.assignments.all(hit_uuid="another")) == []
        assert tables.assignments.count() == 2


def test_frequencies_are_replaced_as_a_whole(database: Database):
    with database.write() as tables:
        tables.frequencies.replace([make.frequency(1), make.frequency(2)])
        tables.frequencies.replace([make.frequency(2, selected=3), make.frequency(3)])
        assert list(tables.frequencies.all()) == [make.frequency(2, selected=3), make.frequency(3)]
        assert list(tables.frequencies.all(wnid="n2")) == []
        tables.frequencies.replace([])
        assert tables.frequencies.count() == 0


def test_neighbors_keep_every_bit_of_their_distances(database: Database):
    lists = {"c1": make.neighbors(1), "c2": (Neighbor("a", 0.1 + 0.2), Neighbor("b", 7369350.0), Neighbor("c", 5e-324))}
    with database.write() as tables:
        tables.neighbors.put("l2", lists)
        tables.neighbors.put("dssim", {"c1": ()})
    with database.read() as tables:
        assert dict(tables.neighbors.all("l2")) == lists
        assert tables.neighbors.metrics() == ["dssim", "l2"]
        assert tables.neighbors.counts() == {"dssim": 1, "l2": 2}


def test_reviews_pairs_and_thresholds(database: Database):
    with database.write() as tables:
        tables.reviews.add([make.review(1), make.review(1, "dssim", near=())])
        who = make.review(1).candidate_id
        assert tables.reviews.reviewed("l2") == {who: {"val/1.JPEG", "val/2.JPEG"}}
        assert tables.reviews.marked(who) == {"val/1.JPEG"}
        tables.reviews.add([make.review(1, near=("val/2.JPEG", "not shown"))])  # a newer decision
        assert tables.reviews.marked(who) == {"val/2.JPEG", "not shown"}
        assert tables.reviews.count() == 5
        assert tables.reviews.reviewers() == ["reviewer"]
        tables.reviews.put_thresholds("l2", {who: 1e100})
        tables.reviews.put_thresholds("dssim", {who: 0.1 + 0.2})
        assert tables.reviews.thresholds() == {who: {"l2": 1e100, "dssim": 0.1 + 0.2}}
        tables.pairs.add([("b", "a"), ("a", "b"), ("a", "c")], user="u", time=make.TIME)
        assert tables.pairs.all() == [("a", "b"), ("a", "c"), ("b", "a")]
        assert (tables.pairs.of("a"), tables.pairs.of("c")) == ({"b", "c"}, set())
        tables.pairs.remove([("a", "b"), ("x", "y")])
        assert tables.pairs.count() == 2
        tables.pairs.add_overrides(["b", "a"], user="u", time=make.TIME)
        assert tables.pairs.overrides() == ["a", "b"]
        tables.pairs.replace_resolutions([make.resolution(1), make.resolution(2)])
        tables.pairs.replace_resolutions([make.resolution(2, near=False)])
        assert tables.pairs.resolutions() == {make.resolution(2).candidate_id: make.resolution(2, near=False)}


def test_revisions_never_change(database: Database):
    with database.write() as tables:
        assert tables.revisions.add(make.revision()) is True
        assert tables.revisions.add(make.revision(time="later", user="another")) is False
        assert tables.revisions.get("study-a-1") == make.revision()
        for changed in (
            make.revision(images=2),
            replace(make.revision(), seed=8),
            replace(make.revision(), sampling_function="sample_best"),
        ):
            with pytest.raises(ConflictError, match="exists with other content") as caught:
                tables.revisions.add(changed)
            assert caught.value.item == "study-a-1"
            assert caught.value.remedy
        assert tables.revisions.get("study-a-1") == make.revision()


def test_an_unknown_revision_lists_those_that_exist(database: Database):
    with database.write() as tables:
        with pytest.raises(NotFoundError, match="none yet: run retest sample"):
            tables.revisions.get("study-a-1")
        tables.revisions.add(make.revision("study-b-2"))
        tables.revisions.add(make.revision("study-a-1"))
        with pytest.raises(NotFoundError) as caught:
            tables.revisions.get("study-a-2")
    assert str(caught.value) == "study-a-2: the study has no revision of this name. Revisions: study-a-1, study-b-2"


def test_class_reviews_predictions_and_settings(database: Database):
    with database.write() as tables:
        tables.revisions.put_reviews([make.class_review("n2"), make.class_review("n1", reviewed=True)])
        assert list(tables.revisions.reviews("study-a-1").items()) == [
            ("n1", make.class_review("n1", reviewed=True)),
            ("n2", make.class_review("n2")),
        ]
        entry = PredictionSet("data set", "model", "predictions/x.parquet", 60, "print", ("a note",))
        tables.predictions.put(entry)
        tables.predictions.put(replace(entry, fingerprint="newer"))
        assert tables.predictions.all() == [replace(entry, fingerprint="newer")]
        assert tables.settings.get("absent") is None
        tables.settings.put("key", {"a": [1, 2.5, None, "é"]})
        assert tables.settings.get("key") == {"a": [1, 2.5, None, "é"]}


def test_completions(database: Database):
    with database.write() as tables:
        assert (tables.completions.key("stage", "item"), tables.completions.info("stage", "item")) == (None, None)
        tables.completions.put("stage", "item", "key 1", note="x")
        tables.completions.put("stage", "item", "key 2", note="y")
        tables.completions.put("other", "item", "key 3")
        assert tables.completions.keys("stage") == {"item": "key 2"}
        assert tables.completions.info("stage", "item") == {"note": "y"}


def test_decisions_are_kept_in_order_and_equal_warnings_once(database: Database):
    with database.write() as tables:
        for number in range(3):
            tables.decisions.add(time=make.TIME, user="u", kind="exclude", item=f"c{number % 2}", before=None, after={"n": number})
        assert [entry["after"]["n"] for entry in tables.decisions.all()] == [0, 1, 2]
        assert [entry["after"]["n"] for entry in tables.decisions.all(kind="exclude", item="c0")] == [0, 2]
        assert tables.decisions.all(kind="other") == []
        assert tables.decisions.count() == 3
        warning = ("kind", "file.json", "item", "message")
        assert tables.warnings.add("import", [warning, warning, ("kind", None, None, "message")]) == 2
        assert tables.warnings.counts() == {"kind": 2}
        assert len(tables.warnings.all(stage="import")) == 2
        assert tables.warnings.all(stage="other") == []


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(TEXT, TEXT, st.none() | TEXT, st.none() | st.integers(0, 2**31 - 1)), max_size=6), TEXT)
def test_any_text_of_the_web_comes_back(database: Database, values: list, key: str):
    candidates = [
        make.candidate(number, title=title, owner=owner, license=license_, width=width, query={key: title})
        for number, (title, owner, license_, width) in enumerate(values)
    ]
    with database.write() as tables:
        tables.candidates.add(candidates)
        assert [tables.candidates.get([c.id])[c.id] for c in candidates] == candidates
        tables.connection.rollback()


# ------------------------------------------------------------------------------------------------------------- streaming


def test_reading_everything_needs_little_memory(database: Database):
    with database.write() as tables:
        tables.candidates.add(make.candidate(number, title="x" * 500) for number in range(30_000))

    def peak(read: Callable[[Tables], object]) -> int:
        with database.read() as tables:
            tracemalloc.start()
            read(tables)
            size = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return size

    whole = peak(lambda tables: len(list(tables.candidates.all())))
    streamed = peak(lambda tables: sum(1 for _ in tables.candidates.all()))
    assert streamed < whole / 2

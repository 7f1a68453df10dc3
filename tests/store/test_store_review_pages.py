"""What review pages read in one query is what the tables say row by row, on every kind of database, whatever ids look like."""

from __future__ import annotations

import random

import pytest
import store_records as make

from retest.records import Candidate, Exclusion, ImageVariant, OriginalImage, Resolution, SelectionFrequency, Split
from retest.store import Database, Tables

STRANGE = ["a b", 'with "quotes"', "back\\slash", "日本語/ü.jpg", "tab\tand\nline", "per%cent", "[1]", "null", "0", "o'clock"]
CLASSES = ("n00000001", "n00000002", "")
METRICS = ("l2", "dssim")
VARIANT = "display"


@pytest.fixture
def filled(database: Database) -> Database:
    """Candidates and originals of three classes with every combination of what a page shows of them."""
    rng = random.Random(7)
    ids = [f"c{number}" for number in range(60)] + STRANGE
    with database.write() as tables:
        tables.classes.put([make.class_info(1), make.class_info(2)])
        photos = ["", "p1", "p2", *(f"own {number}" for number in range(200))]
        tables.candidates.add(
            [Candidate(one, rng.choice(CLASSES), rng.choice(("flickr", "folder")), photos[rng.choice((0, 1, 2, 3 + n))], "https://x/y")
             for n, one in enumerate(ids)]
        )  # fmt: skip
        tables.originals.add([OriginalImage(f"val/{n}", Split.VAL, CLASSES[n % 2], None) for n in range(8)])
        tables.originals.add([OriginalImage("train/1", Split.TRAIN, None, None)])
        images = [*ids, *(f"val/{n}" for n in range(8))]
        rows = [SelectionFrequency(image, wnid, 10, rng.randrange(11)) for image in images for wnid in CLASSES[:2] if rng.random() < 0.6]
        tables.frequencies.replace(rows)
        tables.variants.put(
            [ImageVariant(one, VARIANT, f"k/{n}", f"{n:064x}", 5, 30 + n, 40) for n, one in enumerate(images) if rng.random() < 0.7],
            notes=[],
        )
        tables.exclusions.add([Exclusion(one, "why", "more" * (n % 2), "u", "t") for n, one in enumerate(ids) if rng.random() < 0.3])
        tables.flags.put({one: "" if rng.random() < 0.5 else "look" for one in ids if rng.random() < 0.3}, user="u", time="t")
        tables.pairs.put_resolutions(Resolution(one, rng.random() < 0.5, "c", "r") for one in ids if rng.random() < 0.4)
        tables.pairs.add([(rng.choice(ids), rng.choice(images)) for _ in range(25)], user="u", time="t")
        for metric in METRICS:
            tables.reviews.put_thresholds(metric, {one: rng.choice((0.1 + 0.2, 1e100, 1 / 3)) for one in ids if rng.random() < 0.5})
        for one in rng.choices(images, k=120):
            kind = rng.choice(("exclusion", "problematic", "other"))
            tables.decisions.add(time="t", user="u", kind=kind, item=one, before=None, after=None)
    return database


def _ids(tables: Tables) -> list[str]:
    return [*tables.candidates.ids(), *tables.originals.ids(), "nobody", 'no"body']


def _counts(tables: Tables, ids: list[str]) -> dict[tuple[str, str], tuple[int, int]]:
    return {key: (found.num_selected, found.num_assignments) for key, found in tables.bulk.frequencies_of(ids).items()}


def test_a_page_of_candidates_is_what_its_tables_say(filled):
    with filled.read() as tables:
        ids = _ids(tables)
        cards = tables.review_candidates.cards(ids, variant=VARIANT, exclusion_kind="exclusion", flag_kind="problematic")
        assert cards.keys() == set(ids)
        stored, excluded, flags = tables.variants.get(ids, VARIANT), tables.exclusions.get(ids), tables.flags.get(ids)
        fates = tables.pairs.resolutions_of(ids)
        history = tables.decisions.all()
        for image, card in cards.items():
            variant = stored.get(image)
            assert card[:3] == ((variant.sha256, variant.width, variant.height) if variant else (None, None, None))
            exclusion = excluded.get(image)
            assert (card.reason, card.detail) == ((exclusion.reason, exclusion.detail) if exclusion else (None, None))
            assert card.flag == flags.get(image)
            assert card.near_duplicate is (image in fates and fates[image].near_duplicate)
            numbers = [
                max((d["no"] for d in history if (d["kind"], d["item"]) == (kind, image)), default=0)
                for kind in ("exclusion", "problematic")
            ]
            assert [card.exclusion_version, card.flag_version] == numbers


def test_facts_marks_and_partners_of_a_class_are_what_the_tables_say(filled):
    with filled.read() as tables:
        pairs = tables.pairs.all()
        partners: dict[str, set[str]] = {}
        for first, second in pairs:
            partners.setdefault(first, set()).add(second)
            partners.setdefault(second, set()).add(first)
        counts = _counts(tables, _ids(tables))
        for wnid in CLASSES:
            ids = tables.candidates.ids(wnid=wnid)
            facts = tables.review_candidates.facts_of_class(wnid)
            assert [one.id for one in facts] == sorted(ids)
            assert {one.id: (one.num_selected, one.num_assignments) for one in facts} == {
                one: counts.get((one, wnid), (0, 0)) for one in ids
            }
            marks = tables.review_candidates.marks_of_class(wnid)
            assert marks.exclusions == {one: (e.reason, e.detail) for one, e in tables.exclusions.get(ids).items()}
            assert marks.flags == tables.flags.get(ids)
            assert marks.near_duplicates == {one for one, fate in tables.pairs.resolutions_of(ids).items() if fate.near_duplicate}
            assert marks.paired == set(ids) & partners.keys()
            assert tables.review_candidates.partners(ids) == {one: partners[one] for one in ids if one in partners}
            assert tables.pairs.touching(ids) == {pair for pair in pairs if set(pair) & set(ids)}


def test_what_is_joined_is_paired_or_shows_the_same_photo(filled):
    with filled.read() as tables:
        photos, pairs = tables.candidates.photos(tables.candidates.ids()), tables.pairs.all()
        for image in _ids(tables):
            joined = {other for pair in pairs if image in pair for other in pair if other != image or pair[0] == pair[1]}
            if image in photos and photos[image][1]:
                joined |= {other for other in photos if photos[other] == photos[image]}
            assert tables.review_candidates.joined([image]) | {image} == joined | {image}


def test_what_sampling_asks_is_the_same_for_a_few_as_for_all(filled):
    with filled.read() as tables:
        ids = _ids(tables)
        expected = {one.id: one for one in tables.facts.candidates(METRICS, ids=ids)}
        found = {facts.id: (facts, standing) for facts, standing in tables.review_candidates.standing(ids, METRICS)}
        assert {image: facts for image, (facts, _) in found.items()} == expected
        marks = tables.exclusions.get(ids).keys(), tables.flags.get(ids).keys(), tables.pairs.resolutions_of(ids).keys()
        assert {image: tuple(standing) for image, (_, standing) in found.items()} == {
            image: tuple(image in marked for marked in marks) for image in expected
        }


@pytest.mark.parametrize("wnid", [None, "n00000002"])
def test_an_image_is_told_of_as_its_tables_say(filled, wnid):
    with filled.read() as tables:
        ids = _ids(tables)
        candidates = tables.candidates.get(ids)
        originals, excluded, counts = tables.originals.get(ids), tables.exclusions.get(ids), _counts(tables, ids)
        stored = tables.variants.get(ids, VARIANT)
        found = tables.review_candidates.seen(ids, variant=VARIANT, wnid=wnid)
        assert found.keys() == set(ids)
        for image, seen in found.items():
            candidate, original = candidates.get(image), originals.get(image)
            own = (candidate.wnid or None) if candidate else original.wnid if original else None
            assert seen.sha256 == (stored[image].sha256 if image in stored else None)
            assert seen.candidate_class == (candidate.wnid if candidate else None)
            assert seen.split == (None if candidate or not original else str(original.split))
            assert seen.wnid == own
            assert seen.reason == (excluded[image].reason if image in excluded else None)
            assert (seen.num_selected, seen.num_assignments) == counts.get((image, wnid or own or ""), (0, 0))


def test_versions_are_the_latest_decisions_and_generations_those_of_the_tables(filled):
    with filled.read() as tables:
        history = tables.decisions.all(kind="exclusion")
        latest = {row["item"]: row["no"] for row in history}
        assert tables.decisions.versions("exclusion", _ids(tables)) == latest
        assert {item: one.no for item, one in tables.decisions.latest("exclusion", _ids(tables)).items()} == latest
        assert tables.decisions.latest("exclusion", ["nobody"]) == {}
        generations = tables.generations.of("candidates", "class_counts", "exclusions")
        assert list(generations) == ["candidates", "class_counts", "exclusions"]
        assert generations["class_counts"] == 0
        assert generations["candidates"] >= 1


def test_counts_of_classes_come_back_as_texts(filled):
    with filled.write() as tables:
        assert tables.class_counts.texts() == {}
        tables.class_counts.put({"n2": {"found_bins": [1, 2], "candidates": 3}, "n1": {"candidates": 0}})
        assert list(tables.class_counts.texts()) == ["n1", "n2"]
        assert tables.class_counts.all() == {"n1": {"candidates": 0}, "n2": {"found_bins": [1, 2], "candidates": 3}}


def test_no_ids_give_no_rows(filled):
    with filled.read() as tables:
        assert tables.review_candidates.cards([], variant=VARIANT, exclusion_kind="e", flag_kind="f") == {}
        assert tables.review_candidates.joined([]) == set()
        assert tables.pairs.touching([]) == set()
        assert list(tables.review_candidates.standing([], METRICS)) == []
        assert tables.review_candidates.seen([], variant=VARIANT) == {}
        assert tables.generations.of() == {}

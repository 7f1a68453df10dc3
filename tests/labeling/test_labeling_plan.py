import json
import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retest.errors import ConfigError, InputError
from retest.labeling import ClassImages, HitParameters, plan_hits, plan_original_hits

SHARED = Path(__file__).resolve().parents[3] / "shared" / "imagenetv2" / "data"

GOLDEN_UUIDS = ["b60736ea-176f-5fca-b017-5d4930a04410", "735a9ffd-72e5-583e-9aa1-00912f6ead9f"]
GOLDEN_PAGES = [
    ("n01440764-c000", "n01440764-c004", "n01440764-n003", "n01440764-c002", "n01440764-p001"),
    ("n01440764-p001", "n01440764-c001", "n01440764-n003", "n01440764-c004", "n01440764-c003"),
]


def images(wnid="n01", to_label=100, positive=50, negative=50):
    return ClassImages(
        wnid,
        tuple(f"{wnid}-c{number:03d}" for number in range(to_label)),
        tuple(f"{wnid}-p{number:03d}" for number in range(positive)),
        tuple(f"{wnid}-n{number:03d}" for number in range(negative)),
    )


@st.composite
def plans(draw):
    parameters = HitParameters(
        images_to_label=draw(st.integers(1, 12)),
        positive_controls=draw(st.integers(0, 3)),
        negative_controls=draw(st.integers(0, 3)),
        seed=draw(st.integers(0, 5)),
    )
    numbers = draw(st.lists(st.integers(0, 40), min_size=0, max_size=4))
    return [images(f"n{number:02d}", to_label, 20, 20) for number, to_label in enumerate(numbers)], parameters


@given(plans())
def test_every_hit_obeys_the_rules(plan):
    classes, parameters = plan
    size = parameters.images_to_label
    hits = plan_hits(classes, parameters)
    assert len({hit.uuid for hit in hits}) == len(hits)
    for each in classes:
        own = [hit for hit in hits if hit.wnid == each.wnid]
        assert len(own) == math.ceil(len(each.to_label) / size)
        assert {image for hit in own for image in hit.images_to_label} == set(each.to_label)
        repeats = sum(len(hit.images_to_label) for hit in own) - len(each.to_label)
        assert repeats == (len(own) * size - len(each.to_label) if len(own) > 1 else 0)
        for hit in own:
            assert sorted(hit.images_all) == sorted(hit.images_to_label + hit.images_pos_control + hit.images_neg_control)
            assert len(set(hit.images_all)) == len(hit.images_all) == parameters.images_per_hit
            assert set(hit.images_pos_control) <= set(each.positive_pool)
            assert set(hit.images_neg_control) <= set(each.negative_pool)
            extra = size - len(hit.images_to_label)
            assert len(hit.images_pos_control) == parameters.positive_controls + math.ceil(extra / 2)
            assert len(hit.images_neg_control) == parameters.negative_controls + extra // 2
            assert extra == 0 or len(each.to_label) < size


@given(plans(), st.randoms(use_true_random=False))
def test_order_of_the_inputs_does_not_matter(plan, rng):
    classes, parameters = plan

    def shuffled(items):
        return tuple(rng.sample(list(items), len(items)))

    reordered = [
        ClassImages(each.wnid, shuffled(each.to_label), shuffled(each.positive_pool), shuffled(each.negative_pool)) for each in classes
    ]
    assert plan_hits(shuffled(reordered), parameters) == plan_hits(classes, parameters)


def test_classes_do_not_influence_each_other():
    parameters = HitParameters(seed=3)
    together = plan_hits([images("n01"), images("n02"), images("n03", 5)], parameters)
    alone = [hit for wnid, number in (("n01", 100), ("n02", 100), ("n03", 5)) for hit in plan_hits([images(wnid, number)], parameters)]
    assert together == alone


def test_the_seed_changes_the_plan():
    one, two = plan_hits([images()], HitParameters(seed=1)), plan_hits([images()], HitParameters(seed=2))
    assert [hit.images_to_label for hit in one] != [hit.images_to_label for hit in two]
    assert {hit.uuid for hit in one}.isdisjoint(hit.uuid for hit in two)


def test_a_plan_is_the_same_on_every_machine():
    # Golden values made by this function itself (retest 0.1.0, Python 3.11): they guard against a silent change of the order.
    hits = plan_hits([images("n01440764", 5, 4, 4)], HitParameters(images_to_label=3, positive_controls=1, negative_controls=1, seed=7))
    assert [hit.uuid for hit in hits] == GOLDEN_UUIDS
    assert [hit.images_all for hit in hits] == GOLDEN_PAGES


def test_the_short_last_chunk_is_topped_up_from_earlier_chunks():
    first, second, last = plan_hits([images(to_label=90)], HitParameters())
    earlier = set(first.images_to_label) | set(second.images_to_label)
    assert len(earlier) == 84
    assert len(last.images_to_label) == 42
    assert len(set(last.images_to_label) & earlier) == 36
    assert len(set(last.images_to_label) - earlier) == 6


@pytest.mark.parametrize(("to_label", "expected"), [(41, (41, 4, 3)), (11, (11, 19, 18)), (2, (2, 23, 23)), (42, (42, 3, 3))])
def test_small_classes_get_the_extra_controls_of_the_published_hits(to_label, expected):
    # The four shapes occur in the published HIT files (method, section 4).
    (hit,) = plan_hits([images(to_label=to_label)], HitParameters())
    assert (len(hit.images_to_label), len(hit.images_pos_control), len(hit.images_neg_control)) == expected


def test_pages_are_shuffled_without_bias():
    # Where the controls stand must say nothing: over many HITs each of the 48 places holds a control equally often.
    places = Counter()
    hits = plan_hits([images(f"n{number:03d}", 84, 10, 10) for number in range(300)], HitParameters())
    for hit in hits:
        controls = set(hit.images_pos_control) | set(hit.images_neg_control)
        places.update(place for place, image in enumerate(hit.images_all) if image in controls)
    expected = len(hits) * 6 / 48
    chi_squared = sum((places[place] - expected) ** 2 / expected for place in range(48))
    assert chi_squared < 100  # 47 degrees of freedom: p = 1e-5


@pytest.mark.parametrize(("positive", "negative", "kind"), [(2, 50, "positive"), (50, 2, "negative")])
def test_too_few_controls_name_the_class(positive, negative, kind):
    with pytest.raises(
        InputError, match=rf"class n07: a HIT needs 3 {kind} controls and there are only 2\. Add .*{kind} pool.*skip_search_keys"
    ):
        plan_hits([images("n07", 50, positive, negative)], HitParameters())


def test_an_image_with_two_roles_is_refused():
    with pytest.raises(InputError, match="class n01: image a is in both control pools"):
        plan_hits([ClassImages("n01", ("c",), ("a", "b"), ("a", "d"))], HitParameters(images_to_label=1))
    with pytest.raises(InputError, match="class n01: image c is in to_label and positive_pool"):
        plan_hits([ClassImages("n01", ("c",), ("a", "c"), ("d",))], HitParameters(images_to_label=1))
    with pytest.raises(InputError, match="class n01: image c is in to_label and negative_pool"):
        plan_original_hits([ClassImages("n01", ("c",), ("a",), ("c",))], HitParameters(images_to_label=1))


def test_repeats_are_refused():
    with pytest.raises(InputError, match="n01: appears twice in the classes"):
        plan_hits([images("n01"), images("n01")], HitParameters())
    with pytest.raises(InputError, match="c: appears twice in to_label of class n01"):
        plan_hits([ClassImages("n01", ("c", "c"), (), ())], HitParameters())


def test_a_class_without_images_gives_no_hit():
    assert plan_hits([ClassImages("n01", (), (), ())], HitParameters()) == []


def test_a_page_asked_again_is_a_new_hit_and_not_a_retry():
    first = plan_hits([images(to_label=42)], HitParameters())
    assert plan_hits([images(to_label=42)], HitParameters()) == first
    (again,) = plan_hits([images(to_label=42)], HitParameters(), taken_uuids=[first[0].uuid])
    assert again.uuid != first[0].uuid
    assert again.images_all == first[0].images_all
    (third,) = plan_hits([images(to_label=42)], HitParameters(), taken_uuids=[again.uuid, first[0].uuid])
    assert third.uuid not in {again.uuid, first[0].uuid}


def test_original_hits_label_originals_and_draw_controls_from_the_others():
    originals = tuple(f"val-{number:02d}" for number in range(50))
    classes = [ClassImages("n01", originals, originals, tuple(f"other-{number}" for number in range(50)))]
    hits = plan_original_hits(classes, HitParameters())
    assert {image for hit in hits for image in hit.images_to_label} == set(originals)
    for hit in hits:
        assert len(set(hit.images_all)) == 48
        assert set(hit.images_pos_control) <= set(originals) - set(hit.images_to_label)
        assert len(hit.images_pos_control) == len(hit.images_neg_control) == 3


def test_original_hits_of_a_few_images_use_the_rest_as_controls():
    originals = tuple(f"val-{number:02d}" for number in range(50))
    (hit,) = plan_original_hits(
        [ClassImages("n01", originals[:20], originals, tuple(f"other-{n}" for n in range(50)))], HitParameters(seed=1)
    )
    assert (len(hit.images_to_label), len(hit.images_pos_control), len(hit.images_neg_control)) == (20, 14, 14)
    assert set(hit.images_pos_control).isdisjoint(originals[:20])


def test_original_hits_name_the_class_with_too_few_originals():
    originals = tuple(f"val-{number:02d}" for number in range(44))
    with pytest.raises(InputError, match="class n01: a HIT needs 3 positive controls and there are only 2"):
        plan_original_hits([ClassImages("n01", originals, originals, tuple("abcdef"))], HitParameters())


@pytest.mark.parametrize(
    ("name", "value"),
    [("images_to_label", 0), ("positive_controls", -1), ("assignments_per_hit", 2.5), ("min_assignments", True), ("max_classes", 0)],
)
def test_parameters_out_of_range_are_refused(name, value):
    with pytest.raises(ConfigError, match=rf"^{name}: must be a whole number of at least \d, not .*\. Set {name} to"):
        HitParameters(**{name: value})


def test_counting_outstanding_answers_is_yes_or_no():
    with pytest.raises(ConfigError, match="count_outstanding: must be true or false, not 'no'"):
        HitParameters(count_outstanding="no")


def test_skip_search_keys_must_be_a_list():
    with pytest.raises(ConfigError, match="skip_search_keys: must be a list of strings"):
        HitParameters(skip_search_keys="tench")


# ------------------------------------------------------------------------------------ against the published HITs


# Files that the published study's own collection ignores (first trials with 25-image pages, and aborted submissions).
IGNORED = {
    "2018-08-06_17:33_vaishaal.json",
    "2018-08-17_17:24_vaishaal.json",
    "vaishaal_hits_submitted_2018-08-17-18:28:33-PDT.json",
    "vaishaal_hits_submitted_2018-08-17-18:50:38-PDT.json",
    "vaishaal_hits_submitted_2018-08-17-19:28:24-PDT.json",
    "vaishaal_hits_submitted_2018-08-17-19:56:28-PDT.json",
    "vaishaal_hits_submitted_2018-08-25-09:47:26-PDT.json",
}


@pytest.fixture(scope="module")
def published():
    folder = SHARED / "mturk" / "hit_data_live"
    if not folder.is_dir():
        pytest.skip("the published HIT files are not here")
    return {path.name: json.loads(path.read_text()) for path in sorted(folder.glob("*.json")) if path.name not in IGNORED}


def test_replanning_every_published_submission_gives_the_same_statistics(published):
    # One file is one submission. Planning the same images again must give, class by class, the same number of HITs with
    # the same numbers of images and controls.
    classes = 0
    pools = (tuple(f"p{number}" for number in range(50)), tuple(f"n{number}" for number in range(50)))
    for name, hits in published.items():
        by_class = {}
        for hit in hits:
            by_class.setdefault(hit["wnid"], []).append(hit)
        to_label = {wnid: sorted({image for hit in own for image in hit["images_to_label"]}) for wnid, own in by_class.items()}
        planned = plan_hits([ClassImages(wnid, tuple(ids), *pools) for wnid, ids in to_label.items()], HitParameters())
        ours = Counter((hit.wnid, len(hit.images_to_label), len(hit.images_pos_control), len(hit.images_neg_control)) for hit in planned)
        theirs = Counter(
            (hit["wnid"], len(hit["images_to_label"]), len(hit["images_pos_control"]), len(hit["images_neg_control"])) for hit in hits
        )
        assert ours == theirs, name
        classes += len(by_class)
    assert classes > 700


def test_the_published_controls_come_from_the_pools_of_the_rule(published):
    similar = json.loads((SHARED / "metadata" / "wnid_to_most_similar_wnids.json").read_text())
    dataset = json.loads((SHARED / "datasets" / "imagenet-validation-original.json").read_text())
    of_class = {}
    for image, wnid in dataset["image_filenames"]:
        of_class.setdefault(wnid, []).append(image)
    hits = [hit for hits in published.values() for hit in hits]
    assert len(hits) > 2000
    for hit in hits:
        assert set(hit["images_pos_control"]) <= set(of_class[hit["wnid"]])
        assert set(hit["images_neg_control"]) <= set(of_class[similar[hit["wnid"]][1]])

"""The published revisions (part of the ImageNetV2 repository, when it is beside the checkout) against the rules.

No annotators' answers were published, but the seeds were: the final shuffle can be undone, which shows the order in which
the published algorithm emitted the images and how many random words it had drawn before.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from retest.records import Revision
from retest.sampling import (
    OriginalFacts,
    SamplingParameters,
    carry_over_reviews,
    diff_revisions,
    reviews_from_published,
    reviews_to_published,
    revision_from_published,
    revision_text,
    revision_to_published,
    sample_val_dummy,
)

DATA = Path(__file__).resolve().parents[3] / "shared" / "imagenetv2" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the published data is not beside the checkout")

CHAINS = {"a": range(40, 45), "b": range(29, 34), "c": range(8, 13)}
SUCCESSORS = [(f"imagenetv2-{letter}-{n}", f"imagenetv2-{letter}-{n + 1}") for letter, ns in CHAINS.items() for n in ns[:-1]]


def load(name: str) -> Revision:
    return revision_from_published(json.loads((DATA / "datasets" / f"{name}.json").read_text()), name=name)


def by_class(pairs) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for image, wnid in pairs:
        groups.setdefault(wnid, []).append(image)
    return groups


def unshuffled(revision: Revision) -> tuple[list[tuple[str, str]], int]:
    """The images as they were emitted, classes in sorted order, and how many 32-bit words were drawn before the shuffle."""
    words = random.Random(revision.seed)
    for skipped in range(1000):
        rng = random.Random()
        rng.setstate(words.getstate())
        order = list(range(len(revision.images)))
        rng.shuffle(order)
        emitted = [("", "")] * len(order)
        for pair, index in zip(revision.images, order, strict=True):
            emitted[index] = pair
        if [wnid for _, wnid in emitted] == sorted(wnid for _, wnid in emitted):
            return emitted, skipped
        words.getrandbits(32)
    raise AssertionError(f"{revision.name} is no shuffled list of sorted classes")


def published_files() -> list[Path]:
    return sorted((DATA / "datasets").glob("*.json"))


def test_every_published_revision_is_read_and_written_byte_for_byte():
    assert len(published_files()) == 20
    for path in published_files():
        text = path.read_text()
        revision = revision_from_published(json.loads(text), name=path.stem)
        assert revision_text(revision) == text.rstrip("\n"), path.name
        assert revision_from_published(revision_to_published(revision), name=path.stem) == revision
        assert revision.name == path.stem
        assert revision.time[10] == "T"
        assert revision.is_valid == (len(revision.images) % 10_000 == 0)


def test_every_published_review_is_read_and_written():
    for path in (DATA / "dataset_reviews").glob("*.json"):
        name = path.stem.removesuffix("_review")
        document = json.loads(path.read_text())
        assert reviews_to_published(reviews_from_published(name, document)) == document
        assert json.dumps(reviews_to_published(reviews_from_published(name, document)), indent=2) == path.read_text()


@pytest.mark.parametrize("name", [f"imagenetv2-c-{n}" for n in CHAINS["c"]])
def test_top_images_draws_nothing_before_the_shuffle(name):
    revision = load(name)
    emitted, words = unshuffled(revision)
    assert words == 0
    assert max(Counter(wnid for _, wnid in emitted).values()) == 10


@pytest.mark.parametrize(("old", "new"), [pair for pair in SUCCESSORS if "-a-" in pair[0]])
def test_threshold_emits_the_carried_images_in_their_order_then_the_drawn_ones(old, new):
    previous, revision = load(old), load(new)
    assert revision.starting_from == old
    emitted, words = unshuffled(revision)
    before, drawn = by_class(previous.images), 0
    for wnid, images in by_class(emitted).items():
        carried = [image for image in before[wnid] if image in set(images)]
        assert images[: len(carried)] == carried
        assert len(images) <= 10
        drawn += len(images) - len(carried)
    # At least one word per drawn image, except in classes that were emptied without a draw; rejected words are a few.
    if revision.is_valid:
        assert drawn <= words < 4 * drawn


@pytest.mark.parametrize(("old", "new"), [pair for pair in SUCCESSORS if "-b-" in pair[0]][-2:])
def test_matched_frequency_draws_before_the_shuffle_and_fills_every_class(old, new):
    revision = load(new)
    assert revision.starting_from == old
    emitted, words = unshuffled(revision)
    assert words >= diff_revisions(load(old), revision).num_added
    assert set(Counter(wnid for _, wnid in emitted).values()) == {10}


def validation_images() -> list[OriginalFacts]:
    return [OriginalFacts(image, wnid) for image, wnid in load("imagenet-validation-original").images]


def test_the_original_validation_set_is_sampled_as_published():
    published = load("imagenet-validation-original")
    images = validation_images()
    random.Random(0).shuffle(images)
    parameters = SamplingParameters(per_class=50, seed=published.seed)
    result = sample_val_dummy(images, {wnid for _, wnid in published.images}, parameters=parameters)
    assert result.images == published.images


def test_the_published_dummy_is_drawn_as_published():
    """The first dummy was written before images were sorted after the draw: same images, in the order drawn."""
    published = load("imagenetv2-dummy-0")
    images = validation_images()
    result = sample_val_dummy(images, {wnid for _, wnid in published.images}, parameters=SamplingParameters(seed=published.seed))
    assert by_class(result.images) == {wnid: sorted(group) for wnid, group in by_class(published.images).items()}


@pytest.mark.parametrize(("old", "new"), SUCCESSORS)
def test_carried_reviews_agree_with_the_published_reviews(old, new):
    """A class that starts as reviewed is reviewed in the finished review too."""
    start = carry_over_reviews(
        reviews_from_published(old, json.loads((DATA / "dataset_reviews" / f"{old}_review.json").read_text())), load(old), load(new)
    )
    final = json.loads((DATA / "dataset_reviews" / f"{new}_review.json").read_text())
    reviewed = [review.wnid for review in start if review.reviewed]
    assert all(final[wnid]["reviewed"] for wnid in reviewed)
    unchanged = 1000 - len(diff_revisions(load(old), load(new)).classes)
    assert 800 <= len(reviewed) <= unchanged

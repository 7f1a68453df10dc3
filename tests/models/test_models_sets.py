"""Several test sets in one pass, side by side, on other machines; models that fail."""

from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context

import numpy as np
import pytest

from retest.errors import ImageError, InputError, UsageError
from retest.models import EvaluateParameters, EvaluationImage, EvaluationSet, Recipe, RunParameters, evaluate, evaluate_sets, parse_model

CLASSES = 4
PARAMETERS = EvaluateParameters(batch_size=4, top_k=2)


class Mean:
    """Scores = mean colours times weights; can be pickled."""

    def __init__(self, name, seed, *, thread_safe=False):
        self.name, self.seed, self.thread_safe = name, seed, thread_safe
        self.preprocessing, self.num_classes, self.provenance = "mean", CLASSES, {"device": "cpu"}
        self.fingerprint = f"mean {seed}"
        self.weights = np.random.default_rng(seed).normal(size=(3, CLASSES)).astype(np.float32)

    def preprocess(self, rgb):
        return rgb.mean(axis=(0, 1)).astype(np.float32)

    def predict(self, batch):
        return batch @ self.weights


class Failing(Mean):
    """Its server goes away after some batches."""

    def __init__(self, name, seed, allowed):
        super().__init__(name, seed)
        self.allowed = allowed

    def predict(self, batch):
        self.allowed -= 1
        if self.allowed < 0:
            raise ConnectionError("the model server does not answer")
        return super().predict(batch)


LOADS = Counter()


def load(number):
    LOADS[number] += 1
    if number == 6:
        raise ImageError("ends in the middle", item=f"i{number}", reason="truncated")
    return np.random.default_rng(number).integers(0, 256, (5, 4, 3)).astype(np.uint8)


def image(number, *, prefix="i"):
    return EvaluationImage(f"{prefix}{number}", number % CLASSES, partial(load, number), f"sha of {number}")


def three_sets():
    return [
        EvaluationSet("one", [image(number) for number in range(12)]),
        EvaluationSet("two", [image(number, prefix="other-name-") for number in range(4, 18)]),
        EvaluationSet("three", [image(number) for number in (17, 3, 6, 20)]),
    ]


def assert_same(one, two):
    assert one.excluded == two.excluded
    assert len(one.predictions) == len(two.predictions)
    for left, right in zip(one.predictions, two.predictions, strict=True):
        assert (left.dataset, left.model, left.image_ids, left.provenance) == (
            right.dataset,
            right.model,
            right.image_ids,
            right.provenance,
        )
        assert left.labels.tobytes() == right.labels.tobytes()
        assert left.top.tobytes() == right.top.tobytes()
        assert left.scores.tobytes() == right.scores.tobytes()


@pytest.fixture
def expected(tmp_path):
    models = [Mean("a", 1), Mean("b", 2)]
    return evaluate_sets(three_sets(), models, part_dir=tmp_path / "expected", parameters=PARAMETERS)


def test_an_image_that_several_sets_hold_is_read_and_classified_once(tmp_path):
    LOADS.clear()
    result = evaluate_sets(three_sets(), [Mean("a", 1), Mean("b", 2)], part_dir=tmp_path, parameters=PARAMETERS)
    assert Counter([*range(18), 20]) == LOADS
    assert (result.images, result.distinct) == (30, 19)
    assert [(one.dataset, one.model) for one in result.predictions] == [(s, m) for s in ("one", "two", "three") for m in "ab"]
    assert [(one.dataset, one.id) for one in result.excluded] == [("one", "i6"), ("two", "other-name-6"), ("three", "i6")]
    for one_set in three_sets():
        alone = evaluate(one_set.images, [Mean("a", 1)], dataset=one_set.name, part_dir=tmp_path / one_set.name, parameters=PARAMETERS)
        (together,) = [one for one in result.predictions if (one.dataset, one.model) == (one_set.name, "a")]
        assert together.image_ids == alone.predictions[0].image_ids
        np.testing.assert_array_equal(together.top, alone.predictions[0].top)
        np.testing.assert_array_equal(together.labels, alone.predictions[0].labels)


def test_rows_of_one_set_serve_the_next(tmp_path):
    evaluate_sets(three_sets()[:1], [Mean("a", 1)], part_dir=tmp_path, parameters=PARAMETERS)
    LOADS.clear()
    evaluate_sets(three_sets(), [Mean("a", 1)], part_dir=tmp_path, parameters=PARAMETERS)
    assert Counter([6, *range(12, 18), 20]) == LOADS  # 6 cannot be decoded and is tried again


@pytest.mark.parametrize("lanes", [2, 5])
@pytest.mark.parametrize("thread_safe", [True, False])
def test_batches_side_by_side_give_the_same_bytes(tmp_path, expected, lanes, thread_safe):
    models = [Mean("a", 1, thread_safe=thread_safe), Mean("b", 2)]
    with ThreadPoolExecutor(2) as pool:
        result = evaluate_sets(three_sets(), models, part_dir=tmp_path / "lanes", parameters=PARAMETERS, lanes=lanes, executor=pool)
    assert_same(result, expected)


def test_a_classifier_that_is_not_made_for_threads_gets_one_batch_at_a_time(tmp_path):
    class Careful(Mean):
        inside = 0

        def predict(self, batch):
            self.inside += 1
            assert self.inside == 1
            scores = super().predict(batch)
            self.inside -= 1
            return scores

    evaluate_sets(three_sets(), [Careful("a", 1)], part_dir=tmp_path, parameters=PARAMETERS, lanes=6)


@contextmanager
def dask():
    distributed = pytest.importorskip("distributed")
    local = distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None)
    with local as cluster, distributed.Client(cluster) as client:
        yield client.get_executor(pure=False)


@contextmanager
def processes():
    with ProcessPoolExecutor(2, mp_context=get_context("forkserver")) as pool:
        yield pool


@pytest.mark.parametrize("where", [processes, dask, partial(ThreadPoolExecutor, 2)], ids=["processes", "dask", "threads"])
def test_splitting_the_images_gives_the_same_bytes(tmp_path, expected, where):
    models = [Mean("a", 1), Mean("b", 2)]
    with where() as workers:
        result = evaluate_sets(
            three_sets(), models, part_dir=tmp_path / "split", parameters=PARAMETERS, workers=workers, workers_count=2, progress=None
        )
        assert_same(result, expected)
        LOADS.clear()
        again = evaluate_sets(three_sets(), models, part_dir=tmp_path / "split", parameters=PARAMETERS, workers=workers)
    assert_same(again, expected)
    assert set(LOADS) <= {6}


def test_workers_open_models_by_their_recipe_and_check_that_they_are_the_same(tmp_path):
    pytest.importorskip("timm")
    from retest.models import open_classifier

    run = RunParameters(device="cpu", engine="eager")
    spec = parse_model("timm:test_vit@random")
    model = open_classifier(spec, run=run)
    sets = [EvaluationSet("s", [image(number)._replace(label=-1) for number in range(5)])]
    here = evaluate_sets(sets, [model], part_dir=tmp_path / "here", parameters=PARAMETERS)
    with ThreadPoolExecutor(1) as pool:
        recipes = {model.name: Recipe(spec, run, model.name)}
        there = evaluate_sets(sets, [model], part_dir=tmp_path / "there", parameters=PARAMETERS, workers=pool, recipes=recipes)
        assert_same(there, here)
        other = {model.name: partial(Mean, model.name, 3)}
        with pytest.raises(InputError, match="is another one there than here"):
            evaluate_sets(sets, [model], part_dir=tmp_path / "other", parameters=PARAMETERS, workers=pool, recipes=other)


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("lanes", [1, 3])
def test_a_model_that_fails_is_given_up_and_the_others_go_on(tmp_path, expected, split, lanes):
    models = [Mean("a", 1), Failing("f", 3, allowed=2), Mean("b", 2)]
    with ThreadPoolExecutor(1) as pool:
        options = {"workers": pool} if split else {"lanes": lanes}
        result = evaluate_sets(three_sets(), models, part_dir=tmp_path, parameters=PARAMETERS, keep_going=True, **options)
    assert {one.model for one in result.predictions} == {"a", "b"}
    ((model, problem),) = [(one.model, one.problem) for one in result.failures]
    assert model == "f"
    assert problem.startswith("model f: fails with ConnectionError: the model server does not answer")
    for left, right in zip(result.predictions, expected.predictions, strict=True):
        assert left.top.tobytes() == right.top.tobytes()


def test_what_a_failed_model_had_done_is_kept(tmp_path):
    with pytest.raises(InputError, match="model f: fails with ConnectionError"):
        evaluate_sets(three_sets(), [Failing("f", 3, allowed=3)], part_dir=tmp_path, parameters=PARAMETERS)
    mended = Failing("f", 3, allowed=2)
    result = evaluate_sets(three_sets(), [mended], part_dir=tmp_path, parameters=PARAMETERS)
    assert (len(result.predictions), mended.allowed) == (3, 0)


def test_wrong_sets_are_named(tmp_path):
    with pytest.raises(UsageError, match="no test set given"):
        evaluate_sets([], [Mean("a", 1)], part_dir=tmp_path)
    with pytest.raises(UsageError, match="one: two test sets of this name"):
        evaluate_sets([EvaluationSet("one", [])] * 2, [Mean("a", 1)], part_dir=tmp_path)

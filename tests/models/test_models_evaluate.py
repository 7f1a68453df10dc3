import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from retest.errors import ConfigError, ImageError, InputError, StoreError, UsageError
from retest.models import EvaluateParameters, EvaluationImage, discard_parts, evaluate, top_k

CLASSES = 6


def picture(number):
    return np.random.default_rng(number).integers(0, 256, (5, 4, 3)).astype(np.uint8)


class Linear:
    """A small classifier whose answer can be computed by hand: scores = mean colour per row, times weights."""

    def __init__(self, name, seed, *, preprocessing="rows", version="1"):
        self.name = name
        self.preprocessing = preprocessing
        self.num_classes = CLASSES
        self.fingerprint = f"linear {seed} {version} {preprocessing}"
        self.provenance = {"device": "cpu"}
        self.weights = np.random.default_rng(seed).normal(size=(5, CLASSES)).astype(np.float32)
        self.batches = []

    def preprocess(self, rgb):
        return rgb.mean(axis=(1, 2)).astype(np.float32)

    def predict(self, batch):
        self.batches.append(len(batch))
        return batch @ self.weights


class Loader:
    """Counts how often each image is decoded; images listed as broken are refused."""

    def __init__(self, broken=()):
        self.broken = set(broken)
        self.loads = Counter()

    def load(self, number):
        self.loads[number] += 1
        if number in self.broken:
            raise ImageError("ends in the middle", item=f"i{number}", reason="truncated")
        return picture(number)

    def images(self, n, **options):
        return [EvaluationImage(f"i{number}", number % CLASSES, partial(self.load, number), **options) for number in range(n)]


def run(loader, classifiers, folder, *, n=23, batch_size=4, k=3, **options):
    images = loader.images(n)
    parameters = EvaluateParameters(batch_size=batch_size, top_k=k)
    return evaluate(images, classifiers, dataset="set", part_dir=folder, parameters=parameters, **options)


def assert_same(one, two):
    assert one.excluded == two.excluded
    for left, right in zip(one.predictions, two.predictions, strict=True):
        assert (left.model, left.image_ids, left.provenance, left.notes) == (right.model, right.image_ids, right.provenance, right.notes)
        np.testing.assert_array_equal(left.labels, right.labels)
        np.testing.assert_array_equal(left.top, right.top)
        assert left.scores.tobytes() == right.scores.tobytes()


def test_predictions_equal_each_model_run_by_itself(tmp_path):
    models = [Linear("a", 1), Linear("b", 2, preprocessing="other")]
    result = run(Loader(), models, tmp_path)
    for model, predictions in zip(models, result.predictions, strict=True):
        scores = np.stack([picture(number).mean(axis=(1, 2)).astype(np.float32) @ model.weights for number in range(23)])
        np.testing.assert_array_equal(predictions.top, top_k(scores, 3)[0])
        np.testing.assert_allclose(predictions.scores, top_k(scores, 3)[1], rtol=1e-5)
        assert predictions.image_ids == tuple(f"i{number}" for number in range(23))
        assert predictions.labels.tolist() == [number % CLASSES for number in range(23)]
        assert predictions.provenance["fingerprint"] == model.fingerprint
        assert predictions.provenance["device"] == "cpu"


def test_each_image_is_decoded_once_and_each_preprocessing_done_once(tmp_path):
    class Counting(Linear):
        count = 0

        def preprocess(self, rgb):
            Counting.count += 1
            return super().preprocess(rgb)

    loader = Loader()
    models = [Counting("a", 1), Counting("b", 2), Counting("c", 3, preprocessing="other")]
    run(loader, models, tmp_path)
    assert loader.loads == Counter(range(23))
    assert Counting.count == 2 * 23
    assert [model.batches for model in models] == [[4, 4, 4, 4, 4, 3]] * 3


def test_a_second_run_does_nothing(tmp_path):
    first = run(Loader(), [Linear("a", 1)], tmp_path)
    loader, model = Loader(), Linear("a", 1)
    assert_same(run(loader, [model], tmp_path), first)
    assert not loader.loads
    assert not model.batches


def test_killed_at_any_batch_and_run_again_gives_the_same(tmp_path):
    broken = {2, 9}
    expected = run(Loader(broken), [Linear("a", 1), Linear("b", 2)], tmp_path / "whole")

    class Killed(BaseException):  # what a signal does: no error that anybody handles
        pass

    class Dying(Linear):
        def __init__(self, name, seed, allowed):
            super().__init__(name, seed)
            self.allowed = allowed

        def predict(self, batch):
            if len(self.batches) == self.allowed:
                raise Killed
            return super().predict(batch)

    for dies in "ab":
        for allowed in range(6):
            folder = tmp_path / f"{dies}{allowed}"
            models = [Dying(name, seed, allowed if name == dies else 99) for name, seed in (("a", 1), ("b", 2))]
            with pytest.raises(Killed):
                run(Loader(broken), models, folder)
            done = {model.name: len(model.batches) for model in models}
            again = [Linear("a", 1), Linear("b", 2)]
            loader = Loader(broken)
            assert_same(run(loader, again, folder), expected)
            assert {model.name: 6 - len(model.batches) for model in again} == done
            assert sum(loader.loads.values()) < 23 + len(broken)


def test_a_new_model_joins_without_redoing_the_others(tmp_path):
    run(Loader(), [Linear("a", 1)], tmp_path)
    one, two = Linear("a", 1), Linear("b", 2)
    result = run(Loader(), [one, two], tmp_path)
    assert not one.batches
    assert sum(two.batches) == 23
    assert [predictions.model for predictions in result.predictions] == ["a", "b"]


@pytest.mark.parametrize("change", ["fingerprint", "preprocessing", "k", "dataset"])
def test_nothing_old_is_reused_after_a_change(tmp_path, change):
    run(Loader(), [Linear("a", 1)], tmp_path)
    model = Linear("a", 1)
    images = Loader().images(23)
    options = {"dataset": "set", "part_dir": tmp_path, "parameters": EvaluateParameters(batch_size=4, top_k=3)}
    if change == "fingerprint":
        model.fingerprint += " retrained"
    elif change == "preprocessing":
        model.preprocessing = "finer"
    elif change == "k":
        options["parameters"] = EvaluateParameters(batch_size=4, top_k=2)
    else:
        options["dataset"] = "other set"
    evaluate(images, [model], **options)
    assert sum(model.batches) == len(images)


def test_rows_belong_to_images_not_to_lists(tmp_path):
    images = Loader().images(23)
    options = {"dataset": "set", "part_dir": tmp_path, "parameters": EvaluateParameters(batch_size=4, top_k=3)}
    first = evaluate(images, [Linear("a", 1)], **options).predictions[0]
    for changed in (images[:-1], images[::-1]):
        model = Linear("a", 1)
        result = evaluate(changed, [model], **options).predictions[0]
        assert not model.batches
        assert result.provenance["run_key"] != first.provenance["run_key"]
        wanted = [first.image_ids.index(image) for image in result.image_ids]
        np.testing.assert_array_equal(result.top, first.top[wanted])
    model = Linear("a", 1)
    images[5] = images[5]._replace(version="sha256 of new bytes")
    evaluate(images, [model], **options)
    assert sum(model.batches) == 1


def test_labels_and_batch_size_may_change(tmp_path):
    first = run(Loader(), [Linear("a", 1)], tmp_path)
    model = Linear("a", 1)
    relabelled = [image._replace(label=0) for image in Loader().images(23)]
    parameters = EvaluateParameters(batch_size=7, top_k=3)
    result = evaluate(relabelled, [model], dataset="set", part_dir=tmp_path, parameters=parameters)
    assert not model.batches
    assert set(result.predictions[0].labels) == {0}
    np.testing.assert_array_equal(result.predictions[0].top, first.predictions[0].top)


def test_corrupt_images_are_listed_and_excluded_from_all_models_alike(tmp_path):
    loader = Loader(broken={0, 7, 22})
    result = run(loader, [Linear("a", 1), Linear("b", 2)], tmp_path)
    assert [(item.id, item.reason) for item in result.excluded] == [("i0", "truncated"), ("i7", "truncated"), ("i22", "truncated")]
    assert not result.excluded[0].problem.startswith("i0:")  # the id stands beside it
    assert "ends in the middle" in result.excluded[0].problem
    for predictions in result.predictions:
        assert len(predictions.image_ids) == 20
        assert {"i0", "i7", "i22"}.isdisjoint(predictions.image_ids)
        assert predictions.provenance["excluded_images"] == ["i0", "i7", "i22"]
        assert predictions.notes == ("3 images could not be decoded and are left out",)


def test_an_image_that_broke_since_is_excluded_from_the_older_model_too(tmp_path):
    run(Loader(), [Linear("a", 1)], tmp_path)
    result = run(Loader(broken={3}), [Linear("a", 1), Linear("b", 2)], tmp_path)
    assert [item.id for item in result.excluded] == ["i3"]
    assert all("i3" not in predictions.image_ids for predictions in result.predictions)


def test_a_repaired_image_comes_back(tmp_path):
    run(Loader(broken={3}), [Linear("a", 1)], tmp_path)
    loader, model = Loader(), Linear("a", 1)
    result = run(loader, [model], tmp_path)
    assert loader.loads == Counter({3: 1})
    assert result.excluded == ()
    np.testing.assert_array_equal(result.predictions[0].top, run(Loader(), [Linear("a", 1)], tmp_path / "new").predictions[0].top)


def test_other_failures_of_a_loader_are_not_swallowed(tmp_path):
    def load():
        raise PermissionError("locked")

    with pytest.raises(PermissionError):
        evaluate([("a", 0, load)], [Linear("a", 1)], dataset="set", part_dir=tmp_path)


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_decoding_ahead_in_threads_gives_the_same(tmp_path, ahead):
    expected = run(Loader({4}), [Linear("a", 1), Linear("b", 2)], tmp_path / "plain")
    parameters = EvaluateParameters(batch_size=4, top_k=3, batches_ahead=ahead)
    loader = Loader({4})
    with ThreadPoolExecutor(3) as pool:
        result = evaluate(
            loader.images(23),
            [Linear("a", 1), Linear("b", 2)],
            dataset="set",
            part_dir=tmp_path / "pool",
            parameters=parameters,
            executor=pool,
        )
    assert_same(result, expected)
    assert loader.loads == Counter(range(23))


def test_decoding_in_processes_gives_the_same(tmp_path):
    expected = run(Loader({4}), [Linear("a", 1)], tmp_path / "plain")
    with ProcessPoolExecutor(1) as pool:
        result = run(Loader({4}), [Linear("a", 1)], tmp_path / "pool", executor=pool)
    assert_same(result, expected)


def test_only_a_few_batches_are_held_at_once(tmp_path):
    # Counts the images that are loaded and not yet classified.
    held, most = 0, 0

    def load(number):
        nonlocal held, most
        held += 1
        most = max(most, held)
        return picture(number)

    class Consuming(Linear):
        def predict(self, batch):
            nonlocal held
            held -= len(batch)
            return super().predict(batch)

    images = [EvaluationImage(f"i{number}", 0, partial(load, number)) for number in range(60)]
    with ThreadPoolExecutor(1) as pool:
        parameters = EvaluateParameters(batch_size=5, batches_ahead=2)
        evaluate(images, [Consuming("a", 1)], dataset="set", part_dir=tmp_path, parameters=parameters, executor=pool)
    assert held == 0
    assert most <= 15


def test_progress_counts_images(tmp_path):
    seen = []
    run(Loader({1}), [Linear("a", 1)], tmp_path, n=10, progress=seen.append)
    assert [(item.images_done, item.images_total, item.images_excluded, item.rows_reused) for item in seen] == [
        (4, 10, 1, 0),
        (8, 10, 1, 0),
        (10, 10, 1, 0),
    ]
    seen.clear()
    run(Loader(), [Linear("a", 1)], tmp_path, n=10, progress=seen.append)
    assert seen[-1].rows_reused == 9


def test_zero_keeps_the_scores_of_all_classes(tmp_path):
    (predictions,) = run(Loader(), [Linear("a", 1)], tmp_path, k=0).predictions
    assert predictions.top.shape == predictions.scores.shape == (23, CLASSES)


def test_more_classes_than_there_are_means_all(tmp_path):
    assert run(Loader(), [Linear("a", 1)], tmp_path, k=50).predictions[0].top.shape == (23, CLASSES)


def test_no_images_give_empty_predictions(tmp_path):
    result = evaluate([], [Linear("a", 1)], dataset="set", part_dir=tmp_path)
    assert result.predictions[0].top.shape == (0, 5)


def test_a_damaged_part_is_computed_again_and_reported(tmp_path):
    expected = run(Loader(), [Linear("a", 1)], tmp_path)
    parts = sorted(tmp_path.rglob("*.npz"))
    assert len(parts) == 6
    whole = parts[0].read_bytes()
    parts[0].write_bytes(whole[:-40])
    parts[1].write_bytes(b"")
    np.savez(parts[2], rows=np.arange(4), top=np.zeros((4, 9), np.int64), scores=np.zeros((4, 9), np.float32))
    flipped = bytearray(parts[3].read_bytes())
    flipped[len(flipped) // 2] ^= 0xFF
    parts[3].write_bytes(flipped)
    model = Linear("a", 1)
    result = run(Loader(), [model], tmp_path)
    assert_same(result, expected)
    assert len(model.batches) == len(result.notes) == 4
    assert all("is damaged; its rows were computed again" in note for note in result.notes)
    assert run(Loader(), [Linear("a", 1)], tmp_path).notes == ()


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        run(Loader(), [Linear("a", 1)], blocked)


def test_finished_predictions_stand_in_for_their_parts(tmp_path):
    broken = {3}
    first = run(Loader(broken), [Linear("a", 1)], tmp_path)
    discard_parts(tmp_path, first.predictions)
    assert not list(tmp_path.iterdir())
    loader, one, two = Loader(broken), Linear("a", 1), Linear("b", 2)
    result = run(loader, [one], tmp_path, finished=first.predictions)
    assert_same(result, first)
    assert loader.loads == Counter({3: 1})
    result = run(Loader(broken), [one, two], tmp_path, finished=first.predictions)
    assert not one.batches
    assert sum(two.batches) == 22
    np.testing.assert_array_equal(result.predictions[0].scores, first.predictions[0].scores)
    changed = Linear("a", 1, version="2")
    run(Loader(broken), [changed], tmp_path, finished=first.predictions)
    assert sum(changed.batches) == 22


def test_discarding_touches_only_the_runs_named(tmp_path):
    first = run(Loader(), [Linear("a", 1), Linear("b", 2)], tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    discard_parts(tmp_path, first.predictions[:1])
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", first.predictions[1].provenance["part_key"]}
    discard_parts(tmp_path, first.predictions)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


class Odd(Linear):
    def __init__(self, scores):
        super().__init__("odd", 1)
        self.make = scores

    def predict(self, batch):
        return self.make(super().predict(batch))


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (lambda scores: scores[:, :-1], r"predict gave scores of shape \(4, 5\), not \(4, 6\)"),
        (lambda scores: scores[:1], r"predict gave scores of shape \(1, 6\), not \(4, 6\)"),
        (lambda scores: np.where(np.arange(4)[:, None] == 2, np.nan, scores), "the scores of image i2 are not finite"),
    ],
)
def test_a_model_that_breaks_its_contract_is_named(tmp_path, scores, message):
    with pytest.raises(InputError, match=f"model odd: {message}"):
        run(Loader(), [Odd(scores)], tmp_path)
    assert not list(tmp_path.rglob("*.npz"))


def test_inputs_of_different_shapes_are_refused(tmp_path):
    model = Linear("a", 1)
    model.preprocess = lambda rgb: np.zeros(int(rgb[0, 0, 0]) % 2 + 1, np.float32)
    with pytest.raises(InputError, match="model a: preprocessing gave inputs of different shapes"):
        run(Loader(), [model], tmp_path)


def test_wrong_arguments_are_named(tmp_path):
    def load():
        return picture(0)

    options = {"dataset": "set", "part_dir": tmp_path}
    with pytest.raises(UsageError, match="classifiers: no classifier given"):
        evaluate([], [], **options)
    with pytest.raises(UsageError, match="a: two classifiers of this name"):
        evaluate([], [Linear("a", 1), Linear("a", 2)], **options)
    with pytest.raises(InputError, match="x: appears twice in the image list"):
        evaluate([("x", 0, load), ("x", 1, load)], [Linear("a", 1)], **options)
    with pytest.raises(InputError, match="x: has label 6, a knows the classes 0 to 5"):
        evaluate([("x", 6, load)], [Linear("a", 1)], **options)
    with pytest.raises(InputError, match=r"x: its loader gave float64 \(2, 2\)"):
        evaluate([("x", -1, lambda: np.zeros((2, 2)))], [Linear("a", 1)], **options)
    with pytest.raises(ConfigError, match="batch_size: must be a whole number of at least 1, not 0"):
        EvaluateParameters(batch_size=0)


VICTIM = """
import sys, time
sys.path.insert(0, sys.argv[2])
from test_models_evaluate import Linear, Loader, run

class Slow(Linear):
    def predict(self, batch):
        print("batch", flush=True)
        time.sleep(0.03)
        return super().predict(batch)

run(Loader({5}), [Slow("a", 1), Slow("b", 2)], sys.argv[1], n=400)
"""


def test_kill_9_in_the_middle_loses_only_the_batch(tmp_path):
    command = [sys.executable, "-c", VICTIM, str(tmp_path / "killed"), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as victim:
        for _ in range(9):
            victim.stdout.readline()
        victim.send_signal(signal.SIGKILL)
    assert victim.returncode == -signal.SIGKILL
    models = [Linear("a", 1), Linear("b", 2)]
    result = run(Loader({5}), models, tmp_path / "killed", n=400)
    # Nine batches had begun, so at least eight were on the disk; how many more depends on the machine.
    assert 0 < sum(len(model.batches) for model in models) <= 200 - 8
    assert_same(result, run(Loader({5}), [Linear("a", 1), Linear("b", 2)], tmp_path / "whole", n=400))

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retest.errors import ConfigError, InputError
from retest.labeling import AggregationParameters, Answers, AnswersByClass, aggregation, collect_answers, dawid_skene, mace, one_coin
from retest.records import Assignment, AssignmentStatus, Hit

GOLDEN = json.loads((Path(__file__).parent / "golden" / "crowdkit.json").read_text())
MODELS = {"dawid_skene": dawid_skene, "one_coin": one_coin, "mace": mace}


def answers_of(rows, items, workers):
    table = np.asarray(rows)
    return Answers(
        tuple((f"image{number}", "n01") for number in range(items)),
        tuple(f"worker{number}" for number in range(workers)),
        table[:, 0].astype(np.int32),
        table[:, 1].astype(np.int32),
        table[:, 2].astype(bool),
    )


# Pseudo-counts as Crowd-Kit sets them: none for Dawid-Skene (zeros are clipped at 1e-10), 0.01 / 2 for MACE.
@pytest.mark.parametrize(("method", "pseudo_count"), [("dawid_skene", 1e-12), ("one_coin", 1e-12), ("mace", 0.005)])
def test_posteriors_equal_those_of_crowd_kit(method, pseudo_count):
    parameters = AggregationParameters(max_iterations=5000, tolerance=1e-12, pseudo_count=pseudo_count)
    model = MODELS[method](answers_of(GOLDEN["answers"], 120, 15), parameters)
    assert model.converged
    np.testing.assert_allclose(model.posterior, GOLDEN[method], atol=1e-9, rtol=0)


def simulate(confusion, prior, items, seed):
    """Every annotator answers every item; ``confusion`` is P(selected | truth), (workers, 2)."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(items) < prior).astype(int)
    answer = rng.random((items, len(confusion))) < confusion[:, truth].T
    item, worker = np.indices(answer.shape)
    return truth, answers_of(np.stack([item.ravel(), worker.ravel(), answer.ravel()], axis=1), items, len(confusion))


def test_dawid_skene_recovers_known_annotators():
    rng = np.random.default_rng(1)
    selecting = np.stack([rng.uniform(0.02, 0.4, 12), rng.uniform(0.5, 0.98, 12)], axis=1)
    truth, answers = simulate(selecting, 0.3, 4000, seed=2)
    model = dawid_skene(answers)
    np.testing.assert_allclose(model.confusion[:, :, 1], selecting, atol=0.04)
    assert model.prior == pytest.approx(0.3, abs=0.02)
    assert np.mean((model.posterior > 0.5) == truth) > 0.98
    # The posteriors are calibrated: of the pairs given about p, about the share p is true.
    for low, high in ((0.05, 0.5), (0.5, 0.95)):
        unsure = (model.posterior > low) & (model.posterior < high)
        error = 3 * math.sqrt(0.25 / unsure.sum())
        assert abs(model.posterior[unsure].mean() - truth[unsure].mean()) < error


def test_one_coin_recovers_known_annotators():
    right = np.linspace(0.55, 0.95, 12)
    _, answers = simulate(np.stack([1 - right, right], axis=1), 0.4, 4000, seed=3)
    model = one_coin(answers)
    np.testing.assert_allclose(model.accuracy, right, atol=0.03)
    np.testing.assert_allclose(model.confusion[:, 0, 0], model.confusion[:, 1, 1])


def test_mace_recovers_competence_and_habit():
    theta, habit = np.array([0.95, 0.9, 0.8, 0.8, 0.6, 0.5, 0.0, 0.0]), np.array([0.5, 0.5, 0.2, 0.8, 0.1, 0.5, 0.95, 0.5])
    selecting = np.stack([(1 - theta) * habit, theta + (1 - theta) * habit], axis=1)
    _, answers = simulate(selecting, 0.5, 6000, seed=4)
    model = mace(answers)
    np.testing.assert_allclose(model.accuracy, theta, atol=0.05)
    np.testing.assert_allclose(model.confusion[:, :, 1], selecting, atol=0.04)


def test_the_models_see_through_a_crowd_with_spammers():
    # 3 careful annotators among 4 who select everything: the plain frequency says "yes" to all.
    selecting = np.array([[0.05, 0.95]] * 3 + [[0.97, 0.97]] * 4)
    truth, answers = simulate(selecting, 0.4, 1000, seed=5)
    frequency = np.bincount(answers.item, weights=answers.selected) / 7
    assert np.mean((frequency >= 0.5) == truth) < 0.5
    for method in (dawid_skene, mace):
        assert np.mean((method(answers).posterior > 0.5) == truth) > 0.97


def literal_dawid_skene(rows, items, workers, eps, rounds):
    """The equations of the docstring, one sum at a time."""
    of_item = [[row for row in rows if row[0] == item] for item in range(items)]
    p = [sum(answer for _, _, answer in of_item[item]) / len(of_item[item]) for item in range(items)]
    for _ in range(rounds):
        weight = [[1 - p[item], p[item]] for item in range(items)]
        pi = {}
        for worker in range(workers):
            own = [row for row in rows if row[1] == worker]
            for t in (0, 1):
                total = sum(weight[item][t] for item, _, _ in own)
                for a in (0, 1):
                    pi[worker, t, a] = (eps + sum(weight[item][t] for item, _, answer in own if answer == a)) / (2 * eps + total)
        prior1 = (eps + sum(p)) / (2 * eps + items)
        for item in range(items):
            both = [
                prior * math.prod(pi[worker, t, answer] for _, worker, answer in of_item[item])
                for t, prior in ((0, 1 - prior1), (1, prior1))
            ]
            p[item] = both[1] / sum(both)
    return p


def test_dawid_skene_equals_its_equations_step_by_step():
    rng = np.random.default_rng(6)
    rows = [(item, int(worker), int(rng.random() < 0.5)) for item in range(20) for worker in rng.choice(6, 4, replace=False)]
    for rounds in (1, 2, 7):
        model = dawid_skene(answers_of(rows, 20, 6), AggregationParameters(max_iterations=rounds, tolerance=0, pseudo_count=0.3))
        assert model.iterations == rounds
        np.testing.assert_allclose(model.posterior, literal_dawid_skene(rows, 20, 6, 0.3, rounds), rtol=1e-10)


@pytest.mark.parametrize("method", MODELS.values(), ids=MODELS)
def test_the_likelihood_never_falls(method):
    # Expectation-maximisation without (noticeable) pseudo-counts climbs; a wrong M step would not.
    answers = answers_of(GOLDEN["answers"], 120, 15)
    likelihoods = [
        method(answers, AggregationParameters(max_iterations=rounds, tolerance=0, pseudo_count=1e-9)).log_likelihood
        for rounds in range(1, 30)
    ]
    assert np.all(np.diff(likelihoods) > -1e-9)
    assert likelihoods[-1] > likelihoods[0]


@pytest.mark.parametrize("method", MODELS.values(), ids=MODELS)
def test_order_of_the_answers_does_not_matter(method):
    rows = np.asarray(GOLDEN["answers"])
    shuffled = np.random.default_rng(7).permutation(rows)
    parameters = AggregationParameters(max_iterations=20, tolerance=0)
    one, two = method(answers_of(rows, 120, 15), parameters), method(answers_of(shuffled, 120, 15), parameters)
    np.testing.assert_allclose(one.posterior, two.posterior, atol=1e-9)


@pytest.mark.parametrize("method", MODELS.values(), ids=MODELS)
def test_pairs_without_answers_and_empty_studies(method):
    partly = Answers((("a", "n01"), ("b", "n01")), ("w",), np.zeros(1, np.int32), np.zeros(1, np.int32), np.ones(1, bool))
    posterior = method(partly).posterior
    assert posterior[0] > 0.5
    assert math.isnan(posterior[1])
    empty = method(collect_answers([], []))
    assert empty.posterior.shape == (0,)
    assert empty.converged


def test_collecting_follows_the_counting_rules():
    hits = [
        Hit("u1", "n01", ("a", "b"), (), (), ("b", "a")),
        Hit("u2", "n02", ("a",), (), (), ("a",)),
        Hit("out", "n01", ("a",), (), (), ("a",)),
    ]
    submitted, rejected = AssignmentStatus.SUBMITTED, AssignmentStatus.REJECTED
    assignments = [
        Assignment("1", "u1", "x", submitted, ("a", "elsewhere")),
        Assignment("1", "u1", "x", submitted, ("b",)),
        Assignment("2", "u1", "y", rejected, ("a",)),
        Assignment("3", "u2", "y", submitted, ("a",)),
        Assignment("4", "out", "z", submitted, ("a",)),
        Assignment("5", "unknown", "z", submitted, ("a",)),
    ]
    answers = collect_answers(hits, assignments, excluded_hits=["out"])
    assert answers.items == (("b", "n01"), ("a", "n01"), ("a", "n02"))
    assert answers.workers == ("x", "y")
    assert answers.item.tolist() == [0, 1, 2]
    assert answers.worker.tolist() == [0, 0, 1]
    assert answers.selected.tolist() == [False, True, True]


def test_wrong_arguments_are_named():
    with pytest.raises(ConfigError, match="max_iterations: must be a whole number of at least 1, not 0"):
        AggregationParameters(max_iterations=0)
    with pytest.raises(ConfigError, match="pseudo_count: the value must be a number above 0"):
        AggregationParameters(pseudo_count=0)
    with pytest.raises(InputError, match="answers: worker holds an index outside its names"):
        Answers((("a", "n01"),), (), np.zeros(1, np.int32), np.zeros(1, np.int32), np.ones(1, bool))
    with pytest.raises(InputError, match="vectors of equal length"):
        Answers((("a", "n01"),), ("w",), np.zeros(1, np.int32), np.zeros(2, np.int32), np.ones(1, bool))


# ------------------------------------------------------------------------------------------- large studies: class by class, part by part

images = st.lists(st.sampled_from([f"image{number}" for number in range(6)]), min_size=1, max_size=5, unique=True).map(tuple)
given_answers = st.lists(
    st.tuples(st.sampled_from(["ann", "bob", "eve"]), st.sampled_from(list(AssignmentStatus)), st.sets(st.integers(0, 5))), max_size=3
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["n01", "n02", "n03"]), images, given_answers), max_size=7), st.randoms(use_true_random=False))
def test_answers_collected_class_by_class_are_those_of_all_together(pages, rng):
    """HITs of several classes take turns, and uuids are in another order than the numbers."""
    names = [f"hit{number}" for number in range(len(pages))]
    rng.shuffle(names)
    hits = [Hit(name, wnid, shown, (), (), shown) for name, (wnid, shown, _) in zip(names, pages, strict=True)]
    given = [
        Assignment(f"{hit.uuid}-{number}", hit.uuid, worker, status, tuple(f"image{chosen}" for chosen in sorted(selected)))
        for hit, (_, _, answers) in zip(hits, pages, strict=True)
        for number, (worker, status, selected) in enumerate(answers)
    ]
    whole = collect_answers(hits, sorted(given, key=lambda answer: (answer.hit_uuid, answer.id)))
    collected = AnswersByClass()
    for wnid in ("n03", "n01", "n02"):
        mine = [(number, hit) for number, hit in enumerate(hits) if hit.wnid == wnid]
        uuids = [hit.uuid for _, hit in mine]
        collected.add(wnid, mine, [answer for answer in given if answer.hit_uuid in uuids])
    found = collected.answers()
    assert list(found.items) == list(whole.items)
    assert list(found.items[1:]) == list(whole.items[1:])
    assert found.workers == whole.workers
    for name in ("item", "worker", "selected"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))


@pytest.mark.parametrize("method", MODELS)
def test_posteriors_do_not_depend_on_how_many_answers_are_held_at_once(method, monkeypatch):
    answers = answers_of(GOLDEN["answers"], 120, 15)
    whole = MODELS[method](answers)
    monkeypatch.setattr(aggregation, "_ANSWERS_AT_ONCE", 7)
    parts = MODELS[method](answers)
    assert parts.posterior.tobytes() == whole.posterior.tobytes()
    assert (parts.iterations, parts.log_likelihood) == (whole.iterations, whole.log_likelihood)
    assert parts.confusion.tobytes() == whole.confusion.tobytes()

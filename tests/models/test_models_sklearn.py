import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC

from retest.errors import ConfigError, InputError, UsageError
from retest.models import Classifier, Featuriser, GreyVector, MlpFeaturiser, SklearnClassifier, weights_hash


@pytest.fixture(scope="module")
def digits():
    return load_digits()


@pytest.fixture(scope="module")
def network(digits):
    return fit_network(digits, 0)


def fit_network(digits, seed):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MLPClassifier((24, 12), max_iter=25, learning_rate_init=0.01, random_state=seed).fit(digits.data[:800], digits.target[:800])


def as_rgb(digit, side=32):
    """A digit of load_digits as a picture: 0..16 -> 0..255, enlarged pixel by pixel."""
    grey = np.kron(np.round(digit * 255 / 16), np.ones((side // 8, side // 8))).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


# ----------------------------------------------------------------------------------------------- preprocessing


def test_digits_survive_the_way_through_a_picture(digits):
    for image in digits.images[:50]:
        np.testing.assert_allclose(GreyVector()(as_rgb(image)), image.ravel(), atol=16 / 255)


def test_areas_are_averaged():
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (40, 24)).astype(np.uint8)
    expected = grey.reshape(8, 5, 8, 3).mean(axis=(1, 3)).ravel() * 16 / 255
    np.testing.assert_allclose(GreyVector()(np.repeat(grey[:, :, None], 3, axis=2)), expected, rtol=1e-5)


def test_colours_become_luma():
    red = np.zeros((8, 8, 3), np.uint8)
    red[:, :, 0] = 255
    expected = np.asarray(Image.fromarray(red).convert("L"), dtype=np.float32).ravel() / 255
    np.testing.assert_allclose(GreyVector(scale=1)(red), expected, rtol=1e-6)


def test_inverting_swaps_black_and_white():
    rgb = as_rgb(np.arange(64).reshape(8, 8) % 17)
    np.testing.assert_allclose(GreyVector(invert=True)(rgb), 16 - GreyVector()(rgb), atol=1e-5)
    assert GreyVector().description != GreyVector(invert=True).description


def test_wrong_settings_are_named():
    with pytest.raises(ConfigError, match="side: must be a whole number of at least 1, not 0"):
        GreyVector(side=0)
    with pytest.raises(ConfigError, match="scale: the value must be a number above 0, not nan"):
        GreyVector(scale=float("nan"))


# -------------------------------------------------------------------------------------------------- classifier


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(solver="newton-cholesky"),
        RandomForestClassifier(8, random_state=0),
        RidgeClassifier(),
        SVC(),
        KNeighborsClassifier(3),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_the_best_class_is_what_the_estimator_predicts(digits, estimator):
    estimator.fit(digits.data[:600], digits.target[:600])
    model = SklearnClassifier("m", estimator)
    assert isinstance(model, Classifier)
    assert model.num_classes == 10
    scores = model.predict(digits.data[600:800].astype(np.float32))
    assert scores.dtype == np.float32
    assert scores.shape == (200, 10)
    agree = np.argmax(scores, axis=1) == estimator.predict(digits.data[600:800].astype(np.float32))
    # Ties of a forest's or neighbours' votes go to the lower index in both; an SVC's one-against-one votes may differ from
    # its scores only where two classes are all but equal.
    assert agree.mean() >= (0.99 if isinstance(estimator, SVC) else 1)


def test_two_classes_with_one_decision_column(digits):
    small = digits.target < 2
    estimator = RidgeClassifier().fit(digits.data[small], digits.target[small])
    scores = SklearnClassifier("m", estimator).predict(digits.data[small])
    np.testing.assert_array_equal(np.argmax(scores, axis=1), estimator.predict(digits.data[small]))


def test_pictures_are_classified_like_vectors(digits, network):
    model = SklearnClassifier("mlp", network)
    batch = np.stack([model.preprocess(as_rgb(image)) for image in digits.images[800:900]])
    right = np.argmax(model.predict(batch), axis=1) == digits.target[800:900]
    assert right.mean() == pytest.approx(network.score(digits.data[800:900], digits.target[800:900]), abs=0.02)
    assert right.mean() > 0.8


def test_a_wrong_class_order_is_refused(digits):
    shifted = GaussianNB().fit(digits.data[:300], digits.target[:300] + 1)
    with pytest.raises(InputError, match=r"model m: its classes are \[1, .*10\], expected \[0, .*9\]"):
        SklearnClassifier("m", shifted)
    named = GaussianNB().fit(digits.data[:300], [f"n{label}" for label in digits.target[:300]])
    with pytest.raises(InputError, match="model m: its classes are"):
        SklearnClassifier("m", named)
    few = GaussianNB().fit(digits.data[digits.target < 9][:300], digits.target[digits.target < 9][:300])
    with pytest.raises(InputError, match=r"expected \[0, 1, 2, 3, 4, 5, 6, 7, 8, 9\]"):
        SklearnClassifier("m", few, num_classes=10)


def test_unfit_estimators_are_refused(digits):
    with pytest.raises(UsageError, match="model m: is not a fitted classifier"):
        SklearnClassifier("m", LogisticRegression())
    with pytest.raises(InputError, match="was fitted on 64 numbers per image, the preprocessing gives 256"):
        SklearnClassifier("m", KNeighborsClassifier().fit(digits.data[:50], digits.target[:50]), preprocessing=GreyVector(side=16))
    pairs = SVC(decision_function_shape="ovo").fit(digits.data[:300], digits.target[:300])
    with pytest.raises(InputError, match=r"decision_function gave scores of shape \(2, 45\) for 10 classes"):
        SklearnClassifier("m", pairs).predict(digits.data[:2])


# ------------------------------------------------------------------------------------------------- fingerprints


def test_the_fingerprint_pins_weights_and_preprocessing(digits, network):
    one = SklearnClassifier("a", network)
    assert SklearnClassifier("b", network).fingerprint == one.fingerprint
    assert SklearnClassifier("a", fit_network(digits, 0)).fingerprint == one.fingerprint
    assert SklearnClassifier("a", fit_network(digits, 1)).fingerprint != one.fingerprint
    assert SklearnClassifier("a", network, preprocessing=GreyVector(scale=1)).fingerprint != one.fingerprint
    assert one.provenance["versions"].keys() == {"numpy", "pillow", "scikit-learn"}


def test_one_changed_weight_changes_the_hash(network):
    changed = pickle.loads(pickle.dumps(network))
    assert weights_hash(changed) == weights_hash(network)
    changed.coefs_[0][3, 5] = np.nextafter(changed.coefs_[0][3, 5], 1)
    assert weights_hash(changed) != weights_hash(network)


def test_the_hash_is_the_same_in_another_process(digits, tmp_path):
    estimators = [RandomForestClassifier(3, random_state=0), KNeighborsClassifier(), SVC()]
    for estimator in estimators:
        estimator.fit(digits.data[:100], digits.target[:100])
        again = pickle.loads(pickle.dumps(estimator)).fit(digits.data[:100], digits.target[:100])
        assert weights_hash(again) == weights_hash(estimator)
    (tmp_path / "models").write_bytes(pickle.dumps(estimators))
    code = "import pickle, sys; from retest.models import weights_hash; print(*map(weights_hash, pickle.load(open(sys.argv[1], 'rb'))))"
    out = subprocess.run([sys.executable, "-c", code, str(tmp_path / "models")], capture_output=True, text=True, check=True)
    assert out.stdout.split() == [weights_hash(estimator) for estimator in estimators]


def test_what_nothing_pins_is_refused():
    class Odd:
        def __init__(self):
            self.generator = (number for number in range(3))

    with pytest.raises(UsageError, match=r"builtins\.generator: cannot be fingerprinted"):
        weights_hash(Odd())


def test_loops_in_an_estimator_end():
    class Loop:
        pass

    one = Loop()
    one.self = one
    assert len(weights_hash(one)) == 64


# -------------------------------------------------------------------------------------------------- featuriser


def test_features_are_the_activations_before_the_output_layer(digits, network):
    featuriser = MlpFeaturiser(network)
    assert isinstance(featuriser, Featuriser)
    assert featuriser.dimensions == 12
    images = np.stack([as_rgb(image) for image in digits.images[:40]])
    features = featuriser.features(images)
    assert features.dtype == np.float32
    assert features.shape == (40, 12)
    assert features.min() == 0
    # From the features the last layer and softmax must lead to the network's own probabilities.
    logits = features @ network.coefs_[-1] + network.intercepts_[-1]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    vectors = np.stack([GreyVector()(image) for image in images]).astype(np.float64)
    np.testing.assert_allclose(probabilities, network.predict_proba(vectors), atol=1e-5)


def test_features_do_not_depend_on_the_batch(digits, network):
    images = np.stack([as_rgb(image) for image in digits.images[:20]])
    featuriser = MlpFeaturiser(network)
    one_by_one = np.concatenate([featuriser.features(images[row : row + 1]) for row in range(20)])
    np.testing.assert_allclose(featuriser.features(images), one_by_one, rtol=2e-7)
    assert featuriser.features(images[:0]).shape == (0, 12)


def test_the_name_pins_weights_and_preprocessing(digits, network):
    name = MlpFeaturiser(network).name
    assert name.startswith("mlp-")
    assert MlpFeaturiser(fit_network(digits, 0)).name == name
    assert MlpFeaturiser(fit_network(digits, 1)).name != name
    assert MlpFeaturiser(network, preprocessing=GreyVector(invert=True)).name != name


def test_other_estimators_and_images_are_refused(digits, network):
    with pytest.raises(UsageError, match="GaussianNB: is not a fitted MLPClassifier"):
        MlpFeaturiser(GaussianNB().fit(digits.data[:100], digits.target[:100]))
    with pytest.raises(UsageError, match="MLPClassifier: is not a fitted"):
        MlpFeaturiser(MLPClassifier())
    with pytest.raises(UsageError, match=r"images: must be uint8 \(n, height, width, 3\), not float64"):
        MlpFeaturiser(network).features(np.zeros((1, 8, 8, 3)))

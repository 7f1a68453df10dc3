"""scikit-learn estimators behind the same seam as deep networks; they drive the demonstration on small images."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retest.errors import InputError, UsageError
from retest.models._batched import check_images
from retest.models.base import Float32Array, UInt8Array
from retest.settings import check_count, check_flag, check_number, plain_numbers


@dataclass(frozen=True, slots=True)
@plain_numbers
class GreyVector:
    """Preprocessing to a small grey vector, as ``sklearn.datasets.load_digits`` holds its images.

    RGB becomes grey (Pillow's ITU-R 601-2 luma), is shrunk to ``side`` x ``side`` by averaging areas (Pillow's box filter,
    in floating point) and scaled from 0..255 to 0..``scale``.
    """

    side: int = field(default=8, metadata={"help": "side of the small grey image, in pixels"})
    scale: float = field(default=16.0, metadata={"help": "value of white (or of black when inverted)"})
    invert: bool = field(default=False, metadata={"help": "dark ink on light paper: black gets the largest value"})

    def __post_init__(self) -> None:
        check_count("side", self.side, low=1, remedy="8 fits load_digits.")
        check_number("scale", self.scale, ends=False, remedy="16 fits load_digits.")
        check_flag("invert", self.invert)

    @property
    def description(self) -> str:
        """Text that pins this preprocessing."""
        return f"grey luma, box {self.side}x{self.side}, 0..{self.scale:g}{', inverted' if self.invert else ''}"

    def __call__(self, rgb: UInt8Array) -> Float32Array:
        """uint8 (height, width, 3) -> float32 (side * side,), row by row."""
        from PIL import Image

        grey = Image.fromarray(np.ascontiguousarray(rgb)).convert("L").convert("F")
        small = np.asarray(grey.resize((self.side, self.side), Image.Resampling.BOX), dtype=np.float32)
        unit = small.ravel() / np.float32(255)
        return np.asarray((1 - unit if self.invert else unit) * np.float32(self.scale), dtype=np.float32)


class SklearnClassifier:
    """A fitted scikit-learn classifier whose classes are the indices 0..C-1, in this order.

    A :class:`~retest.models.Classifier` whose scores are ``predict_proba`` where the estimator has it, else ``decision_function``.

    Args:
        name: the name under which results are reported.
        estimator: fitted, on vectors of ``preprocessing.side ** 2`` numbers.
        preprocessing: how an image becomes such a vector.
        num_classes: how many classes the benchmark has; by default those of the estimator.

    Raises:
        UsageError: the estimator is not fitted or gives no scores.
        InputError: its classes are not 0..C-1 in order, or its input has another length.
    """

    def __init__(self, name: str, estimator: Any, *, preprocessing: GreyVector | None = None, num_classes: int | None = None) -> None:
        self._name = name
        self._estimator = estimator
        self._preprocessing = preprocessing or GreyVector()
        self.preprocess = self._preprocessing  # not a method: pools of processes get it without the estimator
        self._score = _scoring_method(name, estimator)
        self._num_classes = _checked_classes(name, estimator, num_classes)
        _check_inputs(name, estimator, self._preprocessing)
        self._weights = weights_hash(estimator)

    @property
    def name(self) -> str:
        """The name under which results are reported."""
        return self._name

    @property
    def fingerprint(self) -> str:
        """Text that changes with the fitted estimator or the preprocessing."""
        return f"sklearn {type(self._estimator).__name__} {self._weights}; {self.preprocessing}"

    @property
    def preprocessing(self) -> str:
        """Text that pins the preprocessing."""
        return self._preprocessing.description

    @property
    def num_classes(self) -> int:
        """How many classes it scores."""
        return self._num_classes

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What is recorded with the predictions: estimator, versions, hash of its fitted state."""
        return {
            "engine": "scikit-learn",
            "estimator": f"{type(self._estimator).__module__}.{type(self._estimator).__qualname__}",
            "weights_sha256": self._weights,
            "device": "cpu",
            "versions": {package: version(package) for package in ("numpy", "pillow", "scikit-learn")},
        }

    def predict(self, batch: NDArray[Any]) -> Float32Array:
        """Score preprocessed images (n, side * side): float32 (n, classes).

        Raises:
            InputError: the estimator gives something else than one score per class.
        """
        scores = np.asarray(getattr(self._estimator, self._score)(batch), dtype=np.float32)
        if scores.ndim == 1:  # decision_function of two classes: one column, positive for class 1
            scores = np.stack([-scores, scores], axis=1)
        if scores.shape != (len(batch), self._num_classes):
            raise InputError(
                f"{self._score} gave scores of shape {scores.shape} for {self._num_classes} classes",
                item=f"model {self._name}",
                remedy="Use one score per class (decision_function_shape='ovr').",
            )
        return scores


def _scoring_method(name: str, estimator: Any) -> str:
    if not hasattr(estimator, "classes_"):
        raise UsageError("is not a fitted classifier", item=f"model {name}", remedy="Call fit on the training images first.")
    for method in ("predict_proba", "decision_function"):
        if hasattr(estimator, method):
            return method
    raise UsageError(
        "has neither predict_proba nor decision_function", item=f"model {name}", remedy="Choose a classifier that scores its classes."
    )


def _checked_classes(name: str, estimator: Any, num_classes: int | None) -> int:
    classes = np.ravel(estimator.classes_).tolist() if not isinstance(estimator.classes_, list) else None
    expected = list(range(len(classes or ()) if num_classes is None else num_classes))
    if classes is None or classes != expected:
        raise InputError(
            f"its classes are {classes}, expected {expected}",
            item=f"model {name}",
            remedy="Fit it on class indices 0..C-1, with at least one image of each class.",
        )
    return len(expected)


def _check_inputs(name: str, estimator: Any, preprocessing: GreyVector) -> None:
    expected = getattr(estimator, "n_features_in_", None)
    if expected is not None and expected != preprocessing.side**2:
        raise InputError(
            f"was fitted on {expected} numbers per image, the preprocessing gives {preprocessing.side**2}",
            item=f"model {name}",
            remedy="Choose the side that the training images had.",
        )


class MlpFeaturiser:
    """Activations of the last hidden layer of a fitted ``MLPClassifier``, after its ReLU: the small analogue of VGG's fc7.

    A :class:`~retest.models.Featuriser`: ``dimensions`` is the width of that layer, ``name`` pins weights and preprocessing.

    Args:
        estimator: a fitted ``sklearn.neural_network.MLPClassifier`` with ReLU activations.
        preprocessing: how an image becomes the estimator's input.

    Raises:
        UsageError: the estimator is no such network.
        InputError: its input has another length than the preprocessing gives.
    """

    def __init__(self, estimator: Any, *, preprocessing: GreyVector | None = None) -> None:
        if not hasattr(estimator, "coefs_") or getattr(estimator, "activation", None) != "relu" or len(estimator.coefs_) < 2:
            raise UsageError(
                "is not a fitted MLPClassifier with ReLU activations and a hidden layer",
                item=type(estimator).__name__,
                remedy="Fit sklearn.neural_network.MLPClassifier(activation='relu').",
            )
        self._preprocessing = preprocessing or GreyVector()
        _check_inputs(type(estimator).__name__, estimator, self._preprocessing)
        self._layers = [
            (np.asarray(weights, dtype=np.float64), np.asarray(bias, dtype=np.float64))
            for weights, bias in zip(estimator.coefs_[:-1], estimator.intercepts_[:-1], strict=True)
        ]
        digest = hashlib.sha256(self._preprocessing.description.encode())
        _digest(digest, self._layers)
        self._name = f"mlp-{digest.hexdigest()[:16]}"

    @property
    def name(self) -> str:
        """Pins weights and preprocessing."""
        return self._name

    @property
    def dimensions(self) -> int:
        """Length of a feature vector."""
        return int(self._layers[-1][0].shape[1])

    def features(self, images: UInt8Array) -> Float32Array:
        """Features of RGB images, uint8 (n, height, width, 3): float32 (n, dimensions), all at least 0.

        Raises:
            UsageError: the images are no such array.
        """
        check_images(images)
        if not len(images):
            return np.zeros((0, self.dimensions), dtype=np.float32)
        # In double precision, so that the size of a batch does not show in the single-precision result.
        hidden: NDArray[np.float64] = np.stack([self._preprocessing(image) for image in images]).astype(np.float64)
        for weights, bias in self._layers:
            hidden = np.maximum(hidden @ weights + bias, 0)
        return hidden.astype(np.float32)


def weights_hash(estimator: Any) -> str:
    """SHA-256 (hex) over the class, the parameters and the fitted state of an estimator.

    Arrays count by type, shape and content (padding between the fields of a record does not); lists, mappings and objects are
    followed into what pickle would keep of them.

    Raises:
        UsageError: some part cannot be pickled, so that nothing would pin it.
    """
    digest = hashlib.sha256()
    _digest(digest, estimator)
    return digest.hexdigest()


def _digest(digest: Any, value: Any, path: tuple[int, ...] = ()) -> None:
    if id(value) in path:
        digest.update(f"<loop {len(path) - path.index(id(value))}>".encode())
        return
    path = (*path, id(value))
    digest.update(f"<{type(value).__module__}.{type(value).__qualname__}>".encode())
    if isinstance(value, np.ndarray) and value.dtype.names is not None:
        for name in value.dtype.names:
            _digest(digest, name)
            _digest(digest, value[name], path)
    elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
        digest.update(f"{value.dtype.str} {value.shape} ".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, list | tuple | np.ndarray):
        for member in value:
            _digest(digest, member, path)
    elif isinstance(value, Mapping):
        for key in sorted(value, key=repr):
            _digest(digest, key, path)
            _digest(digest, value[key], path)
    elif isinstance(value, set | frozenset):
        _digest(digest, sorted(value, key=repr), path)
    elif value is None or isinstance(value, bool | int | float | complex | str | bytes | np.generic | np.dtype):
        digest.update(repr(value).encode())
    elif isinstance(value, type) or (hasattr(value, "__qualname__") and hasattr(value, "__module__")):
        digest.update(f"{value.__module__}.{value.__qualname__}".encode())
    else:
        _digest_object(digest, value, path)
    digest.update(b"</>")


def _digest_object(digest: Any, value: Any, path: tuple[int, ...]) -> None:
    # What pickle would keep of it: a constructor, its arguments and the state, or the name of a global.
    try:
        reduced = value.__reduce_ex__(4)
    except TypeError as error:
        raise UsageError(
            f"cannot be fingerprinted ({error})",
            item=f"{type(value).__module__}.{type(value).__qualname__}",
            remedy="Use an estimator that can be pickled.",
        ) from error
    parts = [reduced] if isinstance(reduced, str) else [list(part) if hasattr(part, "__next__") else part for part in reduced]
    _digest(digest, parts, path)

"""Run classifiers and featurisers, and keep what they say: the seam, the evaluation, the result files."""

from retest.models.base import Classifier, Featuriser, top_k
from retest.models.evaluate import (
    EvaluateParameters,
    Evaluation,
    EvaluationImage,
    EvaluationProgress,
    EvaluationSet,
    ExcludedImage,
    ModelFailure,
    evaluate,
    evaluate_sets,
    set_run_key,
)
from retest.models.names import ModelSpec, list_models, parse_model, parse_models
from retest.models.onnx_classifier import OnnxClassifier
from retest.models.opening import RunParameters, open_classifier, open_classifiers
from retest.models.parts import discard_parts, image_list_hash, run_key
from retest.models.published import (
    correct_order,
    find_published_predictions,
    is_worst_first,
    published_model_name,
    read_published_predictions,
    write_published_predictions,
)
from retest.models.published_names import PUBLISHED_MODELS, PublishedModel
from retest.models.remote import Recipe
from retest.models.results import check_predictions, read_predictions, read_predictions_header, take_rows, write_predictions
from retest.models.sklearn import GreyVector, MlpFeaturiser, SklearnClassifier, weights_hash
from retest.models.torch_classifier import TorchClassifier
from retest.models.transforms import CallableTransform, Geometry, Preprocessing, Step

__all__ = [
    "PUBLISHED_MODELS",
    "CallableTransform",
    "Classifier",
    "EvaluateParameters",
    "Evaluation",
    "EvaluationImage",
    "EvaluationProgress",
    "EvaluationSet",
    "ExcludedImage",
    "Featuriser",
    "Geometry",
    "GreyVector",
    "MlpFeaturiser",
    "ModelFailure",
    "ModelSpec",
    "OnnxClassifier",
    "Preprocessing",
    "PublishedModel",
    "Recipe",
    "RunParameters",
    "SklearnClassifier",
    "Step",
    "TorchClassifier",
    "check_predictions",
    "correct_order",
    "discard_parts",
    "evaluate",
    "evaluate_sets",
    "find_published_predictions",
    "image_list_hash",
    "is_worst_first",
    "list_models",
    "open_classifier",
    "open_classifiers",
    "parse_model",
    "parse_models",
    "published_model_name",
    "read_predictions",
    "read_predictions_header",
    "read_published_predictions",
    "run_key",
    "set_run_key",
    "take_rows",
    "top_k",
    "weights_hash",
    "write_predictions",
    "write_published_predictions",
]

"""The demo's classifiers: ten different kinds from scikit-learn, trained on the original benchmark's training images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retest.images import load_rgb, variant_names
from retest.models import GreyVector, MlpFeaturiser, SklearnClassifier
from retest.records import Split
from retest.stages._common import Progress, silent
from retest.study import Study

_PREPROCESSING = GreyVector(side=8)


def training_data(study: Study) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vectors (n, 64) and class indices (n,) of the study's stored training images."""
    with study.database.read() as tables:
        cids = {info.wnid: info.cid for info in tables.classes.all()}
        images = [image for image in tables.originals.all(split=Split.TRAIN) if image.wnid is not None]
        stored = tables.variants.get((image.id for image in images), variant_names(study.config.images)[0])
    images = [image for image in images if image.id in stored]
    vectors = [_PREPROCESSING(load_rgb(study.blobs.get(stored[image.id].blob_key), item=image.id)) for image in images]
    return np.stack(vectors), np.array([cids[str(image.wnid)] for image in images], np.int64)


def train_classifiers(study: Study, *, progress: Progress = silent) -> list[SklearnClassifier]:
    """Ten classifiers of different kinds; equal training images give equal classifiers."""
    vectors, labels = training_data(study)
    estimators = _estimators()
    trained = []
    with progress("Train classifiers", total=len(estimators)) as advance:
        for name, estimator in estimators.items():
            trained.append(SklearnClassifier(name, estimator.fit(vectors, labels), preprocessing=_PREPROCESSING))
            advance(1)
    return trained


def _estimators() -> dict[str, Any]:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.ensemble import AdaBoostClassifier, ExtraTreesClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC
    from sklearn.tree import DecisionTreeClassifier

    return {
        "svm_rbf": SVC(C=10.0, gamma=0.001, decision_function_shape="ovr"),
        "knn_5": KNeighborsClassifier(5),
        "mlp_64": MLPClassifier((64,), max_iter=300, random_state=1),
        "extra_trees": ExtraTreesClassifier(100, random_state=1),
        "random_forest": RandomForestClassifier(50, random_state=1),
        "logistic_regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
        "linear_discriminant": LinearDiscriminantAnalysis(),
        "gaussian_naive_bayes": GaussianNB(var_smoothing=1e-2),
        "decision_tree": DecisionTreeClassifier(random_state=1),
        "boosted_stumps": AdaBoostClassifier(n_estimators=60, random_state=1),
    }


def train_featuriser(study: Study, *, progress: Progress = silent) -> MlpFeaturiser:
    """Hidden layer of a small network, the demo's counterpart of fc7; the network is not among the evaluated classifiers."""
    from sklearn.neural_network import MLPClassifier

    with progress("Train featuriser", total=1) as advance:
        vectors, labels = training_data(study)
        network = MLPClassifier((128,), max_iter=200, random_state=7).fit(vectors, labels)
        advance(1)
    return MlpFeaturiser(network, preprocessing=_PREPROCESSING)

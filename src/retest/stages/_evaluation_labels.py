"""Labels before and after a run: do models and test sets mean the same by a class index?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retest.errors import InputError
from retest.models import Classifier
from retest.records import Predictions
from retest.stages._evaluation_sets import ClassList, TestSet, plain

_REMEDY = "Give the classes in the models' order with --classes FILE, or use a model of this benchmark"
_SMALLEST = 50


def check_classes(sets: Sequence[TestSet], classifiers: Sequence[Classifier]) -> None:
    """Compare the class lists of test sets and models, before anything runs.

    Raises:
        InputError: a model has another number of classes than a complete list, or states names in another order; names the first
            class that differs.
    """
    for one in sets:
        for classifier in classifiers:
            _check(one, classifier)


def _check(one: TestSet, classifier: Classifier) -> None:
    classes, item = one.classes, f"model {classifier.name} on {one.images.name}"
    if classes.complete and classifier.num_classes != len(classes.names):
        problem = f"the model has {classifier.num_classes:,} classes, the test set {len(classes.names):,}"
        raise InputError(problem, item=item, remedy=_REMEDY)
    names = getattr(classifier, "class_names", None)
    if not names or not classes.names:
        return
    if len(names) != len(classes.names):
        raise InputError(f"the model names {len(names):,} classes, the test set {len(classes.names):,}", item=item, remedy=_REMEDY)
    wrong = _first_difference(tuple(names), classes)
    if wrong is not None:
        problem = f"class {wrong} is {names[wrong]!r} in the model and {classes.names[wrong][0]!r} in the test set"
        raise InputError(f"{problem}: their classes are in different orders", item=item, remedy=_REMEDY)


def _first_difference(names: tuple[str, ...], classes: ClassList) -> int | None:
    """The first class whose name in the model belongs to another class of the set; names that no class has say nothing."""
    index = classes.index()
    for cid, name in enumerate(names):
        other = index.get(plain(name))
        if other is not None and other != cid:
            return cid
    return None


def unnamed_notes(sets: Sequence[TestSet], classifiers: Sequence[Classifier]) -> list[str]:
    """Models whose class names the test set has none of: by them alone nobody can tell whether the orders agree."""
    notes = []
    for one in sets:
        index = one.classes.index() if one.classes.names else {}
        for classifier in classifiers:
            names = getattr(classifier, "class_names", None)
            if index and names and not any(plain(name) in index for name in names):
                where = f"{one.images.name} / {classifier.name}"
                notes.append(f"{where}: no class of the model has a name of the test set's, so that their order could not be compared")
    return notes


def label_order_notes(predictions: Sequence[Predictions]) -> list[str]:
    """What accuracies near chance tell: labels in the order of folder names sorted as text, or in some other wrong order."""
    notes = []
    for record in predictions:
        known = record.labels >= 0
        labels, first = record.labels[known], record.top[known, 0]
        classes = int(max(labels.max(initial=0), first.max(initial=0))) + 1
        if len(labels) < _SMALLEST or classes < 10:
            continue
        right, as_text = float(np.mean(first == labels)), _right_as_text(labels, first, classes)
        where = f"{record.dataset} / {record.model}: top-1 is {right:.2%}"
        # Sorting as text leaves some classes where they are (990 to 999, say), so that much more than chance can be right.
        if as_text > max(0.2, 2 * right):
            notes.append(f"{where}. The class indices have been sorted as text (0, 1, 10, 100 ...) somewhere: one side's order is wrong")
        elif right <= 4 / classes:
            what = "Model and test set may mean different classes by the same index, or its weights are not trained"
            notes.append(f"{where}, about what guessing gives. {what}")
    return notes


def _right_as_text(labels: NDArray[np.int64], first: NDArray[np.int64], classes: int) -> float:
    """The share that were right if either side's indices were those of the names "0", "1" ... sorted as text."""
    as_text = np.array(sorted(range(classes), key=str), dtype=np.int64)
    return max(float(np.mean(as_text[labels] == first)), float(np.mean(np.argsort(as_text)[labels] == first)))

"""Judgements of predicted labels, and the multi-label accuracy that follows from them, against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
from review_server import STAMP

from retest.records import Predictions
from retest.stages import review
from retest.stages._multilabel import multilabel_accuracies
from retest.stages._review_predictions import label_item, labelled_image, valid_classes
from retest.stages.review import Change

APPLE, BANANA = 0, 1


def predictions(server, top, model="m"):
    ids = tuple(server.ids("apple")[: len(top)])
    return Predictions("x", model, ids, np.zeros(len(top), np.int64), np.array(top, np.int64)[:, None])


def judge(server, number, wnid, verdict):
    change = Change("predicted_label", label_item(server.ids("apple")[number], wnid), verdict, 0)
    return review.decide(server.study, [change], stamp=STAMP)[0]


@pytest.mark.parametrize(("image", "wnid"), [("a|b", "c"), ("ü/%", "x"), ("<b>", "|")])
def test_items_can_be_read_back(image, wnid):
    assert labelled_image(label_item(image, wnid)) == (image, wnid)


def test_multilabel_accuracy_counts_what_was_judged_and_follows_every_decision(server):
    first, second = predictions(server, [1, 1, 1, 1, 0, 0]), predictions(server, [0, 0, 0, 0, 0, 1], "other")
    judge(server, 0, "banana", "correct")
    judge(server, 1, "banana", "wrong")
    judge(server, 2, "banana", "unclear")
    last = judge(server, 3, "banana", "dont_know")
    judge(server, 4, "apple", "correct")

    def found():
        with server.study.database.read() as tables:
            return {one.model: (one.n, one.accuracy, one.n_unreviewed) for one in multilabel_accuracies(tables, [first, second])}

    # m: 0 right, 1 wrong, 4 right; 2, 3 undecided, 5 unjudged. other: 0-4 predict the image's own label on judged images.
    assert found() == {"m": (3, 2 / 3, 3), "other": (5, 1.0, 1)}
    review.decide(server.study, [Change("predicted_label", last.item, "wrong", last.version)], stamp=STAMP)
    assert found()["m"] == (4, 0.5, 2)
    judge(server, 0, "apple", "wrong")
    assert found()["other"] == (5, 0.8, 1)


def test_a_label_that_somebody_refutes_is_not_valid_any_more(server):
    one = predictions(server, [0])
    image = one.image_ids[0]
    assert valid_classes(one, {image: {APPLE: "wrong", BANANA: "correct"}}) == {image: {BANANA}}
    assert valid_classes(one, {image: {APPLE: "unclear", BANANA: "correct"}}) == {}
    assert valid_classes(one, {}) == {}


def test_annotators_may_judge_and_nonsense_is_refused(server):
    image = server.ids("apple")[0]
    with server.client("Ann") as ann:

        def post(item, after):
            change = {"kind": "predicted_label", "item": item, "after": after, "version": 0}
            return ann.post("/review/api/decisions", json={"changes": [change]}).status_code

        assert post(label_item(image, "banana"), "perhaps") == 422
        assert post(label_item(image, "pear"), "correct") == 404
        assert post(label_item("nobody", "banana"), "correct") == 404
        assert post("x", "correct") == 422
        assert post(label_item(image, "banana"), "correct") == 200

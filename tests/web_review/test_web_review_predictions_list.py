"""The page of predictions: what it lists and counts against the rows of the Parquet files, its index, its folders, who may judge."""

from __future__ import annotations

import random
import time
from html import unescape

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from review_guesses import MORE, STRANGE, add_classes, disputed, entropy_of, give_random, rows_of, store, votes_of, wrong_by_all
from review_server import STAMP, ReviewServer
from test_web_review_revisions import add_revision

from retest.analysis import disagreement_table
from retest.cli.serve import serve
from retest.errors import UsageError
from retest.models import read_predictions, write_predictions
from retest.records import Predictions
from retest.stages import _review_prediction_index as index_module
from retest.stages import review
from retest.stages import review_predictions as stage
from retest.stages._multilabel import multilabel_accuracies
from retest.stages._review_memo import Memo
from retest.stages._review_prediction_index import count_votes
from retest.stages._review_predictions import label_item
from retest.stages.evaluate import stored_predictions
from retest.stages.review import Change
from retest.stages.review_predictions import PredictionFilter, PredictionShelf, SetName

WNIDS = {0: "apple", 1: "banana", **{cid: wnid for wnid, cid in MORE}}
SET = SetName("", "x-a-1")


def judge(server, image, wnid, verdict):
    item = label_item(image, wnid)
    version = review.current(server.study, "predicted_label", [item])[0].version
    return review.decide(server.study, [Change("predicted_label", item, verdict, version)], stamp=STAMP)[0]


@pytest.fixture
def opened(server):
    """(server, rows of the Parquet files, board)."""
    give_random(server)
    return server, rows_of(server), stage.prepare_board(server.study, PredictionShelf(), Memo(), SET)


def listed(client, **query):
    found, after = [], None
    while True:
        answer = client.get("/review/api/predictions", params={"dataset": "x-a-1", **query, **({"after": after} if after else {})})
        assert answer.status_code == 200, answer.text
        body = answer.json()
        found += body["images"]
        after = body["next"]
        if after is None:
            assert body["total"] == len(found)
            return found


def ids(rows):
    return [row["image"]["id"] for row in rows]


# What models say


def test_the_index_counts_what_the_rows_of_the_files_say(opened):
    _, rows, board = opened
    index = board.index
    assert set(index.images) == set(rows)
    for place, image in enumerate(index.images):
        label, answers = rows[image]
        assert index.runs(place) == votes_of(answers)
        assert index.labels[place] == (-1 if label is None else label)
        assert index.votes.right[place] == sum(top[0] == label for top in answers.values())
        assert index.votes.predicting[place] == len(answers)
        assert index.votes.entropy_bits[place] == pytest.approx(entropy_of(answers), abs=1e-8)
        for number, model in enumerate(index.models):
            kept = [cid for cid in index.top[place, number].tolist() if cid >= 0]
            assert kept == answers.get(model, [])
    assert len(wrong_by_all(rows)) >= 5
    assert [index.images[place] for place in index.votes.missed] == wrong_by_all(rows)
    assert [index.images[place] for place in index.votes.disputed] == disputed(rows)


def test_the_orders_are_those_of_retest_disagreements(opened):
    server, _, _ = opened
    records = [one for one in stored_predictions(server.study, "x-a-1") if len(one.image_ids) == 25]
    for number, one in enumerate(records):
        store(server, "full", f"m{number}", one.image_ids, np.where(one.labels < 0, 0, one.labels), one.top)
    board = stage.prepare_board(server.study, PredictionShelf(), Memo(), SetName("", "full"))
    table = disagreement_table(stored_predictions(server.study, "full"), limit=1000)
    images, votes = board.index.images, board.index.votes
    assert [images[place] for place in votes.missed] == [one.image for one in table.missed_by_all]
    found = [(round(float(votes.entropy_bits[place]), 6), images[place]) for place in votes.disputed]
    assert sorted(found) == sorted((round(one.entropy_bits, 6), one.image) for one in table.most_disagreement)
    assert [bits for bits, _ in found] == sorted((bits for bits, _ in found), reverse=True)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_votes_of_any_table_are_those_of_plain_counting(data):
    n, m = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 5))
    first = np.array(data.draw(st.lists(st.lists(st.integers(-1, 4), min_size=m, max_size=m), min_size=n, max_size=n)), dtype=np.int32)
    labels = np.array(data.draw(st.lists(st.integers(-1, 4), min_size=n, max_size=n)), dtype=np.int32)
    images = [f"i{n - row}" for row in range(n)]
    votes = count_votes(first, labels, images)
    answers = [{m: [cid] for m, cid in enumerate(row.tolist()) if cid >= 0} for row in first]
    for row in range(n):
        here = slice(votes.run_start[row], votes.run_start[row + 1])
        assert list(zip(votes.run_class[here].tolist(), votes.run_votes[here].tolist(), strict=True)) == votes_of(answers[row])
        assert votes.entropy_bits[row] == pytest.approx(entropy_of(answers[row]) if answers[row] else 0, abs=1e-8)
    rows = {image: (None if label < 0 else label, answer) for image, label, answer in zip(images, labels.tolist(), answers, strict=True)}
    said = {image: row for image, row in rows.items() if row[1]}
    assert [images[place] for place in votes.missed] == wrong_by_all(said)
    assert [images[place] for place in votes.disputed] == disputed(said)


def test_one_image_shows_what_every_model_says(opened):
    server, rows, _ = opened
    image = disputed(rows)[0]
    label, answers = rows[image]
    judge(server, image, "cherry", "unclear")
    with server.client("Ann") as ann:
        found = ann.get("/review/api/predictions/image", params={"dataset": "x-a-1", "image": image}).json()
        assert ann.get("/review/api/predictions/image", params={"dataset": "x-a-1", "image": "nobody"}).status_code == 404
    assert {m["model"]: [g["cid"] for g in m["guesses"]] for m in found["models"]} == answers
    assert {m["model"]: m["right"] for m in found["models"]} == {model: top[0] == label for model, top in answers.items()}
    assert all((g["score"] is None) == (m["model"] == "m2") for m in found["models"] for g in m["guesses"])
    labels = found["labels"]
    assert labels[0]["own"]
    assert labels[0]["of"]["cid"] == label
    assert [(one["of"]["cid"], one["votes"]) for one in labels if one["votes"] and not one["own"]] == [
        one for one in votes_of(answers) if one[0] != label
    ]
    for one in labels:
        assert one["in_top5"] == sum(one["of"]["cid"] in top for top in answers.values())
        assert (one["item"] is None) == (one["of"]["cid"] == STRANGE)
        assert one["state"] == ("unclear" if one["of"]["wnid"] == "cherry" else None)
    own = labels[0]
    assert own["of"]["gloss"]
    assert len(own["examples"]) == 4
    assert all("/review/images/display?id=" in url for url in own["examples"])


# Filters and pages


@pytest.mark.parametrize("show", ["all", "all_wrong", "disagreement"])
def test_pages_of_any_size_give_every_image_once_in_order(opened, show):
    server, rows, board = opened
    expected = {"all": list(board.index.images), "all_wrong": wrong_by_all(rows), "disagreement": disputed(rows)}[show]
    with server.client("Ann") as ann:
        for limit in (1, 7, 100):
            found = listed(ann, show=show, limit=limit)
            assert ids(found) == expected
    for row in found:
        label, answers = rows[row["image"]["id"]]
        assert (row["best"]["cid"], row["votes"]) == votes_of(answers)[0]
        assert (row["models"], row["answers"]) == (len(answers), len(votes_of(answers)))
        assert row["right"] == sum(top[0] == label for top in answers.values())


def test_filters_agree_with_a_plain_reading_of_the_rows_whatever_was_judged(opened):
    server, rows, _ = opened
    rng = random.Random(3)
    verdicts = {}
    for image in rng.sample(sorted(rows), 15):
        for cid in rng.sample(range(5), 3):
            verdicts[image, cid] = rng.choice(stage.VERDICTS)
            judge(server, image, WNIDS[cid], verdicts[image, cid])

    def waiting(image):
        label, answers = rows[image]
        return [cid for cid, _ in votes_of(answers) if cid not in (label, STRANGE) and (image, cid) not in verdicts]

    judged = {image for image, _ in verdicts}
    unsure = {image for (image, _), verdict in verdicts.items() if verdict == "dont_know"}
    expected = {
        "any": set(rows),
        "open": {image for image in rows if waiting(image)},
        "done": {image for image in judged if not waiting(image)},
        "dont_know": unsure,
    }
    with server.client("Ann") as ann:
        for choice, images in expected.items():
            assert set(ids(listed(ann, judged=choice, limit=4))) == images, choice
        for cid in (0, 1, 3):
            named = {image for image, (_, answers) in rows.items() if any(top[0] == cid for top in answers.values())}
            assert set(ids(listed(ann, predicted=WNIDS[cid]))) == named
            assert set(ids(listed(ann, wnid=WNIDS[cid]))) == {image for image, (label, _) in rows.items() if label == cid}
        assert {row["image"]["id"]: (row["waiting"], row["judged"]) for row in listed(ann)} == {
            image: (len(waiting(image)), sum(i == image for i, _ in verdicts)) for image in rows
        }
        both = ids(listed(ann, show="all_wrong", judged="open", wnid="banana"))
        assert both == [i for i in wrong_by_all(rows) if rows[i][0] == 1 and waiting(i)]
        assert ann.get("/review/api/predictions", params={"dataset": "x-a-1", "wnid": "pear"}).status_code == 404
        assert ann.get("/review/api/predictions", params={"dataset": "none"}).status_code == 404
        assert ann.get("/review/api/predictions", params={"dataset": "x-a-1", "after": "nobody"}).status_code == 404
        assert ann.get("/review/api/predictions", params={"dataset": "x-a-1", "show": "x"}).status_code == 422


def test_reviewed_classes_are_skipped_those_of_the_revision_and_those_that_are_all_judged(opened):
    server, rows, _ = opened
    add_revision(server, "x-a-1")
    with server.client("Rex") as rex:
        apples = [image for image, (label, _) in rows.items() if label == 0]
        assert len(listed(rex, skip_reviewed=True)) == len(rows)
        for image in apples:
            for cid, _ in votes_of(rows[image][1]):
                if cid not in (0, STRANGE):
                    last = judge(server, image, WNIDS[cid], "wrong")
        assert set(ids(listed(rex, skip_reviewed=True))) == rows.keys() - set(apples)
        review.take_back(server.study, [last.no], stamp=STAMP)
        assert len(listed(rex, skip_reviewed=True)) == len(rows)
        done = {"reviewed": True, "problematic": False}
        review.decide(server.study, [Change("class_review", "x-a-1/banana", done, 0)], stamp=STAMP)
        assert set(ids(listed(rex, skip_reviewed=True))) == {image for image, (label, _) in rows.items() if label != 1}


def test_the_queue_goes_on_in_both_directions_also_from_an_image_that_left_the_filter(opened):
    server, rows, _ = opened
    with server.client("Ann") as ann:

        def queue(**query):
            answer = ann.get("/review/api/predictions/queue", params={"dataset": "x-a-1", **query})
            assert answer.status_code == 200, answer.text
            return [one["image"]["id"] for one in answer.json()["items"]], answer.json()["more"]

        order = ids(listed(ann, show="disagreement", judged="open"))
        query = {"show": "disagreement", "judged": "open"}
        assert queue(**query, limit=3) == (order[:3], True)
        image = order[2]
        for cid, _ in votes_of(rows[image][1]):
            if cid not in (rows[image][0], STRANGE):
                judge(server, image, WNIDS[cid], "wrong")
        assert queue(**query, after=image, limit=2) == (order[3:5], True)
        assert queue(**query, before=image, limit=5) == ([order[1], order[0]], False)
        assert queue(**query, after=order[-1]) == ([], False)
        agreed = next(one for one in rows if one not in disputed(rows))
        assert queue(**query, after=agreed, limit=2)[0] == order[:2]  # one that the order does not have stands before it
        assert queue(**query, before=agreed) == ([], False)
        assert ann.get("/review/api/predictions/queue", params={"after": image, "before": image}).status_code == 422


# What follows from judgements


def test_multilabel_accuracy_follows_every_decision_as_derived_from_the_files(opened):
    server, rows, _ = opened
    rng = random.Random(5)
    shelf, memo = PredictionShelf(), Memo()
    kept = stage.prepare_board(server.study, shelf, memo, SET)
    loaded = stored_predictions(server.study, "x-a-1")
    numbers = []
    for step in range(90):
        if numbers and rng.random() < 0.25:
            review.take_back(server.study, [numbers.pop()], stamp=STAMP)
        else:
            done = judge(server, rng.choice(sorted(rows)), WNIDS[rng.randrange(5)], rng.choice([*stage.VERDICTS, "correct", None]))
            numbers = [done.no] if done.no else []
        if step % 10 and step != 89:
            continue
        now = stage.open_board(server.study, shelf, memo, SET)
        assert now is kept  # adjusted, not counted anew
        with server.study.database.read() as tables:
            expected = {one.model: one for one in multilabel_accuracies(tables, loaded)}
        for one in now.judged.progress().models:
            if one.model not in expected:
                assert (one.n, one.multilabel) == (0, None)
                continue
            e = expected[one.model]
            assert (one.n, one.multilabel, one.low, one.high) == pytest.approx((e.n, e.accuracy, e.low, e.high))
    fresh = stage.prepare_board(server.study, PredictionShelf(), Memo(), SET)
    assert fresh.judged.progress() == kept.judged.progress()
    for name in ("waiting", "judged", "unknown"):
        assert np.array_equal(getattr(fresh.judged, name), getattr(kept.judged, name)), name
    assert kept.judged.progress().models[4].top1 == np.mean(
        [answers["m4"][0] == label for label, answers in rows.values() if label is not None and "m4" in answers]
    )


def test_progress_over_http_counts_labels_and_images(opened):
    server, rows, _ = opened
    to_judge = {image: [cid for cid, _ in votes_of(answers) if cid not in (label, STRANGE)] for image, (label, answers) in rows.items()}
    image = next(image for image in disputed(rows) if rows[image][0] is not None and len(to_judge[image]) > 1)
    for cid in to_judge[image]:
        judge(server, image, WNIDS[cid], "wrong")
    with server.browser_client("Ann") as ann:
        found = ann.get("/review/api/predictions/progress", params={"dataset": "x-a-1"}).json()
        page = ann.get("/review/predictions", params={"dataset": "x-a-1"}).text
    total = sum(map(len, to_judge.values()))
    assert (found["labels"], found["waiting"]) == (total, total - len(to_judge[image]))
    assert (found["images"], found["images_done"]) == (sum(map(bool, to_judge.values())), 1)
    assert f'{len(to_judge[image])} <span class="hint">of {total}' in page
    assert "Multi-label accuracy so far" in page


# The index on the disk


def test_files_are_read_once_and_again_when_they_change(opened, monkeypatch):
    server, rows, _ = opened
    reads = []
    monkeypatch.setattr(index_module, "read_predictions", lambda path: reads.append(path) or read_predictions(path))
    with server.client("Ann") as ann:
        for _ in range(3):
            assert len(listed(ann)) == len(rows)
    assert reads == []  # the fixture has made the index; another process would find it as well
    cache = server.study.folder / "cache" / "review-predictions"
    (before,) = [path for path in cache.rglob("*") if path.name == "meta.json"]
    image = wrong_by_all(rows)[0]
    store(server, "x-a-1", "m0", [image], [rows[image][0]], [[rows[image][0], 4]], key="anew")
    with server.client("Ann") as ann, server.browser_client("Ann") as page:
        was = len(reads)
        listed(ann)  # what was there is shown while the files are read again
        deadline = time.monotonic() + 60
        while image in ids(listed(ann, show="all_wrong")) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert image not in ids(listed(ann, show="all_wrong"))
        assert "have been added or changed" not in page.get("/review/predictions?dataset=x-a-1").text
    assert len(reads) - was == 7
    (after,) = [path for path in cache.rglob("*") if path.name == "meta.json"]
    assert before.parent.name != after.parent.name
    assert list(cache.rglob("*.tmp")) == []


@pytest.mark.parametrize("damage", ["cut", "gone", "other"])
def test_a_damaged_index_is_made_again(opened, damage):
    server, rows, _ = opened
    (file,) = (server.study.folder / "cache" / "review-predictions").rglob("votes.npz")
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:100])
    elif damage == "gone":
        file.unlink()
    else:
        file.with_name("meta.json").write_text("[]")
    board = stage.prepare_board(server.study, PredictionShelf(), Memo(), SET)
    assert [board.index.images[place] for place in board.index.votes.missed] == wrong_by_all(rows)


def test_a_file_that_cannot_be_read_is_left_out_and_said_so(opened):
    server, rows, _ = opened
    path = server.study.folder / "predictions" / "x-a-1" / "m3.parquet"
    path.write_bytes(b"not parquet")
    with server.browser_client("Ann") as ann:
        assert len(listed(ann)) == len(rows)
        assert "m3 is left out" in ann.get("/review/predictions?dataset=x-a-1").text
    for file in path.parent.iterdir():
        file.unlink()
    with ReviewServer(server.study.folder) as other, other.client("Ann") as ann:
        answer = ann.get("/review/api/predictions?dataset=x-a-1")
        assert answer.status_code == 422
        assert "can be read" in answer.json()["problem"]


def test_a_study_without_predictions_says_how_to_make_them(server):
    with server.browser_client("Ann") as ann:
        assert "retest evaluate" in ann.get("/review/predictions").text
        assert "retest evaluate" in ann.get("/review/predictions/image").text
        assert ann.get("/review/api/predictions").status_code == 404
        assert ann.get("/review/api/predictions/sets").json() == {"sets": []}


# Folders of retest evaluate


def test_predictions_of_a_folder_are_shown_beside_those_of_the_study(folder, tmp_path):
    places = [tmp_path / "one" / "found", tmp_path / "two" / "found"]
    with ReviewServer(folder, predictions=tuple(places)) as server:
        add_classes(server)
        mine = server.ids("apple")[:2]
        for number, place in enumerate(places):
            for model in ("a", "b"):
                top = np.array([[1, 0], [2, 1], [number, 1]], np.int64)
                record = Predictions("elsewhere", model, (*mine, "stranger"), np.zeros(3, np.int64), top)
                write_predictions(place / "elsewhere" / f"{model}.parquet", record)
            (place / ".parts").mkdir()
            (place / ".parts" / "x.parquet").write_bytes(b"")
            (place / "broken.parquet").write_bytes(b"")
        store(server, "x-a-1", "m", mine, [0, 0], [[0], [1]])
        with server.browser_client("Ann") as ann:
            names = [(one["folder"], one["dataset"], one["models"]) for one in ann.get("/review/api/predictions/sets").json()["sets"]]
            assert names == [("", "x-a-1", 1), ("found", "elsewhere", 2), ("found-2", "elsewhere", 2)]
            page = ann.get("/review/predictions").text
            assert page.count(" is left out: cannot be read as Parquet") == 2
            assert "found-2/broken.parquet is left out: " in page
            assert "x.parquet" not in page  # a part of an evaluation that is under way
            assert str(tmp_path) not in page
            query = {"dataset": "elsewhere", "folder": "found"}
            assert ids(listed(ann, **query, show="all_wrong")) == mine
            assert set(ids(listed(ann, **query | {"folder": "found-2"}, show="all_wrong"))) == {*mine, "stranger"}
            stranger = ann.get("/review/api/predictions/image", params={**query, "image": "stranger"}).json()
            assert [one["item"] for one in stranger["labels"]] == [None] * len(stranger["labels"])
            own = ann.get("/review/api/predictions/image", params={**query, "image": mine[0]}).json()
            assert own["labels"][1]["item"] == label_item(mine[0], "banana")
            judge(server, mine[0], "banana", "correct")
            for name in ("found", "found-2"):
                found = ann.get("/review/api/predictions/progress", params={**query, "folder": name}).json()
                assert [(m["n"], m["multilabel"]) for m in found["models"]] == [(1, 1.0)] * 2


def test_a_folder_that_is_not_there_is_refused_when_the_server_starts(folder, tmp_path):
    done = CliRunner().invoke(serve, ["--study", str(folder), "--predictions", str(tmp_path / "nowhere")])
    assert done.exit_code == 2
    assert "nowhere" in done.output


# Who may judge


def test_annotators_judge_predicted_labels_and_nothing_else(opened):
    server, rows, _ = opened
    image = sorted(rows)[0]
    item = label_item(image, "cherry")
    with server.browser_client("Ann") as ann:
        page = ann.get("/review/predictions").text
        assert 'data-decides="predicted_label"' in page

        def post(kind, item, after):
            return ann.post("/review/api/decisions", json={"changes": [{"kind": kind, "item": item, "after": after, "version": 0}]})

        others = [kind.name for kind in review.kinds() if kind.name != "predicted_label"]
        assert len(others) >= 6
        for kind in others:
            for after in (None, True, {"reason": "x", "detail": ""}):
                assert post(kind, image, after).status_code == 403, kind
        both = [
            {"kind": "predicted_label", "item": item, "after": "wrong", "version": 0},
            {"kind": "exclusion", "item": image, "after": {"reason": "x", "detail": ""}, "version": 0},
        ]
        assert ann.post("/review/api/decisions", json={"changes": both}).status_code == 403
        assert review.current(server.study, "predicted_label", [item])[0].state is None
        token = ann.headers.pop("X-CSRF-Token")
        assert post("predicted_label", item, "wrong").status_code == 403
        ann.headers["X-CSRF-Token"] = token
        done = post("predicted_label", item, "wrong").json()["decided"][0]
        assert ann.post("/review/api/take-back", json={"numbers": [done["no"]]}).json()["decided"][0]["state"] is None
        theirs = judge(server, image, "cherry", "correct")
        assert ann.post("/review/api/take-back", json={"numbers": [theirs.no]}).status_code == 403
        conflict = post("predicted_label", item, "unclear")
        assert conflict.status_code == 409
        assert conflict.json()["conflicts"][0]["state"] == "correct"


def test_read_only_lets_nobody_judge(folder):
    with ReviewServer(folder, read_only=True) as server, server.browser_client("Ada") as ada:
        give_random(server, models=2)
        assert 'data-decides=""' in ada.get("/review/predictions").text
        change = {"kind": "predicted_label", "item": label_item(server.ids()[0], "cherry"), "after": "wrong", "version": 0}
        assert ada.post("/review/api/decisions", json={"changes": [change]}).status_code == 403


def test_every_filter_is_part_of_the_address_and_of_every_link(opened):
    server, _, _ = opened
    query = "dataset=x-a-1&show=disagreement&predicted=banana&judged=open&skip_reviewed=true"
    with server.browser_client("Ann") as ann:
        page = ann.get(f"/review/predictions?{query}&limit=2").text
        assert ann.get(f"/review/predictions/image?{query}").status_code == 200
        assert ann.get("/review/predictions?colour=red").status_code == 400
        begin, following = (unescape(page.partition(f'id="{name}" href="')[2].partition('"')[0]) for name in ("begin", "following"))
        assert [ann.get(address).status_code for address in (begin, following)] == [200, 200]
    for part in query.split("&"):
        assert part in begin
        assert part in following
    assert "limit=2" in following


def test_choices_out_of_range_are_refused(opened):
    server, _, board = opened
    memo = Memo()
    choices = (("show", PredictionFilter(show="x"), 5), ("judged", PredictionFilter(judged="x"), 5), ("limit", PredictionFilter(), 0))
    for name, wanted, limit in choices:
        with pytest.raises(UsageError, match=f"{name}: "):
            stage.list_images(server.study, board, memo, wanted, limit=limit)

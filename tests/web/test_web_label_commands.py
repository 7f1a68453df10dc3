"""``retest label ...`` against the running server: publishing once, deciding from files, closing, the check both ways, judging."""

from __future__ import annotations

import csv
import json
from contextlib import closing
from dataclasses import replace

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from web_annotator import Annotator
from web_server import retest

from retest.crowd import MTurkCrowd
from retest.stages import label, label_crowd
from retest.study import open_study
from retest.web import Participants


@pytest.fixture
def options(study, server):
    return ("--study", study, "--crowd", "server", "--endpoint", server.url)


@pytest.fixture
def answered(study, server, options):
    """Three annotators have answered every HIT: ANN selects the first image, BOB the first two, CYD all."""
    retest("label", "submit", *options)
    clicks = {}
    with closing(Participants(study / "participants.db")) as people:
        links = {name: f"{server.url}/join/{people.invite(name, now=0.0).token}" for name in ("ANN", "BOB", "CYD")}
    for name, count in (("ANN", 1), ("BOB", 2), ("CYD", 8)):
        annotator = Annotator(server.url)
        going = annotator.start(links[name])
        while going:
            clicks[annotator.assignment] = (name, annotator.hit)
            going = annotator.submit(*range(count))
    return clicks


def figures(*arguments, **options):
    return json.loads(retest(*arguments, "--json", **options).stdout)


def test_publishing_twice_creates_nothing_twice(study, options):
    assert figures("label", "submit", *options)["published"] == 4
    assert figures("label", "submit", *options)["published"] == 0
    # A kill between the server's work and the study's note: the HIT is found, not created.
    with closing(open_study(study)) as opened, opened.database.write() as tables:
        tables.connection.exec_driver_sql("UPDATE hits SET submitted = 0, hit_id = NULL WHERE no = 1")
    found = figures("label", "check", *options, check=False)["findings"]
    assert [one["kind"] for one in found] == ["not_marked_published"]
    assert figures("label", "submit", *options)["published"] == 1
    assert figures("label", "check", *options)["findings"] == []
    assert figures("label", "progress", *options)["assignments"] == 12


def test_a_server_that_is_not_there_fails_at_once_and_leaves_the_study(study, monkeypatch):
    monkeypatch.setattr("retest.crowd._mturk_calls.ATTEMPTS", 1)
    done = retest("label", "submit", "--study", study, "--crowd", "server", "--endpoint", "http://127.0.0.1:9", check=False)
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr
    assert len(figures("label", "list", "--study", study, "--state", "planned")) == 4


def test_without_a_worker_key_nothing_is_published(study, options):
    done = retest("label", "submit", *options, check=False, RETEST_WORKER_KEY="")
    assert done.returncode == 2
    assert "RETEST_WORKER_KEY" in done.stderr


def test_answers_come_back_once_under_hashed_names(study, answered, options):
    assert figures("label", "collect", *options)["new_answers"] == 12
    again = figures("label", "collect", *options)
    assert again["new_answers"] == 0
    assert again["hits_by_valid_answers"] == {"0": 0, "1": 0, "2": 0, "3": 4}
    with closing(open_study(study)) as opened, opened.database.read() as tables:
        answers = list(tables.assignments.all())
        hits = {hit.uuid: hit for hit in tables.hits.all()}
        frequencies = {(f.image_id, f.wnid): f.value for f in tables.frequencies.all()}
    assert all(answer.worker.startswith("worker-") for answer in answers)
    assert len({answer.worker for answer in answers}) == 3
    for answer in answers:
        count = {"ANN": 1, "BOB": 2, "CYD": 8}[answered[answer.id][0]]
        assert answer.selected == hits[answer.hit_uuid].images_all[:count]
    for hit in hits.values():
        for place, image in enumerate(hit.images_all):
            if sum(image in other.images_all for other in hits.values() if other.wnid == hit.wnid) == 1:
                assert frequencies[image, hit.wnid] == pytest.approx([1, 2 / 3, 1 / 3][min(place, 2)])


def test_decisions_from_files(study, answered, options, tmp_path):
    retest("label", "collect", *options)
    cyd = sorted(name for name, (who, _) in answered.items() if who == "CYD")
    bad = tmp_path / "bad.csv"
    bad.write_text(f'assignment_id,feedback\n# all boxes ticked\n{cyd[0]},"All boxes, always"\n{cyd[1]}\n')
    assert "needs feedback" in retest("label", "reject", bad, *options, "--yes", check=False).stderr
    refused = retest("label", "reject", bad, *options, "--feedback", "Sorry", stdin="n\n", check=False)
    assert refused.returncode != 0
    assert figures("label", "reject", bad, *options, "--feedback", "Sorry", "--yes") == {"decided": 2, "unchanged": 0, "failures": {}}
    assert figures("label", "reject", bad, *options, "--feedback", "Sorry", "--yes")["unchanged"] == 2
    with closing(open_study(study)) as opened, opened.database.read() as tables:
        assert sorted(tables.assignments.rejected()) == cyd[:2]
        decisions = tables.decisions.all(kind="decide_answer", item=cyd[0])
    assert decisions[0]["after"] == {"status": "Rejected", "feedback": "All boxes, always"}
    good = tmp_path / "good.csv"
    good.write_text(cyd[0] + "\n")
    failed = retest("label", "approve", good, *options, check=False)
    assert failed.returncode == 1
    assert "override" in failed.stderr
    assert figures("label", "approve", good, *options, "--override-rejection")["decided"] == 1
    assert figures("label", "approve", "--all", *options)["decided"] == 10
    assert figures("label", "progress", *options)["rejected"] == 1
    good.write_text("UNKNOWN\n")
    assert "no such answer" in retest("label", "approve", good, *options, check=False).stderr
    good.write_text(f"{cyd[0]}\n{cyd[0]}\n")
    assert "twice" in retest("label", "approve", good, *options, check=False).stderr


def test_deleting_waits_for_answers_and_decisions(study, answered, options):
    early = retest("label", "delete", "--all", *options, check=False)
    assert early.returncode == 1
    assert "not collected" in early.stderr
    retest("label", "collect", *options)
    assert "Expire the HIT and decide" in retest("label", "delete", "--all", *options, check=False).stderr
    retest("label", "approve", "--all", *options)
    assert figures("label", "delete", "--all", *options)["done"] == 4
    assert figures("label", "delete", "--all", *options)["done"] == 4
    assert figures("label", "check", *options)["findings"] == []
    assert {row["state"] for row in figures("label", "list", "--study", study)} == {"closed"}
    assert retest("label", "delete", "nope", *options, check=False).returncode == 1


def test_what_a_closed_hit_lacks_is_planned_anew(study, options):
    retest("label", "submit", *options)
    assert figures("label", "plan", "--study", study)["added"] == 0
    uuid = figures("label", "list", "--study", study)[0]["uuid"]
    assert figures("label", "expire", uuid, *options)["done"] == 1
    assert figures("label", "plan", "--study", study)["waiting"] == 1
    assert "1 HIT waits to be published: retest label submit" in retest("label", "plan", "--study", study).stdout
    assert len(figures("label", "list", "--study", study, "--state", "planned")) == 1


def test_progress_before_anything_is_published_says_what_to_do(study, options):
    assert "retest label submit" in retest("label", "progress", *options).stdout
    assert figures("label", "progress", *options)["hits"] == 0


def test_what_hits_lack_whose_lifetime_is_over_is_planned_anew(study, server, options):
    retest("label", "submit", *options)
    with closing(Participants(study / "participants.db")) as people:
        links = [f"{server.url}/join/{people.invite(name, now=0.0).token}" for name in ("ANN", "BOB")]
    ann, bob = Annotator(server.url), Annotator(server.url)
    ann.start(links[0])
    ann.submit(1)  # one answer to the first HIT; ANN goes on to the second
    bob.start(links[1])  # BOB is at work on the first
    client = boto3.client("mturk", region_name="us-east-1", endpoint_url=server.url, config=Config(signature_version=UNSIGNED))
    for hit in client.list_hits()["HITs"]:  # as their time would
        client.update_expiration_for_hit(HITId=hit["HITId"], ExpireAt=1)
    found = figures("label", "progress", *options)
    assert (found["available"], found["pending"], found["ended"]) == (0, 2, 2)
    collected = figures("label", "collect", *options)
    assert (collected["new_answers"], len(collected["ended"])) == (1, 2)
    bob.submit(2)
    ann.submit(3)
    later = figures("label", "collect", *options)
    assert (later["new_answers"], len(later["ended"])) == (2, 2)
    assert not set(later["ended"]) & set(collected["ended"])
    assert figures("label", "collect", *options)["ended"] == []
    assert {row["state"] for row in figures("label", "list", "--study", study)} == {"closed"}
    again = figures("label", "plan", "--study", study)
    assert (again["added"], again["skipped"]["selected"]) == (4, 16)
    assert figures("label", "plan", "--study", study)["added"] == 0


def test_the_check_finds_differences_both_ways(study, server, options):
    retest("label", "submit", *options)
    with closing(open_study(study)) as opened:
        settings = replace(opened.config.crowd, backend="server", endpoint=server.url)
        crowd = MTurkCrowd(settings, worker_key=b"k" * 16)
        with opened.database.read() as tables:
            hits = list(tables.hits.all())
        crowd.expire(hits[0])
        crowd.delete(hits[0])
        crowd.extend(hits[1], assignments=5)
        with opened.database.write() as tables:
            tables.connection.exec_driver_sql("DELETE FROM hits WHERE no = 3")
        kinds = {finding.uuid: finding.kind for finding in label_crowd.check_crowd(opened, crowd)}
    assert kinds == {hits[0].uuid: "missing_on_crowd", hits[1].uuid: "other_number", hits[2].uuid: "unknown_here"}


def test_quality_workers_and_inspect(study, answered, options, tmp_path):
    retest("label", "collect", *options)
    found = figures("label", "quality", "--study", study, "--posteriors", tmp_path / "p.csv")
    assert found["assignments"] == 12
    assert found["controls"]["positive_shown"] == 24
    with closing(open_study(study)) as opened, opened.database.read() as tables:
        hits = {hit.uuid: hit for hit in tables.hits.all()}
        answers = list(tables.assignments.all())
    right = sum(len(set(a.selected) & set(hits[a.hit_uuid].images_pos_control)) for a in answers)
    assert found["controls"]["positive"] == pytest.approx(right / 24)
    cyd = {a.worker for a in answers if answered[a.id][0] == "CYD"}
    assert cyd <= set(found["flagged_workers"])
    rows = list(csv.DictReader((tmp_path / "p.csv").open()))
    assert {row["image"] for row in rows} == {image for hit in hits.values() for image in hit.images_all}
    assert all(0 <= float(row["dawid_skene"]) <= 1 for row in rows)
    (worker,) = (w for w in figures("label", "workers", "--study", study) if w["worker"] in cyd)
    assert worker["selected_share"] == 1.0
    assert worker["controls"]["positive"] == 1.0
    assert worker["controls"]["negative"] == 0.0
    assert "failed_negative_controls" in worker["flags"]
    one = next(iter(hits.values()))
    seen = figures("label", "inspect", one.uuid, "--study", study, "--out", tmp_path / "hit.html")
    assert [image["selected"] for image in seen["images"]] == [3, 2, 1, 1, 1, 1, 1, 1]
    assert all(answer["delay_s"] >= 0 and answer["duration_s"] >= 0 for answer in seen["answers"])
    html = (tmp_path / "hit.html").read_text()
    assert html.count("data:image/jpeg;base64,") == 8
    assert "<script" not in html
    assert "ANN" not in html  # names stay in participants.db
    assert figures("label", "inspect", seen["hit_id"], "--study", study)["uuid"] == one.uuid
    assert retest("label", "inspect", "nope", "--study", study, check=False).returncode == 1


def test_excluded_hits_count_nowhere(study, answered, options):
    retest("label", "collect", *options)
    uuid = figures("label", "list", "--study", study)[0]["uuid"]
    retest("label", "exclude", uuid, "--study", study, "--reason", "wrong class shown")
    assert figures("label", "quality", "--study", study)["assignments"] == 9
    assert figures("label", "list", "--study", study, "--state", "excluded")[0]["uuid"] == uuid
    assert "wrong class shown" in retest("label", "inspect", uuid, "--study", study, "--json").stdout


def test_a_preview_publishes_nothing(study, tmp_path):
    done = retest("label", "preview", "--study", study, "--out", tmp_path / "preview")
    html = (tmp_path / "preview" / "preview.html").read_text()
    images = sorted(path.relative_to(tmp_path / "preview").as_posix() for path in (tmp_path / "preview" / "public").rglob("*.jpg"))
    assert len(images) == 8
    assert all(f'src="./{name}"' in html for name in images)
    assert "preview.html" in done.stdout
    assert {row["state"] for row in figures("label", "list", "--study", study)} == {"planned"}
    assert not (study / "label-server.db").exists()
    assert retest("label", "preview", "--study", study, "--hit", "nope", check=False).returncode == 1


def test_the_inverse_question(study):
    found = figures("label", "plan", "--study", study, "--target", "0.2")
    n = found["assignments_per_hit"]
    assert found["estimate"]["frequency_half_width"] <= 0.2
    assert found["estimate"]["assignments"] == n * found["estimate"]["hits"]
    assert figures("label", "plan", "--study", study, "--target", "0.21")["assignments_per_hit"] <= n
    assert len(figures("label", "list", "--study", study)) == 4
    assert retest("label", "plan", "--study", study, "--target", "0.9", check=False).returncode == 2


class LiveCrowd:
    """A crowd that costs money and must never be asked to publish in these tests unless LIVE was typed."""

    name, simulated, live = "costly", False, True

    def __init__(self, balance=100_000):
        self.published, self._balance = [], balance

    def cost_cents(self, *, assignments, reward_cents):
        return assignments * reward_cents

    def balance(self):
        return self._balance

    def publish(self, task):
        from retest.crowd import PublishedHit

        self.published.append(task.hit.uuid)
        return PublishedHit(task.hit.uuid, "H" + task.hit.uuid, "T", task.assignments, True)


@pytest.mark.parametrize(("typed", "code", "number"), [("live\n", 2, 0), ("\n", 2, 0), ("LIVE\n", 0, 4)])
def test_live_asks_for_the_word(study, monkeypatch, typed, code, number):
    from contextlib import contextmanager

    crowd = LiveCrowd()
    text = (study / "study.toml").read_text().replace("# budget_cents =", "budget_cents = 10000")
    (study / "study.toml").write_text(text)
    monkeypatch.setattr("retest.cli.label.opened_crowd", contextmanager(lambda study, choice: (one for one in [crowd])))
    arguments = ("label", "submit", "--study", study, "--crowd", "mturk", "--live", "--image-url", "https://x.example")
    done = retest(*arguments, stdin=typed, check=False)
    assert (done.returncode, len(crowd.published)) == (code, number)
    assert "cost 1.20 USD" in done.stderr


def test_an_account_that_holds_too_little_publishes_nothing(study):
    from retest.errors import UsageError
    from retest.stages._common import Stamp

    crowd = LiveCrowd(balance=100)
    with closing(open_study(study)) as opened, pytest.raises(UsageError, match=r"the account holds 1\.00 USD"):
        label.submit(opened, crowd, stamp=Stamp("x", "2026-01-01T00:00:00+00:00"), confirmed_live=True)
    assert crowd.published == []


def test_live_hits_are_never_deleted(study):
    from retest.errors import CrowdError
    from retest.stages._common import Stamp

    with closing(open_study(study)) as opened, pytest.raises(CrowdError, match="never deleted"):
        label_crowd.delete(opened, LiveCrowd(), stamp=Stamp("x", "2026-01-01T00:00:00+00:00"))

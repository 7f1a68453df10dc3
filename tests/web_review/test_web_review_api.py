"""The JSON interface keeps to its description: schemathesis asks it strange things; paging is by key; filters by hand."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from openapi_spec_validator import validate
from review_guesses import give_random
from review_server import CLASSES, MISSING, PER_CLASS

from retest.web.review import openapi_document


def test_the_description_is_valid_openapi(server):
    validate(openapi_document())
    with server.client(None) as client:
        assert client.get("/review/api/openapi.json").json() == openapi_document()


def test_records_have_names_of_their_own_and_no_module_shows():
    names = openapi_document()["components"]["schemas"]
    assert len(names) > 50
    assert [name for name in names if not name.isalnum()] == []


@pytest.mark.slow
def test_every_operation_keeps_to_its_description(server, tmp_path):
    pytest.importorskip("schemathesis")
    give_random(server, models=3)
    with server.client("Ada") as ada:  # "503, ask again" is for people who come while the first list is made
        until = time.monotonic() + 120
        while ada.get("/review/api/predictions").status_code == 503 and time.monotonic() < until:
            time.sleep(0.5)
    script = tmp_path / "ask.py"
    script.write_text(_SCRIPT)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-x", str(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PATH": "", "REVIEW_URL": server.url, "REVIEW_TOKEN": server.tokens["Ada"], "HOME": str(tmp_path)},
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    with server.client("Ada") as ada:
        assert ada.get("/review/api/who").status_code == 200


_SCRIPT = """
import os
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

url, token = os.environ["REVIEW_URL"], os.environ["REVIEW_TOKEN"]
schema = schemathesis.openapi.from_url(url + "/review/api/openapi.json")
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@schema.parametrize()
@settings(phases=[Phase.generate], max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_operation(case):
    case.headers["Authorization"] = "Bearer " + token
    response = case.call(timeout=120)
    case.validate_response(response, checks=CHECKS)
    assert (response.status_code == 401) == ("Authorization" not in response.request.headers)
    assert response.status_code not in (403, 429)
"""


def pages(client, **query):
    found, after, totals = [], None, []
    while True:
        answer = client.get("/review/api/candidates", params={**query, **({"after": after} if after else {})})
        assert answer.status_code == 200, answer.text
        body = answer.json()
        found += body["candidates"]
        totals.append(body["total"])
        after = body["next"]
        if after is None:
            return found, totals


@pytest.mark.parametrize("sort", ["frequency", "assignments", "taken", "id"])
@pytest.mark.parametrize("descending", [True, False])
def test_pages_of_any_size_give_every_candidate_once_in_order(server, sort, descending):
    with server.client("Ann") as ann:
        whole, _ = pages(ann, wnid="apple", sort=sort, descending=descending, limit=1000)
        for limit in (1, 4, 13):
            found, totals = pages(ann, wnid="apple", sort=sort, descending=descending, limit=limit)
            assert found == whole
            assert totals[0] == PER_CLASS + 1
            assert set(totals[1:]) <= {None}
    keys = {"frequency": "frequency", "assignments": "num_assignments", "taken": "date_taken", "id": "id"}
    values = [item[keys[sort]] for item in whole]
    if all(value is not None for value in values):
        assert values == sorted(values, reverse=descending)


def test_filters_agree_with_a_plain_reading_of_the_list(server):
    from review_server import STAMP

    from retest.records import Revision
    from retest.stages import review
    from retest.stages.review import Change

    with server.client("Rex") as rex:
        whole, _ = pages(rex, wnid="apple", limit=1000)
        by_id = {item["id"]: item for item in whole}
        gone, odd, one, two = (item["id"] for item in whole[:4])
        review.decide(
            server.study,
            [
                Change("exclusion", gone, {"reason": "x", "detail": ""}, 0),
                Change("problematic", odd, {"detail": ""}, 0),
                Change("near_duplicate_pair", review.pair_item(one, two), True, 0),
            ],
            stamp=STAMP,
        )
        with server.study.database.write() as tables:
            tables.revisions.add(Revision("r-1", "sample_best", ((one, "apple"), (MISSING, "apple")), True, 1))

        def ids(**query):
            return {item["id"] for item in pages(rex, wnid="apple", limit=3, **query)[0]}

        everything = set(by_id)
        assert ids(excluded="yes") == {gone}
        assert ids(excluded="no") == everything - {gone}
        assert ids(problematic="yes") == {odd}
        assert ids(near_duplicate="paired") == {one, two}
        assert ids(near_duplicate="marked") == {min((one, two), key=lambda i: by_id[i]["frequency"])}
        assert ids(near_duplicate="no") == everything - {one, two}
        assert ids(revision="r-1") == {one, MISSING}
        assert ids(min_frequency=0.3, max_frequency=0.6) == {i for i, item in by_id.items() if 0.3 <= item["frequency"] <= 0.6}
        assert ids(bin=[0, 3]) == {i for i, item in by_id.items() if item["frequency"] < 0.2 or 0.6 <= item["frequency"] < 0.8}
        assert ids(min_assignments=11) == set()
        targets = rex.get("/review/api/classes", params={"q": "apple"}).json()["classes"][0]["target_bins"]
        wanted = ids(only_targets=True)
        assert wanted == {i for i, item in by_id.items() if targets[min(4, int(item["frequency"] * 5 + 1e-9))]}
        assert 0 < len(wanted) < len(everything)


def test_counts_of_classes_follow_every_decision_and_agree_with_counting_anew(server):
    from retest.stages._review_counts import count_class, counts_are_current, from_stored

    def stored():
        with server.study.database.read() as tables:
            assert counts_are_current(server.study, tables)
            return {wnid: from_stored(values) for wnid, values in tables.class_counts.all().items()}

    def counted():
        with server.study.database.read() as tables:
            return {wnid: count_class(server.study, tables, wnid) for wnid in CLASSES}

    assert stored() == counted()
    first, second, third = server.ids()[:3]
    with server.client("Rex") as rex:
        for kind, item, after in (
            ("exclusion", first, {"reason": "x", "detail": ""}),
            ("problematic", second, {"detail": ""}),
            ("near_duplicate_pair", f"{second}|{third}", True),
            ("near_duplicate_pair", "|".join(sorted((third, server.ids("banana")[5]))), True),
        ):
            body = {"changes": [{"kind": kind, "item": item, "after": after, "version": 0}]}
            assert rex.post("/review/api/decisions", json=body).status_code == 200
            assert stored() == counted()
    apple = stored()["apple"]
    assert (apple.excluded, apple.problematic) == (1, 1)


def test_classes_are_paged_by_key_in_every_order(server):
    from retest.records import ClassInfo
    from retest.stages.review_progress import refresh_counts

    with server.study.database.write() as tables:
        tables.classes.put(ClassInfo(f"n{n:03}", n + 10, (f"name {n % 5}",), "gloss") for n in range(20))
    refresh_counts(server.study)
    with server.client("Ann") as ann:
        for sort in ("wnid", "name", "candidates", "missing"):
            for descending in (True, False):
                whole = ann.get("/review/api/classes", params={"sort": sort, "descending": descending, "limit": 1000}).json()
                assert whole["total"] == 22
                assert whole["current"]
                found, after = [], None
                while True:
                    query = {"sort": sort, "descending": descending, "limit": 4, **({"after": after} if after else {})}
                    page = ann.get("/review/api/classes", params=query).json()
                    found += page["classes"]
                    after = page["next"]
                    if after is None:
                        break
                assert found == whole["classes"]
        assert [c["wnid"] for c in ann.get("/review/api/classes", params={"q": "LONG fruit"}).json()["classes"]] == ["banana"]


def test_an_image_tells_everything_that_is_known_of_it(server):
    with server.client("Ann") as ann:
        found = ann.get("/review/api/image", params={"id": server.ids()[0]}).json()
        missing = ann.get("/review/api/image", params={"id": MISSING}).json()
        nobody = ann.get("/review/api/image", params={"id": "nobody"})
    assert (found["kind"], found["wnid"], found["stored"]) == ("candidate", "apple", True)
    assert found["frequencies"][0]["num_assignments"] == 10
    assert (missing["stored"], "missing.svg" in missing["full"]) == (False, True)
    assert nobody.status_code == 404
    assert json.loads(nobody.text)["problem"]


def test_an_image_is_served_with_its_content_in_the_address_and_kept_by_the_browser(server):
    with server.browser_client("Ann") as ann:
        item = ann.get("/review/api/candidates", params={"wnid": "apple", "sort": "id"}).json()["candidates"][-1]
        assert item["stored"]
        answer = ann.get(item["image"])
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
        assert "immutable" in answer.headers["cache-control"]
        again = ann.get(item["image"], headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert "immutable" not in ann.get("/review/images/display", params={"id": item["id"]}).headers["cache-control"]
        full = ann.get("/review/images/full", params={"id": item["id"]})
        assert full.status_code == 200


def test_images_of_a_remote_store_are_kept_in_a_local_folder(folder, tmp_path):
    import dataclasses
    from contextlib import closing

    from retest.images import content_hash
    from retest.store import open_blobs
    from retest.study import open_study
    from retest.web.review.images import ImageReader

    with closing(open_study(folder)) as opened:
        image = next(iter(opened.database.engine.connect().exec_driver_sql("select image_id from variants limit 1")))[0]
        reader = ImageReader(opened, tmp_path / "cache")
        with opened.database.read() as tables:
            variant = reader.find(tables, image, "display")
        first = reader.read(variant)
        gone = ImageReader(dataclasses.replace(opened, blobs=open_blobs("memory://", base=tmp_path)), tmp_path / "cache")
        assert gone.read(variant) == first
        assert content_hash(first) == variant.sha256
        open_blobs(str(tmp_path / "cache"), base=tmp_path).put(variant.blob_key, b"damaged")
        assert gone.read(variant) is None
        assert reader.read(variant) == first
        assert gone.read(variant) == first  # mended

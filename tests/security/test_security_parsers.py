"""Every parser of data from outside meets documents that are not what they should be: it answers, or says what is wrong.

A clear error is a :class:`RetestError`; anything else (KeyError, RecursionError, a hang, a crash) is a fault. What this suite has found
is kept as an example beside the parser.
"""

from __future__ import annotations

import json
import pickle
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import security_json as odd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retest.crowd.answers import read_answers, write_answers
from retest.crowd.hitfile import hits_from_json
from retest.crowd.taskserver import RequesterApi, SqliteTaskRepository
from retest.errors import RetestError
from retest.models import read_predictions, write_predictions
from retest.records import ClassInfo, Predictions
from retest.sampling import reviews_from_published, revision_from_published
from retest.sources import SearchParameters
from retest.sources.api import Clock
from retest.sources.commons import CommonsSource
from retest.sources.flickr import FlickrKey, FlickrSource
from retest.sources.limits import RetryParameters
from retest.sources.openverse import OpenverseSource
from retest.sources.table import TableSource
from retest.stages._archive import Archive
from retest.store import open_blobs
from retest.study import read_config

INFO = ClassInfo("n01443537", 1, ("goldfish",))
ANY_DATE = SearchParameters(min_date_taken="", max_date_taken="", min_date_uploaded="", max_date_uploaded="")
FEW = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


@dataclass(frozen=True)
class Parser:
    """One way in: a valid document, and what reads it."""

    valid: Any
    read: Callable[[bytes], object]
    is_json: bool = True


def _file(read: Callable[[Path], object], name: str) -> Callable[[bytes], object]:
    def run(data: bytes) -> object:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(data)
            return read(path)

    return run


def _text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: read(data.decode("utf-8", "surrogateescape"))


def _json(read: Callable[[Any], object]) -> Callable[[bytes], object]:
    """For readers that are given parsed JSON; what is no JSON is not theirs to refuse."""

    def run(data: bytes) -> object:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            return None
        return read(value)

    return run


class _Answers(httpx.BaseTransport):
    """A service that answers everything with the same bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=self.data, headers={"Content-Type": "application/json"})


def _searched(make: Callable[[httpx.BaseTransport], Any]) -> Callable[[bytes], object]:
    def run(data: bytes) -> object:
        source = make(_Answers(data))
        try:
            found = []
            for query in source.queries(INFO)[:1]:
                cursor = None
                for _ in range(3):
                    page = source.page(query, cursor)
                    found += page.photos
                    cursor = page.next_cursor
                    if cursor is None:
                        break
            return found
        finally:
            source.close()

    return run


NOW = Clock(monotonic_s=lambda: 0.0, sleep=lambda _s: None)
ONCE = RetryParameters(attempts=1)
PHOTO = {
    "id": "123", "owner": "o", "title": "t", "license": "4", "dateupload": "1354000000", "datetaken": "2012-12-01 10:00:00",
    "datetakenunknown": "0", "ownername": "n", "url_o": "https://x/1.jpg", "height_o": "768", "width_o": 1024, "media": "photo",
}  # fmt: skip
FLICKR = {"photos": {"page": 1, "pages": 1, "perpage": 500, "total": "1", "photo": [PHOTO]}, "stat": "ok"}
OPENVERSE = {
    "result_count": 1, "page_count": 1, "page": 1,
    "results": [{
        "id": "a", "title": "t", "url": "https://x/1.jpg", "foreign_landing_url": "https://x/1", "creator": "c", "license": "by",
        "license_version": "2.0", "provider": "flickr", "source": "flickr", "width": 640, "height": 480,
    }],
}  # fmt: skip
COMMONS = {
    "batchcomplete": True,
    "query": {"pages": [{"pageid": 7, "ns": 6, "title": "File:G.jpg", "index": 1, "imageinfo": [{
        "timestamp": "2012-12-01T10:00:00Z", "user": "U", "width": 4000, "height": 3000, "thumburl": "https://x/t.jpg", "thumbwidth": 1280,
        "thumbheight": 960, "url": "https://x/o.jpg", "descriptionurl": "https://x/w", "sha1": "0" * 40, "mime": "image/jpeg",
        "extmetadata": {"DateTimeOriginal": {"value": "2012-11-30 09:00:00"}, "Artist": {"value": "<b>x</b>"}},
    }]}]},
}  # fmt: skip
HITS = [{
    "uuid": "u", "wnid": "n1", "images_to_label": ["a"], "images_pos_control": ["b"], "images_neg_control": ["c"],
    "images_all": ["c", "a", "b"], "user": "u", "time": "2018-08-31 08:05:01.1+00:00", "submitted": True, "hit_id": "H", "hit_type_id": "T",
}]  # fmt: skip
REVISION = {
    "sampling_function": "sample_above_threshold", "target_size": 4, "min_num_annotations": 9, "near_duplicate_review_targets": {"l2": 1.0},
    "time_string": "2018-12-13_10:26:51_UTC", "username": "l", "seed": 7, "image_filenames": [["a", "n1"], ["b", "n2"]], "is_valid": False,
    "starting_from": "s-0.json", "output_filename": "s-1.json",
}  # fmt: skip
TOML = b'[study]\nname = "x"\nworkers = 2\n[neighbors]\nmetrics = ["l2"]\n[review]\ntargets = { l2 = 1.0 }\n[search]\nmax_images = 5\n'
TABLE = b"wnid,url,photo_id,title,width,height,date_taken,license\nn01443537,https://x/1.jpg,7,t,640,480,2012-01-31 09:00:00,4\n"


def _predictions() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.parquet"
        labels = np.zeros(3, np.int64)
        write_predictions(path, Predictions("d", "m", ("a", "b", "c"), labels, labels[:, None], notes=("n",)))
        return path.read_bytes()


def _table(path: Path) -> list[object]:
    source = TableSource(path, parameters=SearchParameters())
    return [source.page(query, None) for query in source.queries(INFO)]


def _snapshot(data: bytes) -> object:
    blobs = open_blobs("memory://", base=Path())
    name = "20260131T090000Z-00000000"
    blobs.put(f"snapshots/{name}.json", data)
    return Archive(blobs).read(name)


def _requester(value: Any) -> object:
    """The operation comes from a header, so it is text; the request is whatever JSON somebody posts."""
    operation = value.get("operation") if isinstance(value, dict) else "CreateHIT"
    request = value.get("request") if isinstance(value, dict) else value
    repository = SqliteTaskRepository(None)
    try:
        return RequesterApi(repository, now=lambda: 1.0).handle(operation if isinstance(operation, str) else "GetHIT", request)
    finally:
        repository.close()


PARSERS = {
    "study.toml": Parser(TOML, _file(read_config, "study.toml"), is_json=False),
    "HIT file": Parser(HITS, _text(lambda text: hits_from_json(text, file="f"))),
    "answers": Parser(
        write_answers([("selected", "[0]"), ("comment", "é<&>")]).encode(), _text(lambda t: read_answers(t, item="a")), is_json=False
    ),
    "revision": Parser(REVISION, _json(lambda value: revision_from_published(value, name="s-1"))),
    "class reviews": Parser({"n1": {"problematic": True, "reviewed": False}}, _json(lambda value: reviews_from_published("s-1", value))),
    "predictions": Parser(_predictions(), _file(read_predictions, "p.parquet"), is_json=False),
    "Flickr": Parser(
        FLICKR,
        _searched(lambda t: FlickrSource(FlickrKey("k" * 32, "s" * 16), parameters=ANY_DATE, transport=t, clock=NOW, retry=ONCE)),
    ),
    "Openverse": Parser(OPENVERSE, _searched(lambda t: OpenverseSource(parameters=ANY_DATE, transport=t, clock=NOW, retry=ONCE))),
    "Commons": Parser(
        COMMONS, _searched(lambda t: CommonsSource(parameters=ANY_DATE, contact="a@example.org", transport=t, clock=NOW, retry=ONCE))
    ),
    "table CSV": Parser(TABLE, _file(_table, "t.csv"), is_json=False),
    "table JSON": Parser([{"wnid": "n01443537", "url": "https://x/1.jpg", "photo_id": "7", "width": 1}], _file(_table, "t.json")),
    "backup": Parser(
        {
            "format": "retest-backup-1",
            "retest": "1",
            "study": "s",
            "user": "u",
            "time": "t",
            "rows": {"hits": 1},
            "sha256": "0",
            "database": [{"sha256": "0" * 64, "size_bytes": 1}],
            "files": {},
            "blob_list": [],
            "blobs": 0,
            "blob_bytes": 0,
        },
        _snapshot,
    ),
    "requester API": Parser(
        {
            "operation": "CreateHIT",
            "request": {
                "Title": "t",
                "Description": "d",
                "Reward": "0.10",
                "AssignmentDurationInSeconds": 60,
                "LifetimeInSeconds": 60,
                "MaxAssignments": 1,
                "Question": "<x/>",
                "UniqueRequestToken": "t",
            },
        },
        _json(_requester),
    ),
}


def readable(read: Callable[[bytes], object], data: bytes) -> None:
    try:
        read(data)
    except RetestError as error:
        if not error.problem:
            pytest.fail(f"no clear message: {str(error)[:500]!r}")


@pytest.mark.parametrize("name", PARSERS)
def test_the_valid_document_is_read(name: str):
    parser = PARSERS[name]
    data = odd.as_bytes(parser.valid) if parser.is_json else parser.valid
    if name in {"requester API", "backup"}:  # signed or checked beyond their form
        with pytest.raises(RetestError):
            parser.read(data)
    else:
        assert parser.read(data) is not None


@pytest.mark.parametrize("name", PARSERS)
def test_whatever_comes_is_read_or_refused_with_a_message(name: str):
    parser = PARSERS[name]
    strategy = odd.documents(parser.valid) if parser.is_json else odd.damaged(parser.valid)

    @FEW
    @given(strategy)
    def check(data: bytes) -> None:
        readable(parser.read, data)

    check()


# ------------------------------------------------------------------------------------------------ the published repository


@pytest.fixture(scope="module")
def tree_documents() -> dict[str, Any]:
    import sys

    sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
    import layout_tree

    return layout_tree.documents()


def _read_everything(folder: Path) -> None:
    from retest.benchmarks.imagenetv2 import PublishedData

    with PublishedData(folder) as published:
        published.content(hash_worker=lambda worker: worker)
        published.check()


def test_a_published_repository_with_a_damaged_file(tree_documents: dict[str, Any]):
    import layout_tree

    @FEW
    @given(st.data())
    def check(data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(tree_documents)))
        content = data.draw(odd.documents(tree_documents[path]))
        with tempfile.TemporaryDirectory() as folder:
            layout_tree.write_tree(Path(folder), changed={path: content}, with_arrays=False)
            readable(lambda _data: _read_everything(Path(folder)), b"")

    check()


def test_no_pickle_of_somebody_else_runs_anything(tmp_path: Path):
    from retest.benchmarks.plainpickle import read_plain_pickle

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "owned",))

    with pytest.raises(RetestError):
        read_plain_pickle(pickle.dumps({"data": Evil()}), item="x")
    assert not (tmp_path / "owned").exists()

    @FEW
    @given(odd.damaged(pickle.dumps({b"data": [1, 2, {"x": (3, "é")}], b"labels": [0, 1]}, protocol=2)))
    def check(data: bytes) -> None:
        readable(lambda d: read_plain_pickle(d, item="x"), data)

    check()

"""The Openverse client against a service in memory that follows the documented serializers."""

from __future__ import annotations

import json
import logging
import uuid

import httpx
import pytest

from retest.errors import SourceError
from retest.records import ClassInfo
from retest.sources import SearchParameters
from retest.sources.api import Clock
from retest.sources.limits import RetryParameters
from retest.sources.openverse import OpenverseSource
from retest.testing.sources import SourceContract, all_photos

INFO = ClassInfo("n01443537", 1, ("goldfish", "Carassius auratus"))
TOKEN = "token-that-nobody-may-see"


class Service(httpx.BaseTransport):
    """Anonymous pages of at most 20, 401 for more; pages up to ``page_count``."""

    def __init__(self, count: int = 55, *, token: str | None = None) -> None:
        self.token = token
        self.items = [self.item(n) for n in range(count)]
        self.log: list[str] = []
        self.answers: list[httpx.Response] = []
        self.now = 0.0

    def item(self, number: int) -> dict:
        return {
            "id": str(uuid.UUID(int=number)),
            "title": f"goldfish {number}",
            "url": f"https://images.example/{number}.jpg",
            "foreign_landing_url": f"https://example.org/{number}",
            "creator": "B. Photographer",
            "license": ("by", "by-sa", "cc0", "pdm", "by-nc-nd")[number % 5],
            "license_version": "1.0" if number % 5 in (2, 3) else "2.0",
            "license_url": "https://creativecommons.org/",
            "provider": "flickr",
            "source": "flickr",
            "attribution": "by B. Photographer",
            "width": 640,
            "height": 480,
        }

    def clock(self) -> Clock:
        def sleep(seconds: float) -> None:
            self.now += seconds

        return Clock(monotonic_s=lambda: self.now, sleep=sleep)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self.answers:
            return self.answers.pop(0)
        params = dict(request.url.params)
        size, page = int(params["page_size"]), int(params["page"])
        authorized = request.headers.get("Authorization") == f"Bearer {self.token}" and self.token is not None
        if "Authorization" in request.headers and not authorized:
            return httpx.Response(401, json={"detail": "Invalid token."})
        if size > (500 if authorized else 20):
            return httpx.Response(401, json={"detail": "page_size must be between 1 & 20 for unauthenticated requests."})
        found = [
            item
            for item in self.items
            if params["q"] == "goldfish" and item["license"] in params.get("license", item["license"]).split(",")
        ]
        self.log.append(str(request.url.params))
        shown = found[(page - 1) * size :][:size]
        return httpx.Response(
            200,
            json={"result_count": len(found), "page_count": -(-len(found) // size), "page_size": size, "page": page, "results": shown},
        )


class TestOpenverseContract(SourceContract):
    @pytest.fixture(autouse=True)
    def _service(self) -> None:
        self.service = Service()

    def make_source(self, parameters: SearchParameters) -> OpenverseSource:
        return OpenverseSource(parameters=parameters, transport=self.service, clock=self.service.clock())

    def class_info(self) -> ClassInfo:
        return INFO

    def photo_ids(self) -> list[str]:
        return [item["id"] for item in self.service.items]

    def request_log(self) -> list[str]:
        return self.service.log


def source(service: Service, parameters: SearchParameters | None = None, **options) -> OpenverseSource:
    return OpenverseSource(parameters=parameters, transport=service, clock=service.clock(), **options)


def test_what_is_kept_of_a_photo() -> None:
    service = Service()
    photo = all_photos(source(service), INFO)[1]
    assert (photo.photo_id, photo.url, photo.license) == (str(uuid.UUID(int=1)), "https://images.example/1.jpg", "cc-by-sa-2.0")
    assert (photo.owner, photo.title, photo.source_page) == ("B. Photographer", "goldfish 1", "https://example.org/1")
    assert (photo.width, photo.height) == (640, 480)
    assert photo.details["provider"] == "flickr"


def test_licences_are_asked_for_and_checked() -> None:
    service = Service()
    found = all_photos(source(service, SearchParameters(licenses=("cc-by-sa-2.0", "cc0-1.0", "pdm"))), INFO)
    assert {photo.license for photo in found} == {"cc-by-sa-2.0", "cc0-1.0", "pdm-1.0"}
    assert httpx.QueryParams(service.log[0])["license"] == "by-sa,cc0,pdm"
    assert all_photos(source(Service(), SearchParameters(licenses=("cc-by-sa-4.0",))), INFO) == []


def test_the_missing_dates_are_said_openly_once() -> None:
    service = Service()
    client = source(service)
    query = client.queries(INFO)[0]
    first = client.page(query, None)
    assert first.notes == ("Openverse tells no dates: the date window of [search] is not applied",)
    assert client.page(query, first.next_cursor).notes == ()


def test_the_anonymous_pace_is_20_per_minute() -> None:
    service = Service(400)
    all_photos(source(service), INFO)  # 20 pages and the empty answer for the second term
    assert 3.0 * 18 <= service.now <= 3.0 * 21


def test_a_token_gives_large_pages_and_is_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    service = Service(400, token=TOKEN)
    assert len(all_photos(source(service, token=TOKEN), INFO)) == 400
    assert len(service.log) == 2
    with pytest.raises(SourceError, match=r"refuses the access \(HTTP 401\)\. Unset OPENVERSE_TOKEN") as caught:
        all_photos(source(Service(token="another"), token=TOKEN), INFO)
    assert TOKEN not in f"{caught.value!r} {caplog.text}"


def test_a_search_begun_with_a_token_is_not_continued_with_other_pages() -> None:
    service = Service(1200, token=TOKEN)
    client = source(service, token=TOKEN)
    query = client.queries(INFO)[0]
    first = client.page(query, None)
    with pytest.raises(SourceError, match="begun with a token"):
        source(service).page(query, first.next_cursor)
    begun = source(service).page(query, None)
    assert len(client.page(query, begun.next_cursor).photos) == 20


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(429, headers={"Retry-After": "30"}, json={"detail": "Request was throttled."}),
        httpx.Response(200, text="<html></html>", headers={"Content-Type": "text/html"}),
        httpx.Response(200, json={"detail": "x"}),
        httpx.Response(200, json=[]),
        httpx.Response(503),
    ],
    ids=["429", "html", "no results", "list", "503"],
)
def test_passing_faults(answer: httpx.Response) -> None:
    service = Service()
    service.answers = [answer]
    assert len(all_photos(source(service), INFO)) == 55


def test_a_daily_limit_stops_to_be_continued() -> None:
    service = Service()
    service.answers = [httpx.Response(429, headers={"Retry-After": "40000"})]
    with pytest.raises(SourceError, match=r"asks to wait 40000 s \(HTTP 429\)\. Run the same command again later"):
        all_photos(source(service), INFO)


def test_answers_that_are_not_whole_do_no_harm() -> None:
    service = Service(0)
    odd = [
        {},
        {"id": 1},
        {"id": 2, "url": None},
        {"id": 3, "url": "javascript:x"},
        "x",
        None,
        {"id": 4, "url": "https://e.org", "width": "640"},
    ]
    service.answers = [httpx.Response(200, content=json.dumps({"results": odd, "page_count": "many"}))]
    client = source(service, retry=RetryParameters(attempts=1))
    page = client.page(client.queries(INFO)[0], None)
    assert [(p.photo_id, p.width, p.license) for p in page.photos] == [("4", None, None)]
    assert page.skipped == {"no_url": 3}
    assert page.next_cursor is None

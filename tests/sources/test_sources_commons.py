"""The Wikimedia Commons client against a service in memory that answers as the MediaWiki action API does."""

from __future__ import annotations

import random

import httpx
import pytest

from retest.errors import ConfigError, SourceError
from retest.records import ClassInfo
from retest.sources import SearchParameters
from retest.sources.api import Clock
from retest.sources.commons import CommonsSource
from retest.testing.sources import SourceContract, all_photos

INFO = ClassInfo("n01443537", 1, ("goldfish", "Carassius auratus"))
ANY_DATE = SearchParameters(min_date_taken="", max_date_taken="", min_date_uploaded="", max_date_uploaded="")


def item(number: int, **changes) -> dict:
    info = {
        "timestamp": "2012-12-01T10:00:00Z",
        "user": "Uploader",
        "size": 1,
        "width": 4000,
        "height": 3000,
        "thumburl": f"https://upload.example/thumb/{number}/1280px.jpg",
        "thumbwidth": 1280,
        "thumbheight": 960,
        "url": f"https://upload.example/{number}.jpg",
        "descriptionurl": f"https://commons.example/wiki/File:{number}.jpg",
        "sha1": f"{number:040x}",
        "mime": "image/jpeg",
        "extmetadata": {
            "DateTimeOriginal": {"value": "2012-11-30 09:00:00"},
            "LicenseShortName": {"value": "CC BY-SA 4.0"},
            "Artist": {"value": '<a href="//x">Jane <b>Doe</b></a>'},
        },
    }
    extra = changes.pop("extmetadata", {})
    info["extmetadata"] = info["extmetadata"] | extra
    return {"pageid": 1000 + number, "ns": 6, "title": f"File:Goldfish {number}.jpg", "imageinfo": [info | changes]}


class Service(httpx.BaseTransport):
    """Answers in parts: pages unordered, imageinfo of the last file of a page only after another ``continue``."""

    def __init__(self, items: list[dict]) -> None:
        self.items = items
        self.log: list[str] = []
        self.agents: set[str] = set()
        self.answers: list[httpx.Response] = []
        self.now = 0.0

    def clock(self) -> Clock:
        def sleep(seconds: float) -> None:
            self.now += seconds

        return Clock(monotonic_s=lambda: self.now, sleep=sleep)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self.answers:
            return self.answers.pop(0)
        params = dict(request.url.params)
        self.agents.add(request.headers["User-Agent"])
        self.log.append(str(request.url.params))
        offset, size = int(params.get("gsroffset", 0)), int(params["gsrlimit"])
        found = self.items if params["gsrsearch"].startswith("goldfish ") else []
        pages = [dict(page, index=offset + rank + 1) for rank, page in enumerate(found[offset : offset + size])]
        answer: dict = {"batchcomplete": True}
        late = [page["title"] for page in pages[-1:] if len(pages) > 1]
        if "iicontinue" in params:
            pages = [page if page["title"] in late else {k: v for k, v in page.items() if k != "imageinfo"} for page in pages]
        elif late:
            pages = [page if page["title"] not in late else {k: v for k, v in page.items() if k != "imageinfo"} for page in pages]
            answer = {"continue": {"iicontinue": late[0], "gsroffset": offset, "continue": "gsroffset||"}}
        if "continue" not in answer and offset + size < len(found):
            answer["continue"] = {"gsroffset": offset + size, "continue": "gsroffset||"}
        random.Random(offset).shuffle(pages)
        if pages:
            answer["query"] = {"pages": pages}
        return httpx.Response(200, json=answer)


def source(service: Service, parameters: SearchParameters = ANY_DATE, **options) -> CommonsSource:
    return CommonsSource(contact="someone@example.org", parameters=parameters, transport=service, clock=service.clock(), **options)


class TestCommonsContract(SourceContract):
    @pytest.fixture(autouse=True)
    def _service(self) -> None:
        self.service = Service([item(n) for n in range(130)])

    def make_source(self, parameters: SearchParameters) -> CommonsSource:
        return source(self.service, parameters)

    def class_info(self) -> ClassInfo:
        return INFO

    def photo_ids(self) -> list[str]:
        return [str(page["pageid"]) for page in self.service.items]

    def request_log(self) -> list[str]:
        return self.service.log


def test_the_order_is_that_of_the_search() -> None:
    photos = all_photos(source(Service([item(n) for n in range(130)])), INFO)
    assert [int(photo.photo_id) for photo in photos] == list(range(1000, 1130))


def test_large_files_are_taken_at_a_standard_width() -> None:
    small = item(1, width=1280, height=960, thumburl="https://upload.example/x.jpg")
    large, little = all_photos(source(Service([item(0), small])), INFO)
    assert (large.url_kind, large.url, large.width, large.height) == ("thumb_1280", "https://upload.example/thumb/0/1280px.jpg", 1280, 960)
    assert large.details == {"file_sha1": "0" * 40, "original_url": "https://upload.example/0.jpg"}
    assert (little.url_kind, little.url, little.width) == ("original", "https://upload.example/1.jpg", 1280)


def test_attribution_is_plain_text() -> None:
    (photo,) = all_photos(source(Service([item(7)])), INFO)
    assert (photo.owner, photo.license, photo.title) == ("Jane Doe", "cc-by-sa-4.0", "Goldfish 7.jpg")
    assert (photo.date_taken, photo.date_uploaded) == ("2012-11-30 09:00:00", "2012-12-01 10:00:00")
    assert photo.source_page == "https://commons.example/wiki/File:7.jpg"


def test_windows_types_and_licences_are_checked_and_counted() -> None:
    items = [
        item(0),
        item(1, timestamp="2013-07-12T00:00:00Z"),
        item(2, extmetadata={"DateTimeOriginal": {"value": "2012:07:10 23:59:59"}}),
        item(3, extmetadata={"DateTimeOriginal": {"value": "about <i>1900</i>"}}),
        item(4, mime="image/svg+xml"),
        item(5, extmetadata={"LicenseShortName": {"value": "CC0"}}),
        item(6, url=None, thumburl=None),
        item(7, mime=["image/jpeg"]),
    ]
    client = source(Service(items), SearchParameters(licenses=("cc-by-sa",)))
    query = client.queries(INFO)[0]
    pages = [client.page(query, None)]
    while pages[-1].next_cursor:
        pages.append(client.page(query, pages[-1].next_cursor))
    assert [p.photo_id for page in pages for p in page.photos] == ["1000"]
    counts: dict[str, int] = {}
    for page in pages:
        for reason, number in page.skipped.items():
            counts[reason] = counts.get(reason, 0) + number
    assert counts == {
        "outside_upload_window": 1,
        "outside_taken_window": 1,
        "no_taken_date": 1,
        "not_a_photo_type": 2,
        "license_not_wanted": 1,
        "no_url": 1,
    }


@pytest.mark.parametrize(
    ("sort", "sent", "noted"),
    [
        ("date-posted-asc", "create_timestamp_asc", False),
        ("date-posted-desc", "create_timestamp_desc", False),
        ("date-taken-asc", "relevance", True),
    ],
)
def test_the_order_is_asked_for_or_refused_openly(sort: str, sent: str, noted: bool) -> None:
    service = Service([item(0)])
    client = source(service, SearchParameters(sort=sort))
    page = client.page(client.queries(INFO)[0], None)
    assert httpx.QueryParams(service.log[0])["gsrsort"] == sent
    assert bool(page.notes) == noted


def test_the_contact_is_required_and_sent() -> None:
    service = Service([])
    all_photos(source(service), INFO)
    assert service.agents == {"retest (someone@example.org)"}
    for contact in ("", "  ", "a\nb: c", "ä@example.org"):
        with pytest.raises(ConfigError, match=r"requires a contact\. Set RETEST_CONTACT"):
            CommonsSource(contact=contact)


@pytest.mark.parametrize("code", ["maxlag", "ratelimited"])
def test_a_busy_service_is_asked_again(code: str) -> None:
    service = Service([item(0)])
    service.answers = [httpx.Response(200, json={"error": {"code": code, "info": "wait"}}, headers={"Retry-After": "5"})]
    assert len(all_photos(source(service), INFO)) == 1
    assert service.now >= 5.0


def test_a_refused_search_stops() -> None:
    service = Service([])
    service.answers = [httpx.Response(200, json={"error": {"code": "badvalue", "info": "no such sort"}})]
    with pytest.raises(SourceError, match=r"refuses the search \(badvalue: no such sort\)"):
        all_photos(source(service), INFO)

"""The real Flickr client against the shipped fake server, over HTTP."""

from __future__ import annotations

import dataclasses
import datetime
import json
import logging
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from retest.errors import ConfigError, SourceError
from retest.records import ClassInfo
from retest.sources import FoundPhoto, SearchParameters, flickr, flickr_windows
from retest.sources.api import Clock
from retest.sources.flickr import FlickrKey, FlickrSource, read_flickr_key
from retest.sources.licenses import FLICKR_LICENSES, creative_commons
from retest.sources.limits import RetryParameters
from retest.testing.flickr import FAULTS, FakeFlickr, FakePhoto, FlickrManners, sample_photos
from retest.testing.sources import SourceContract, all_photos, walk

GOLDFISH = ClassInfo("n01443537", 1, ("goldfish", "Carassius auratus"), parent_terms=("cyprinid", "fish"))
KEY = "0123456789abcdef-secret-key"
OPEN = SearchParameters(min_date_taken="", max_date_taken="", min_date_uploaded="", max_date_uploaded="")


class FastClock:
    """A clock that sleeps by moving on; remembers how long it slept."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def clock(self) -> Clock:
        epoch = datetime.datetime.now(datetime.UTC)
        return Clock(monotonic_s=lambda: self.now, sleep=self.sleep, utc_now=lambda: epoch + datetime.timedelta(seconds=self.now))


def client(
    server: FakeFlickr, parameters: SearchParameters = OPEN, *, key: str = KEY, fast: FastClock | None = None, **options
) -> FlickrSource:
    return FlickrSource(
        FlickrKey(key), parameters=parameters, url=server.url, clock=(fast or FastClock()).clock(), timeout_s=0.5, **options
    )


def collection() -> list[FakePhoto]:
    return sample_photos("goldfish", 1200) + sample_photos("carassius auratus", 7, first_id=8_000_000_000)


def chain_text(error: BaseException | None) -> str:
    """Everything that the error and what led to it say of themselves."""
    return "" if error is None else f"{error!r} {error} {vars(error)} {chain_text(error.__cause__ or error.__context__)}"


MANNERS = {
    "well-behaved": FlickrManners(),
    "totals too low": FlickrManners(total_factor=0.2),
    "totals too high": FlickrManners(total_factor=4.0),
    "repeats": FlickrManners(repeat_every=40),
}


@pytest.mark.parametrize("manners", MANNERS.values(), ids=MANNERS)
class TestFlickrContract(SourceContract):
    @pytest.fixture(autouse=True)
    def _server(self, manners: FlickrManners, monkeypatch: pytest.MonkeyPatch):
        # A small part of the service's numbers, so that many pages and windows are walked quickly.
        monkeypatch.setattr(flickr, "PAGE_SIZE", 50)
        for name, value in (("PAGE_SIZE", 50), ("RESULT_CAP", 200), ("SAFE_TOTAL", 175)):
            monkeypatch.setattr(flickr_windows, name, value)
        manners = dataclasses.replace(manners, result_cap=200)
        self.photos = sample_photos("goldfish", 230) + sample_photos("carassius auratus", 7, first_id=8_000_000_000)
        with FakeFlickr(self.photos, key=KEY, manners=manners) as self.server:
            yield

    def make_source(self, parameters: SearchParameters) -> FlickrSource:
        return client(self.server, parameters)

    def parameters(self) -> SearchParameters:
        return OPEN

    def class_info(self) -> ClassInfo:
        return GOLDFISH

    def photo_ids(self) -> list[str]:
        return [photo.id for photo in self.photos]

    def request_log(self) -> list[str]:
        return self.server.log


def ids(photos: list[FoundPhoto]) -> list[str]:
    return [photo.photo_id for photo in photos]


def questions(server: FakeFlickr) -> list[dict[str, str]]:
    return [{k: v[0] for k, v in parse_qs(line, keep_blank_values=True).items()} for line in server.log]


def test_a_search_beyond_the_cap_is_cut_into_windows_and_complete() -> None:
    photos = sample_photos("goldfish", 9_500)
    with FakeFlickr(photos, key=KEY, manners=FlickrManners(total_factor=0.95)) as server:
        source = client(server, SearchParameters())
        found = ids(all_photos(source, ClassInfo("n1", 0, ("goldfish",))))
        assert found == [photo.id for photo in photos]  # in upload order, none twice
        windows = {(q["min_upload_date"], q["max_upload_date"]) for q in questions(server)}
        assert len(windows) == 7  # the year, its halves, its quarters
        assert all(int(q["page"]) <= 8 for q in questions(server))


def test_without_bounds_the_windows_are_found_too() -> None:
    photos = sample_photos("goldfish", 4_200)
    with FakeFlickr(photos, key=KEY) as server:
        found = ids(all_photos(client(server), ClassInfo("n1", 0, ("goldfish",))))
    assert sorted(found) == sorted(photo.id for photo in photos)


def test_dates_are_sent_under_the_names_that_flickr_knows() -> None:
    with FakeFlickr(collection(), key=KEY) as server:
        source = client(server, SearchParameters(max_images=100, licenses=("cc-by", "cc0"), parent_term=True, join_compounds=True))
        list(walk(source, source.queries(GOLDFISH)[1]))
        (question,) = questions(server)
    extras = question.pop("extras").split(",")
    assert question == {
        "method": "flickr.photos.search",
        "format": "json",
        "nojsoncallback": "1",
        "text": "Carassiusauratuscyprinid",
        "sort": "date-posted-asc",
        "media": "photos",
        "content_type": "1",
        "safe_search": "1",
        "per_page": "500",
        "page": "1",
        "license": "4,9,11",
        "min_upload_date": str(int(datetime.datetime(2012, 7, 11, tzinfo=datetime.UTC).timestamp())),
        "max_upload_date": str(int(datetime.datetime(2013, 7, 11, 23, 59, 59, tzinfo=datetime.UTC).timestamp())),
        "min_taken_date": "2012-07-11 00:00:00",
        "max_taken_date": "2013-07-11 23:59:59",
    }
    assert {"url_o", "url_k", "url_h", "url_l", "url_c", "url_z", "url_m", "license", "date_upload", "date_taken", "owner_name"} <= set(
        extras
    )


def test_photos_outside_the_window_are_dropped_whatever_the_service_says() -> None:
    inside = int(datetime.datetime(2012, 12, 1, tzinfo=datetime.UTC).timestamp())
    last = int(datetime.datetime(2013, 7, 11, 23, 59, 59, tzinfo=datetime.UTC).timestamp())
    photos = [
        FakePhoto("1", "goldfish", inside, "2012-12-01 10:00:00"),
        FakePhoto("2", "goldfish", inside - 3 * 365 * 86_400, "2012-12-01 10:00:00"),
        FakePhoto("3", "goldfish", last, "2013-07-11 23:59:59"),
        FakePhoto("4", "goldfish", last + 1, "2013-07-11 23:59:59"),
    ]
    with FakeFlickr(photos, key=KEY, manners=FlickrManners(ignores_upload_window=True)) as server:
        source = client(server, SearchParameters())
        page = source.page(source.queries(ClassInfo("n1", 0, ("goldfish",)))[0], None)
    assert ids(list(page.photos)) == ["1", "3"]
    assert page.skipped == {"outside_upload_window": 2}


@pytest.mark.parametrize("moment", [10**14, -(10**14), 10**30])
def test_an_upload_time_that_cannot_be_is_none(moment: int) -> None:
    photos = [FakePhoto("1", "goldfish", moment, "2012-12-01 10:00:00"), FakePhoto("2", "goldfish", 10, "2012-12-01 10:00:00")]
    with FakeFlickr(photos, key=KEY) as server:
        source = client(server)
        page = source.page(source.queries(ClassInfo("n1", 0, ("goldfish",)))[0], None)
    assert {photo.photo_id: photo.date_uploaded for photo in page.photos} == {"1": None, "2": "1970-01-01 00:00:10"}


def test_the_best_size_is_taken_and_its_width_and_height() -> None:
    sizes = {
        "1": {"o": (4000, 3000), "l": (1024, 768)},
        "2": {"h": (1600, 1200), "l": (1024, 768), "m": (500, 375)},
        "3": {"m": (500, 375)},
        "4": {},
    }
    photos = [FakePhoto(i, "goldfish", 10 * int(i), "2012-12-01 10:00:00", sizes=s, taken_unknown=i == "3") for i, s in sizes.items()]
    with FakeFlickr(photos, key=KEY) as server:
        source = client(server)
        query = source.queries(ClassInfo("n1", 0, ("goldfish",)))[0]
        page, again = source.page(query, None), source.page(query, None)
    assert page == again  # numbers came as strings the first or the second time
    assert [(p.url_kind, p.width, p.height) for p in page.photos] == [("url_o", 4000, 3000), ("url_h", 1600, 1200), ("url_m", 500, 375)]
    assert page.skipped == {"no_url": 1}
    first, _, third = page.photos
    assert (first.license, first.owner, first.title) == ("cc-by-2.0", "A. Photographer", "goldfish")
    assert first.source_page == "https://www.flickr.com/photos/12345678@N00/1"
    assert (first.date_taken, first.date_uploaded) == ("2012-12-01 10:00:00", "1970-01-01 00:00:10")
    assert first.details == {"owner_id": "12345678@N00"}
    assert third.details["date_taken_unknown"] == "1"


def test_licenses_are_checked_on_every_photo() -> None:
    photos = [FakePhoto(str(n), "goldfish", n, "2012-12-01 10:00:00", license=str(n)) for n in range(17)]
    with FakeFlickr(photos, key=KEY) as server:
        source = client(
            server,
            SearchParameters(
                licenses=("cc-by-sa",), **dict.fromkeys(("min_date_taken", "max_date_taken", "min_date_uploaded", "max_date_uploaded"), "")
            ),
        )
        found = all_photos(source, ClassInfo("n1", 0, ("goldfish",)))
    assert {photo.license for photo in found} == {"cc-by-sa-2.0", "cc-by-sa-4.0"}
    with pytest.raises(ConfigError, match=r"^licenses: Flickr has none of gpl-3.0"):
        FlickrSource(FlickrKey("k"), parameters=SearchParameters(licenses=("gpl-3.0",)))


RECORDED = {
    "0": "All Rights Reserved",
    "4": "CC BY 2.0",
    "6": "CC BY-ND 2.0",
    "3": "CC BY-NC-ND 2.0",
    "2": "CC BY-NC 2.0",
    "1": "CC BY-NC-SA 2.0",
    "5": "CC BY-SA 2.0",
    "7": "No known copyright restrictions",
    "8": "United States Government Work",
    "9": "Public Domain Dedication (CC0)",
    "10": "Public Domain Mark",
    "11": "CC BY 4.0",
    "12": "CC BY-SA 4.0",
    "13": "CC BY-ND 4.0",
    "14": "CC BY-NC 4.0",
    "15": "CC BY-NC-SA 4.0",
    "16": "CC BY-NC-ND 4.0",
}
"""What flickr.photos.licenses.getInfo answered on 19 June 2025, recorded by the Flickr Foundation (flickr-photos-api, test cassettes)."""


def test_license_numbers_are_those_of_the_service() -> None:
    assert FLICKR_LICENSES.keys() == RECORDED.keys()
    ours = {number: creative_commons(text) for number, text in RECORDED.items() if text.startswith("CC BY")}
    assert ours == {number: FLICKR_LICENSES[number] for number in ours}
    others = {number: name for number, name in FLICKR_LICENSES.items() if number not in ours}
    assert others == {
        "0": "all-rights-reserved",
        "7": "no-known-copyright-restrictions",
        "8": "us-government-work",
        "9": "cc0-1.0",
        "10": "pdm-1.0",
    }


def test_a_license_number_that_is_new_is_kept_as_it_is() -> None:
    with FakeFlickr([FakePhoto("1", "goldfish", 1, "2012-12-01 10:00:00", license="17")], key=KEY) as server:
        (photo,) = all_photos(client(server), dataclasses.replace(GOLDFISH, synset=("goldfish",)))
    assert photo.license == "flickr-17"


@pytest.mark.parametrize("sort", ["date-posted-desc", "date-taken-asc", "date-taken-desc", "relevance", "interestingness-desc"])
def test_every_sort_order_beyond_the_cap(sort: str) -> None:
    photos = sample_photos("goldfish", 5_000)
    with FakeFlickr(photos, key=KEY) as server:
        source = client(server, SearchParameters(sort=sort))
        query = source.queries(ClassInfo("n1", 0, ("goldfish",)))[0]
        pages = [page for _, page in walk(source, query)]
        found = [photo for page in pages for photo in page.photos]
    assert sorted(ids(found)) == sorted(photo.id for photo in photos)
    notes = [note for page in pages for note in page.notes]
    if sort.startswith("date-"):
        dates = [photo.date_taken if "taken" in sort else photo.date_uploaded for photo in found]
        assert dates == sorted(dates, reverse=sort.endswith("desc"))
        assert notes == []
    else:
        assert any("holds within date windows only" in note for note in notes)


@pytest.mark.parametrize("fault", FAULTS)
def test_every_passing_fault_is_survived_without_losing_a_photo(fault: str) -> None:
    with FakeFlickr(collection(), key=KEY, stall_s=3.0) as server:
        server.fail(fault, fault)
        found = ids(all_photos(client(server), GOLDFISH))
        assert sorted(found) == sorted(photo.id for photo in collection())
        assert server.asked == len(server.log) + 2


@pytest.mark.parametrize(("fault", "least"), [("429", 1.0), ("429-date", 0.5)])
def test_retry_after_is_respected(fault: str, least: float) -> None:
    fast = FastClock()
    with FakeFlickr(collection(), key=KEY) as server:
        server.fail(fault)
        source = client(server, fast=fast, retry=RetryParameters(first_wait_s=0.0))
        source.page(source.queries(GOLDFISH)[1], None)
    assert max(fast.slept) >= least


def test_a_service_that_stays_down_is_given_up_and_can_be_continued() -> None:
    with FakeFlickr(collection(), key=KEY) as server:
        source = client(server, retry=RetryParameters(attempts=3))
        query = source.queries(GOLDFISH)[0]
        first = source.page(query, None)
        server.fail("500", "fail-105", "html")
        with pytest.raises(
            SourceError, match=r"^Flickr failed 3 times, last with: an answer that is not JSON \(text/html\)\. Run the same command"
        ):
            source.page(query, first.next_cursor)
        rest = [photo for _, page in walk(client(server), query, first.next_cursor) for photo in page.photos]
    assert len(first.photos) + len(rest) == 1200


def test_a_wrong_key_stops_at_once_with_the_remedy_and_is_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with FakeFlickr(collection(), key="another") as server:
        source = client(server)
        with pytest.raises(SourceError, match=r"does not know this API key \(error 100\)\. Set FLICKR_API_KEY") as caught:
            source.page(source.queries(GOLDFISH)[0], None)
        assert server.asked == 1
    assert KEY not in chain_text(caught.value)
    assert "services/rest" in caplog.text  # the address is logged by the HTTP client
    assert KEY not in caplog.text
    assert KEY not in repr(FlickrKey(KEY, KEY))


@pytest.mark.parametrize("fault", ["fail-100", "fail-3", "fail-116", "400", "404", "fail-105", "disconnect"])
def test_no_error_text_holds_the_key(fault: str) -> None:
    with FakeFlickr(collection(), key=KEY) as server:
        if fault.isdigit():
            server._faults.append(fault)
        else:
            server.fail(fault)
        source = client(server, retry=RetryParameters(attempts=1))
        with pytest.raises(SourceError) as caught:
            source.page(source.queries(GOLDFISH)[0], None)
    assert KEY not in chain_text(caught.value)


def test_errors_that_asking_again_cannot_mend_stop_at_once() -> None:
    for fault in ("fail-3", "fail-116"):
        with FakeFlickr(collection(), key=KEY) as server:
            server.fail(fault)
            source = client(server)
            with pytest.raises(SourceError, match="refuses the search"):
                source.page(source.queries(GOLDFISH)[0], None)
            assert server.asked == 1


def test_a_service_that_asks_for_an_hour_is_left_alone() -> None:
    with FakeFlickr(collection(), key=KEY) as server:
        server.fail("429")
        source = client(server, retry=RetryParameters(longest_retry_after_s=0.5))
        with pytest.raises(SourceError, match="asks to wait 1 s"):
            source.page(source.queries(GOLDFISH)[0], None)


def test_the_pace_is_3600_questions_per_hour() -> None:
    fast = FastClock()
    with FakeFlickr(sample_photos("goldfish", 30), key=KEY) as server:
        source = client(server, fast=fast)
        query = source.queries(ClassInfo("n1", 0, ("goldfish",)))[0]
        for _ in range(65):
            source.page(query, None)
    assert 59.0 <= fast.now <= 61.0  # five at once, then one per second


def test_no_question_is_asked_for_a_term_without_a_share() -> None:
    with FakeFlickr(collection(), key=KEY) as server:
        source = client(server, SearchParameters(max_images=1))
        page = source.page(source.queries(GOLDFISH)[0], None)
        assert server.asked == 0
    assert (page.photos, page.next_cursor) == ((), None)
    assert page.notes == ("max_images leaves no results for this term",)


def test_the_key_comes_from_the_environment_or_the_published_kind_of_file(tmp_path: Path) -> None:
    assert read_flickr_key({"FLICKR_API_KEY": " k ", "FLICKR_API_SECRET": "s"}) == FlickrKey("k", "s")
    path = tmp_path / "flickr_api_keys.json"
    path.write_text(json.dumps(["k", "s"]))
    assert read_flickr_key({}, key_file=path) == FlickrKey("k", "s")
    with pytest.raises(ConfigError, match=r"there is no key for Flickr\. Set FLICKR_API_KEY"):
        read_flickr_key({})
    for text in ('{"key": "topsecret"}', '["topsecret", ""]', "topsecret", '["a", "b", "topsecret"]'):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"is not a JSON list \[key, secret\]") as caught:
            read_flickr_key({}, key_file=path)
        assert "topsecret" not in chain_text(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_flickr_key({}, key_file=tmp_path / "none.json")


def test_the_fake_knows_its_faults() -> None:
    with pytest.raises(ConfigError, match="there is no fault 'explode'"):
        FakeFlickr([]).fail("explode")

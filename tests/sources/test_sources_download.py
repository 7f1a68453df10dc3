"""The downloader against a local server that fails in every way."""

from __future__ import annotations

import hashlib
import threading
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from retest.errors import ConfigError, ImageError
from retest.images import ImageParameters, decode_image
from retest.records import Candidate
from retest.sources.download import FAILURE_REASONS, Downloaded, Downloader, DownloadParameters, Failed
from retest.sources.fetching import opted_out
from retest.testing.imageserver import MANNERS, FaultyImageServer, mixed_manners, sample_image

FAST = {
    "allow_private": True,
    "read_timeout_s": 0.3,
    "total_timeout_s": 1.0,
    "first_wait_s": 0.02,
    "max_bytes": 500_000,
    "max_buffered_bytes": 2_000_000,
    "host_rate_per_s": 1e6,
    "attempts": 3,
}


def candidate(url: str, number: int = 0) -> Candidate:
    return Candidate(hashlib.sha1(f"{number}{url}".encode()).hexdigest(), "n1", "table", str(number), url)


def candidates(server: FaultyImageServer) -> list[Candidate]:
    return [candidate(server.url(number), number) for number in range(len(server.manners))]


def downloader(**changes) -> Downloader:
    return Downloader(DownloadParameters(**FAST | changes), user_agent="retest (tests)")


def final_reason(outcome: Downloaded | Failed) -> str | None:
    if isinstance(outcome, Failed):
        return outcome.reason
    try:
        decode_image(outcome.data, item=outcome.candidate.id, parameters=ImageParameters(max_pixels=10_000_000))
    except ImageError as error:
        return error.reason
    return None


@pytest.mark.parametrize("manner", [m for m in MANNERS if m not in ("stall-once", "drip")])
def test_every_manner_ends_as_it_should(manner: str) -> None:
    with FaultyImageServer([manner, "ok"]) as server:
        outcomes = {o.candidate.photo_id: o for o in downloader().run(candidates(server))}
    assert final_reason(outcomes["1"]) is None  # a fault stays with its own image
    assert final_reason(outcomes["0"]) == MANNERS[manner]
    if isinstance(outcomes["0"], Failed):
        assert outcomes["0"].reason in FAILURE_REASONS
        assert outcomes["0"].temporary == (manner == "always-500")
    assert server.asked[0] == (3 if manner == "always-500" else 2 if manner.endswith("-once") else 6 if manner == "redirect-loop" else 1)


def test_hosts_that_stall_or_drip_are_left_in_time() -> None:
    with FaultyImageServer(["stall-once", "drip"], stall_s=0.5) as server:
        quick = downloader(attempts=2, read_timeout_s=0.2)
        drip = downloader(attempts=1, read_timeout_s=5.0, total_timeout_s=0.4)
        (stalled,) = quick.run(candidates(server)[:1])
        (dripped,) = drip.run(candidates(server)[1:])
    assert isinstance(stalled, Downloaded)
    assert stalled.attempts == 2
    assert isinstance(dripped, Failed)
    assert (dripped.reason, dripped.temporary) == ("timeout", True)


def test_many_images_with_every_fault_give_exactly_the_good_ones() -> None:
    manners = mixed_manners(200, seed=1, slow=False)
    with FaultyImageServer(manners) as server:
        outcomes = list(downloader().run(iter(candidates(server))))
    assert sorted(int(o.candidate.photo_id) for o in outcomes) == list(range(200))
    assert {int(o.candidate.photo_id): final_reason(o) for o in outcomes} == {n: MANNERS[m] for n, m in enumerate(manners)}
    for outcome in outcomes:
        if isinstance(outcome, Downloaded) and manners[int(outcome.candidate.photo_id)] == "ok":
            image = decode_image(outcome.data, item="x").image
            assert image.size == sample_image(int(outcome.candidate.photo_id)).size


def test_a_run_that_is_stopped_and_begun_again_ends_with_the_same_images() -> None:
    manners = mixed_manners(80, seed=2, slow=False)
    with FaultyImageServer(manners) as server:
        everything = candidates(server)
        done: dict[str, str | None] = {}
        for _ in range(30):
            run = downloader().run(c for c in everything if c.id not in done)
            for number, outcome in enumerate(run):
                if number == 14:
                    run.close()  # like a kill: what is on its way is lost
                    break
                if not (isinstance(outcome, Failed) and outcome.temporary):
                    done[outcome.candidate.id] = final_reason(outcome)
    expected = {c.id: MANNERS[m] for c, m in zip(everything, manners, strict=True) if m != "always-500"}
    assert done == expected


def test_nothing_private_is_reached_unless_allowed() -> None:
    with FaultyImageServer(["ok"]) as server:
        port = server.root.rsplit(":", 1)[1]
        urls = [
            server.url(0),
            f"http://localhost:{port}/image/0.jpg",
            f"http://2130706433:{port}/image/0.jpg",
            f"http://[::ffff:127.0.0.1]:{port}/image/0.jpg",
        ]
        outcomes = list(downloader(allow_private=False).run(candidate(url, n) for n, url in enumerate(urls)))
        assert {o.reason for o in outcomes if isinstance(o, Failed)} == {"private_address"}
        assert len(outcomes) == 4
        assert server.asked[0] == 0


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.org/a.jpg",
        "photo.jpg",
        "",
        "http://",
        "http://user:secret@example.org/a.jpg",
        "http://exa mple.org/",
        "http://[::1/",
        "\x00",
        "http://127.0.0.1:999999/a.jpg",
        "http://127.0.0.1:-1/a.jpg",
        "http://xn--/a.jpg",
    ],
)
def test_unusable_addresses_are_failures_not_crashes(url: str) -> None:
    (outcome,) = downloader().run([candidate(url)])
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.temporary) == ("bad_url", False)
    assert "secret" not in outcome.detail


def test_what_a_host_answers_ends_its_own_image_only() -> None:
    """A redirect to a port or a name that there cannot be, and a Retry-After of the far future in an impossible time zone."""

    class Host(BaseHTTPRequestHandler):
        answers: ClassVar = {
            "/port": (302, {"Location": "http://127.0.0.1:999999/"}),
            "/name": (302, {"Location": "http://xn--/"}),
            "/wait": (503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 +9999999999999"}),
            "/good": (200, {}),
        }

        def do_GET(self) -> None:
            status, headers = self.answers[self.path]
            self.send_response(status)
            for name, value in {"Content-Length": "1", **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"x")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Host) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        urls = [f"http://127.0.0.1:{server.server_port}{path}" for path in Host.answers]
        outcomes = {o.candidate.url: o for o in downloader(attempts=2).run(map(candidate, urls))}
        server.shutdown()
    assert [final_outcome(outcomes[url]) for url in urls] == ["bad_url", "bad_url", "server_error", b"x"]


def final_outcome(outcome: Downloaded | Failed) -> str | bytes:
    return outcome.reason if isinstance(outcome, Failed) else outcome.data


def test_an_unknown_host_is_a_temporary_failure() -> None:
    async def nowhere(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    loader = Downloader(DownloadParameters(**FAST), resolver=nowhere)
    (outcome,) = loader.run([candidate("https://photos.example/1.jpg")])
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.temporary, outcome.attempts) == ("connection_failed", True, 3)


def test_candidates_are_read_only_as_fast_as_outcomes_are_taken() -> None:
    read: list[int] = []
    thread = threading.get_ident()

    def source(server: FaultyImageServer) -> Iterator[Candidate]:
        for item in candidates(server):
            assert threading.get_ident() == thread  # a database connection would insist on it
            read.append(1)
            yield item

    with FaultyImageServer(["ok"] * 60) as server:
        taken = 0
        for _ in downloader(outstanding=5).run(source(server)):
            taken += 1
            assert len(read) <= taken + 5
    assert taken == 60


def test_waiting_bytes_are_bounded() -> None:
    tracemalloc.start()
    with FaultyImageServer(["endless"] * 40, large_bytes=2_000_000) as server:
        outcomes = list(downloader(max_bytes=1_000_000, max_buffered_bytes=3_000_000).run(candidates(server)))
        _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert {o.reason for o in outcomes if isinstance(o, Failed)} == {"too_many_bytes"}
    assert peak < 25_000_000  # 40 at once without a budget would be 40 MB and more


def test_hosts_are_not_asked_more_than_allowed_at_once() -> None:
    with FaultyImageServer(["ok"] * 60) as server:
        assert len(list(downloader(per_host=3, at_once=50).run(candidates(server)))) == 60
        assert server.most_at_once <= 3


def test_connections_are_used_again() -> None:
    with FaultyImageServer(["ok", "not-found", "redirect", "opted-out"] * 15) as server:
        assert len(list(downloader(per_host=4).run(candidates(server)))) == 60
        assert server.connections <= 8  # 75 requests, four at once; an answer that was not read to its end costs a connection


def test_a_connection_that_the_host_closed_meanwhile_costs_no_image() -> None:
    with FaultyImageServer(["no-length", "ok"] * 20) as server:
        outcomes = list(downloader(per_host=2).run(candidates(server)))
    assert all(isinstance(outcome, Downloaded) and outcome.attempts == 1 for outcome in outcomes)


def test_opt_outs_are_a_setting() -> None:
    with FaultyImageServer(["opted-out"]) as server:
        (kept_out,) = downloader().run(candidates(server))
        (taken,) = downloader(opt_out=()).run(candidates(server))
    assert isinstance(kept_out, Failed)
    assert kept_out.reason == "opted_out"
    assert isinstance(taken, Downloaded)


@pytest.mark.parametrize(
    ("values", "out"),
    [
        ([], False),
        (["noai"], True),
        (["NoIndex"], True),
        (["max-snippet:-1, noai"], True),
        (["nofollow", "noimageindex"], True),
        (["googlebot: noindex, noai"], False),
        (["retest: noai"], True),
        (["*: noai"], True),
        (["googlebot: nofollow", "noai"], True),
        (["unavailable_after: 25 Jun 2010 15:00:00 PST, noai"], True),
        (["all"], False),
    ],
)
def test_robots_headers_are_read_as_documented(values: list[str], out: bool) -> None:
    assert opted_out(values, directives=("noai", "noimageai", "noindex", "noimageindex"), agent="retest (someone@example.org)") == out


def test_a_host_that_asks_for_an_hour_is_left_for_this_run() -> None:
    with FaultyImageServer(["error-429-once"] * 3) as server:
        outcomes = list(downloader(longest_wait_s=0.5, per_host=1).run(candidates(server)))
    assert all(isinstance(o, Failed) and o.reason == "rate_limited" and o.temporary for o in outcomes)
    assert sum(server.asked.values()) < 3  # once it has said so, it is not asked again


def test_an_error_of_the_consumer_stops_everything() -> None:
    def consume(server: FaultyImageServer) -> None:
        for _ in downloader().run(candidates(server)):
            raise ZeroDivisionError

    with FaultyImageServer(["ok"] * 50) as server, pytest.raises(ZeroDivisionError):
        consume(server)
    assert not [t for t in threading.enumerate() if t.name == "retest-download"]


def test_no_candidates_no_outcomes() -> None:
    assert list(downloader().run([])) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"at_once": 0}, "at_once: must be a whole number of at least 1, not 0"),
        ({"attempts": 1.5}, "attempts: must be a whole number of at least 1, not 1.5"),
        ({"max_redirects": -1}, "max_redirects: must be a whole number of at least 0, not -1"),
        ({"first_wait_s": -1}, "first_wait_s: the value must be a number of at least 0, not -1"),
        ({"host_rate_per_s": 0.0}, "host_rate_per_s: the value must be a number above 0, not 0.0"),
        ({"total_timeout_s": float("nan")}, "total_timeout_s: the value must be a number above 0, not nan"),
        ({"allow_private": "no"}, "allow_private: must be true or false, not 'no'"),
        ({"max_bytes": 10, "max_buffered_bytes": 9}, "max_buffered_bytes: is less than max_bytes = 10"),
    ],
)
def test_wrong_settings_are_refused_with_their_name(change: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        DownloadParameters(**change)
    assert str(caught.value).startswith(message)


def test_a_user_agent_that_cannot_be_sent_is_refused() -> None:
    for name in ("", "a\r\nX: y", "ü"):
        with pytest.raises(ConfigError, match="user_agent"):
            Downloader(user_agent=name)

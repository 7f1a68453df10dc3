"""Downloading against a real local HTTP server that misbehaves in every way that servers do."""

from __future__ import annotations

import hashlib

import httpx
import pytest
from download_server import CONTENT

from retest.benchmarks.transfer import DownloadParameters, RemoteFile, download, file_digest
from retest.errors import ConfigError, InputError, SourceError

FAST = DownloadParameters(attempts=4, timeout_s=5, backoff_s=1)


@pytest.fixture
def waits():
    return []


def test_a_file_arrives_whole_with_progress(server, tmp_path):
    seen = []
    path = download(server.file(), tmp_path / "new", progress=lambda done, total: seen.append((done, total)))
    assert path == tmp_path / "new/file.bin"
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert [child.name for child in path.parent.iterdir()] == ["file.bin"]
    assert server.log[0]["accept-encoding"] == "identity"


def test_a_right_file_is_not_downloaded_again(server, tmp_path):
    (tmp_path / "file.bin").write_bytes(CONTENT)
    assert download(server.file(), tmp_path).read_bytes() == CONTENT
    assert server.log == []


def test_a_wrong_file_that_is_there_is_not_overwritten(server, tmp_path):
    (tmp_path / "file.bin").write_bytes(b"mine")
    with pytest.raises(InputError, match="has 4 bytes instead of 1048576"):
        download(server.file(), tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == b"mine"


def test_a_broken_connection_goes_on_where_it_stopped(server, tmp_path, waits):
    server.plan = [300_000, 200_000]
    path = download(server.file(), tmp_path, parameters=FAST, sleep=waits.append)
    assert path.read_bytes() == CONTENT
    assert [request.get("range") for request in server.log] == [None, "bytes=300000-", "bytes=500000-"]
    assert server.log[1]["if-range"] == '"v1"'
    assert waits == [1, 2]


def test_a_later_call_resumes(server, tmp_path):
    server.plan = [300_000]
    with pytest.raises(SourceError, match="could not be downloaded in 1 attempts"):
        download(server.file(), tmp_path, parameters=DownloadParameters(attempts=1))
    assert not (tmp_path / "file.bin").exists()
    assert (tmp_path / "file.bin.part").stat().st_size == 300_000
    download(server.file(), tmp_path)
    assert server.log[1]["range"] == "bytes=300000-"
    assert [child.name for child in tmp_path.iterdir()] == ["file.bin"]


def test_two_versions_are_never_mixed(server, tmp_path):
    """The file changes between the two attempts: the validator makes the server send it from the start."""
    server.plan = [300_000]
    server.content = b"old" * 400_000
    with pytest.raises(SourceError):
        download(server.file(size=None), tmp_path, parameters=DownloadParameters(attempts=1))
    server.content, server.etag = CONTENT, '"v2"'
    assert download(server.file(size=None), tmp_path).read_bytes() == CONTENT
    assert server.log[1]["if-range"] == '"v1"'


def test_without_validator_and_checksum_nothing_is_resumed(server, tmp_path):
    server.etag, server.plan = "", [300_000]
    file = server.file(sha256=None, size=None)
    with pytest.raises(SourceError):
        download(file, tmp_path, parameters=DownloadParameters(attempts=1))
    assert download(file, tmp_path).read_bytes() == CONTENT
    assert "range" not in server.log[1]


def test_a_server_without_ranges_starts_again(server, tmp_path, waits):
    server.ranges, server.plan = False, [300_000]
    assert download(server.file(), tmp_path, parameters=FAST, sleep=waits.append).read_bytes() == CONTENT


def test_a_server_that_sends_another_part_is_not_believed(server, tmp_path, waits):
    server.plan = [300_000, "wrong part"]
    assert download(server.file(), tmp_path, parameters=FAST, sleep=waits.append).read_bytes() == CONTENT
    assert server.log[2].get("range") is None


def test_a_part_that_is_already_whole_needs_no_download(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    download(server.file(), tmp_path)
    assert server.log == []


def test_a_whole_part_of_unknown_size_is_recognised(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    assert download(server.file(size=None), tmp_path).read_bytes() == CONTENT
    assert len(server.log) == 1


def test_a_part_that_is_too_long_is_thrown_away(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"x")
    assert download(server.file(), tmp_path).read_bytes() == CONTENT


def test_an_impossible_range_starts_again(server, tmp_path, waits):
    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"x")
    assert download(server.file(size=None), tmp_path, parameters=FAST, sleep=waits.append).read_bytes() == CONTENT


def test_busy_servers_are_asked_again_when_they_say(server, tmp_path, waits):
    server.plan = [(503, {"Retry-After": "7"}), (429, {}), (500, {"Retry-After": "99999"})]
    download(server.file(), tmp_path, parameters=FAST, sleep=waits.append)
    assert waits == [7, 2, 300]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final(server, tmp_path, waits, status):
    server.plan = [(status, {})]
    with pytest.raises(SourceError, match=f"the server answered {status}"):
        download(server.file(), tmp_path, parameters=FAST, sleep=waits.append)
    assert waits == []
    assert len(server.log) == 1


def test_another_content_is_refused_and_forgotten(server, tmp_path):
    server.content = CONTENT[:-1] + b"?"
    with pytest.raises(InputError, match="its sha256 is"):
        download(server.file(), tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="its md5 is"):
        download(server.file(sha256=None, md5="0" * 32), tmp_path)


def test_a_body_longer_than_the_file_stops(server, tmp_path):
    server.content = CONTENT * 3
    with pytest.raises(SourceError, match="sends more than the 1048576 bytes"):
        download(server.file(), tmp_path)
    assert (tmp_path / "file.bin.part").stat().st_size <= len(CONTENT)


def test_a_body_of_unknown_length_is_limited(server, tmp_path):
    transport = httpx.MockTransport(lambda request: httpx.Response(200, stream=Endless()))
    with httpx.Client(transport=transport) as client, pytest.raises(SourceError, match="sends more than the 5000000 bytes"):
        download(server.file(size=None), tmp_path, client=client, parameters=DownloadParameters(max_bytes=5_000_000))


def test_a_short_body_without_a_stated_length_goes_on(tmp_path, waits):
    """Such a response ends without any error of the protocol."""
    asked = []

    def respond(request):
        asked.append(request.headers.get("Range"))
        start = int(asked[-1][6:-1]) if asked[-1] else 0
        headers = {"ETag": '"v1"'} | ({"Content-Range": f"bytes {start}-9/10"} if start else {})
        return httpx.Response(206 if start else 200, headers=headers, stream=Pieces(b"0123456789"[start : start + 4]))

    file = RemoteFile("x", "http://host/x", 10, hashlib.sha256(b"0123456789").hexdigest())
    with httpx.Client(transport=httpx.MockTransport(respond)) as client:
        assert download(file, tmp_path, client=client, parameters=FAST, sleep=waits.append).read_bytes() == b"0123456789"
    assert asked == [None, "bytes=4-", "bytes=8-"]


class Pieces(httpx.SyncByteStream):
    def __init__(self, content):
        self.content = content

    def __iter__(self):
        yield self.content


class Endless(httpx.SyncByteStream):
    def __iter__(self):
        while True:
            yield b"x" * 65_536


def test_redirects_are_followed(server, tmp_path):
    assert download(server.file(url=server.url.replace("file.bin", "moved")), tmp_path).read_bytes() == CONTENT


def test_an_unreachable_server_says_so_after_all_attempts(tmp_path, waits):
    file = RemoteFile("x", "http://127.0.0.1:9/x")
    with pytest.raises(SourceError, match="could not be downloaded in 4 attempts") as caught:
        download(file, tmp_path, parameters=FAST, sleep=waits.append)
    assert waits == [1, 2, 4]
    assert caught.value.item == "http://127.0.0.1:9/x"


@pytest.mark.parametrize("url", ["ftp://example.org/x", "nonsense", "http://"])
def test_impossible_addresses_are_not_tried_again(tmp_path, waits, url):
    with pytest.raises(SourceError, match="cannot be downloaded"):
        download(RemoteFile("x", url), tmp_path, parameters=FAST, sleep=waits.append)
    assert waits == []


@pytest.mark.parametrize("name", ["../x", "a/b", "", "..", "a\\b"])
def test_the_name_is_a_plain_file_name(server, tmp_path, name):
    with pytest.raises(InputError, match="not a plain file name"):
        download(server.file(name=name), tmp_path)


def test_no_room(server, tmp_path):
    with pytest.raises(InputError, match=r"bytes, .* are free"):
        download(server.file(size=10**18), tmp_path)
    assert server.log == []


def test_a_given_client_is_used_and_left_open(server, tmp_path):
    with httpx.Client(headers={"X-Mine": "yes"}) as client:
        download(server.file(), tmp_path, client=client)
        assert not client.is_closed
    assert server.log[0]["x-mine"] == "yes"


@pytest.mark.parametrize("change", [{"attempts": 0}, {"timeout_s": 0}, {"backoff_s": -1}, {"max_bytes": 0}])
def test_parameters_are_checked(change):
    with pytest.raises(ConfigError) as caught:
        DownloadParameters(**change)
    assert caught.value.item == next(iter(change))


def test_file_digest(tmp_path):
    (tmp_path / "x").write_bytes(CONTENT * 3)
    assert file_digest(tmp_path / "x") == hashlib.sha256(CONTENT * 3).hexdigest()
    assert file_digest(tmp_path / "x", "md5") == hashlib.md5(CONTENT * 3).hexdigest()

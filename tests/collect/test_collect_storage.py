"""A whole small study with its images in S3, over HTTP; a local cache of its images."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from collect_study import CLASSES, LOOPBACK, CommandStudy, make_study

from retest.images import content_hash
from retest.records import Revision
from retest.study import open_study
from retest.testing.imageserver import FaultyImageServer

MANNERS = ["ok"] * 8 + ["rotated", "cmyk", "not-found", "truncated"]


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyImageServer]:
    with FaultyImageServer(MANNERS) as running:
        yield running


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """The environment in which an S3 server of this process is found."""
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    address = f"http://{host}:{port}"
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "secret-of-s3", "AWS_REGION": "us-east-1"}
    yield {"AWS_ENDPOINT": address, "AWS_ALLOW_HTTP": "true", **keys}
    moto.stop()


def study_of_urls(folder: Path, server: FaultyImageServer, **options) -> CommandStudy:
    study = make_study(folder, source={"kind": "table", "location": "urls.csv"}, **options)
    rows = [f"{server.url(number)},{CLASSES[number % 2][0]},p{number}" for number in range(len(MANNERS))]
    (folder / "urls.csv").write_text("\n".join(["url,wnid,photo_id", *rows]))
    return study


def collect(study: CommandStudy) -> None:
    """Search, download, publish and check: everything is as the server behaves."""
    assert study.json("search")["new_candidates"] == 12
    counts = study.json("download")
    assert (counts["stored"], counts["failed"], counts["later"]) == (12, 2, {})
    assert study.json("publish")["written"] == 12
    report = study.json("check", "--deep")
    assert (report["ok"], report["images"]) == (True, 12)


def in_store(study: CommandStudy) -> dict[str, str]:
    """Key -> SHA-256 of every blob, read through the store, names of copies left out because they are random."""
    with closing(open_study(study.folder)) as opened:
        blobs = {key: content_hash(opened.blobs.get(key)) for key, _ in opened.blobs.list()}
    return {key if key.startswith("images/") else f"public/{digest}": digest for key, digest in blobs.items()}


def test_a_study_in_s3_is_the_study_in_a_folder(
    tmp_path: Path, server: FaultyImageServer, s3: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    bucket = "studies-of-mine"
    httpx.put(f"{s3['AWS_ENDPOINT']}/{bucket}").raise_for_status()
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    far = study_of_urls(tmp_path / "far", server, environment=s3, study={"name": "mine", "blobs": f"s3://{bucket}/first"})
    near = study_of_urls(tmp_path / "near", server)
    for study in (far, near):
        collect(study)
    assert not (far.folder / "blobs").exists()
    assert in_store(far) == in_store(near)
    assert len(in_store(far)) == 3 * 12 + len({d for k, d in in_store(near).items() if k.startswith("public/")})
    query = "SELECT * FROM variants ORDER BY image_id, variant"
    assert far.rows(query) == near.rows(query)

    # What is lost there is found and repaired as in a folder.
    with closing(open_study(far.folder)) as opened, opened.database.read() as tables:
        image, name = min(tables.opaque_names.all(1).items())
        opened.blobs.delete(f"public/{name[:2]}/{name}.jpg")
    (finding,) = far.json("check", code=1)["findings"]
    assert (finding["image_id"], finding["what"], finding["stage"]) == (image, "opaque copy", "publish")
    assert far.json("check", "--repair")["repaired"] == 1

    # A cache of it is a blob store, with which the study works without the network.
    cache = tmp_path / "cache"
    assert far.json("download", "--local-cache", cache)["fetched"] == 4 * 12
    text = (far.folder / "study.toml").read_text()
    (far.folder / "study.toml").write_text(text.replace(f"s3://{bucket}/first", str(cache)))
    for variable in s3:
        monkeypatch.delenv(variable)
    far.environment.clear()
    assert far.json("check", "--deep")["ok"]
    secret = s3["AWS_SECRET_ACCESS_KEY"].encode()
    assert not [path for path in far.folder.rglob("*") if path.is_file() and secret in path.read_bytes()]


def test_an_unreachable_store_is_named(tmp_path: Path, server: FaultyImageServer, s3: dict[str, str]):
    study = study_of_urls(tmp_path / "s", server, environment=s3, study={"name": "mine", "blobs": "s3://no-such-bucket/x"})
    study.run("search")
    done = study.run("download", code=1)
    assert "no-such-bucket" in done.stderr or "NoSuchBucket" in done.stderr
    assert "Traceback" not in done.stderr
    assert study.rows("SELECT COUNT(*) FROM variants") == [0]


@pytest.fixture
def study(tmp_path: Path, server: FaultyImageServer) -> CommandStudy:
    made = study_of_urls(tmp_path / "s", server, download=LOOPBACK)
    collect(made)
    return made


def test_a_local_cache_is_resumed_and_verified(study: CommandStudy, tmp_path: Path):
    cache = tmp_path / "cache"
    assert study.json("download", "--local-cache", cache) == {"images": 12, "fetched": 48, "present": 0, "damaged": []}
    blobs = study.folder / "blobs"
    files = sorted(path.relative_to(cache) for path in cache.rglob("*.jpg"))
    assert files == sorted(path.relative_to(blobs) for path in blobs.rglob("*.jpg"))
    assert all((cache / file).read_bytes() == (blobs / file).read_bytes() for file in files)
    with (cache / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 36
    assert {row["image"] for row in rows} == set(study.rows("SELECT DISTINCT image_id FROM variants"))
    assert {row["file"] for row in rows} | {row["opaque_file"] for row in rows} - {""} == {file.as_posix() for file in files}
    # Interrupted: some files are absent, one was cut short by something else.
    for file in files[:5]:
        (cache / file).unlink()
    (cache / files[5]).write_bytes(b"part")
    assert study.json("download", "--local-cache", cache) == {"images": 12, "fetched": 6, "present": 42, "damaged": []}
    assert (cache / files[5]).read_bytes() == (blobs / files[5]).read_bytes()
    # A blob that is not what was stored is not copied.
    victim = next(file for file in files if file.parts[0] == "images")
    (blobs / victim).write_bytes(b"damaged")
    (cache / victim).unlink()
    done = study.json("download", "--local-cache", cache, code=1)
    assert (done["fetched"], done["damaged"]) == (0, [victim.as_posix()])
    assert not (cache / victim).exists()
    assert "own blob store" in study.run("download", "--local-cache", blobs, code=1).stderr


def test_a_local_cache_of_one_revision_and_one_variant(study: CommandStudy, tmp_path: Path):
    chosen = study.rows("SELECT DISTINCT image_id FROM variants WHERE image_id NOT LIKE 'val/%' ORDER BY image_id")[:3]
    with closing(open_study(study.folder)) as opened, opened.database.write() as tables:
        revision = Revision("mine-a-1", "sample_best", tuple((i, CLASSES[0][0]) for i in chosen), True, 1, user="me", time="2026-01-01")
        tables.revisions.add(revision)
    cache = tmp_path / "cache"
    done = study.json("download", "--local-cache", cache, "--revision", "mine-a-1", "--variant", "scaled_64")
    assert done == {"images": 3, "fetched": 6, "present": 0, "damaged": []}
    shutil.rmtree(cache / "public")
    assert len(list(cache.rglob("*.jpg"))) == 3
    assert "scaled_64" in study.run("download", "--local-cache", cache, "--variant", "huge", code=2).stderr
    assert "no-such" in study.run("download", "--local-cache", cache, "--revision", "no-such", code=1).stderr
    assert "need --local-cache" in study.run("download", "--revision", "mine-a-1", code=2).stderr

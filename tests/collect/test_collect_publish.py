"""Opaque names and their rotation, and what the check says about them, through the command line."""

from __future__ import annotations

import hashlib
import io
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from collect_study import CLASSES, CommandStudy, make_study
from PIL import Image

from retest.testing.imageserver import FaultyImageServer, sample_image

KEYS = {"RETEST_OPAQUE_KEY": "the first key, long enough", "RETEST_OPAQUE_KEY_2": "the second key, long enough"}


@pytest.fixture
def study(tmp_path: Path) -> CommandStudy:
    """Twelve candidates in a folder, some with EXIF, beside the two originals; stored, not published."""
    for number in range(12):
        folder = tmp_path / "pool" / CLASSES[number % 2][0]
        folder.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x010F] = "A camera that tells"
        sample_image(number).save(folder / f"{number}.jpg", exif=exif)
    made = make_study(tmp_path / "s", source={"kind": "folder", "location": str(tmp_path / "pool")})
    made.run("search")
    assert made.json("download")["stored"] == 14
    return made


def names(study: CommandStudy, version: int = 1) -> dict[str, str]:
    return dict(study.rows(f"SELECT image_id, name FROM opaque_names WHERE key_version = {version}"))


def copy(study: CommandStudy, name: str) -> Path:
    return study.folder / "blobs/public" / name[:2] / f"{name}.jpg"


def test_names_say_nothing_and_copies_carry_nothing(study: CommandStudy):
    assert study.json("publish") == {"named": 14, "written": 14, "present": 0, "key_version": 1}
    found = names(study)
    assert sum(image.startswith("val/") for image in found) == 2  # the controls
    assert {len(name) for name in found.values()} == {32}
    # Six shared characters among fourteen random names have a chance of one in 180,000.
    assert len({name[:6] for name in found.values()}) == 14
    shapes = set()
    for name in found.values():
        data = copy(study, name).read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            assert not image.getexif()
            shapes.add((image.format, image.mode, tuple(sorted(image.info)), max(image.size)))
        assert b"camera" not in data
        assert b"Exif" not in data
    assert shapes == {("JPEG", "RGB", ("jfif", "jfif_density", "jfif_unit", "jfif_version"), 64)}
    assert study.json("publish") == {"named": 0, "written": 0, "present": 14, "key_version": 1}
    assert names(study) == found


def test_rotation_adds_issues_accepts_and_retires(study: CommandStudy):
    study.environment |= KEYS
    study.run("publish")
    old = names(study)
    assert study.json("publish", "--key-version", 2) == {"named": 14, "written": 14, "present": 0, "key_version": 2}
    new = names(study, 2)
    assert new.keys() == old.keys()
    assert not set(new.values()) & set(old.values())
    assert all(copy(study, old[image]).read_bytes() == copy(study, new[image]).read_bytes() for image in old)
    # Both are accepted now, so both must be there.
    assert study.json("check")["ok"]
    image = min(old)
    copy(study, old[image]).unlink()
    report = study.json("check", code=1)
    assert report["missing"] == {"search": {}, "download": {}, "publish": {"opaque copy of key version 1": 1}}
    assert study.json("check", "--repair")["repaired"] == 1
    # Retired, the old ones are gone, and nothing misses them.
    assert "older than the current one" in study.run("publish", "--retire", 2, code=2).stderr
    assert study.json("publish", "--retire", 1) == {"retired": 1, "deleted": 14}
    assert study.json("publish", "--retire", 1) == {"retired": 1, "deleted": 0}
    assert not any(copy(study, name).exists() for name in old.values())
    assert names(study) == old  # on record, though
    assert study.json("check")["ok"]
    # Publishing goes on under the new version, and never under an old one.
    assert study.json("publish")["key_version"] == 2
    assert "versions only grow" in study.run("publish", "--key-version", 1, code=2).stderr


def test_a_key_gives_the_same_names_again_and_another_key_is_refused(study: CommandStudy, tmp_path: Path):
    study.environment["RETEST_OPAQUE_KEY"] = KEYS["RETEST_OPAQUE_KEY"]
    study.run("publish")
    found = names(study)
    sample_image(99).save(tmp_path / "pool" / CLASSES[0][0] / "99.jpg")
    study.run("search")
    study.run("download")
    for other in ("another key altogether", ""):
        study.environment["RETEST_OPAQUE_KEY"] = other
        assert "made with another key" in study.run("publish", code=1).stderr
    assert names(study) == found
    study.environment["RETEST_OPAQUE_KEY"] = KEYS["RETEST_OPAQUE_KEY"]
    assert study.json("publish")["named"] == 1
    for path in study.folder.rglob("*"):
        assert path.is_dir() or KEYS["RETEST_OPAQUE_KEY"].encode() not in path.read_bytes()


def test_check_lists_what_is_missing_per_stage(tmp_path: Path):
    with FaultyImageServer(["ok", "ok", "not-found", "always-500"]) as server:
        study = make_study(
            tmp_path / "s", source={"kind": "table", "location": "urls.csv"}, download={"allow_private": True, "attempts": 1}
        )
        rows = [f"{server.url(number)},{CLASSES[0][0]}" for number in range(4)]
        (study.folder / "urls.csv").write_text("\n".join(["url,wnid", *rows]))
        study.run("search")
        missing = study.json("check", code=1)["missing"]
        assert missing == {
            "search": {"classes without candidates": 1},
            "download": dict.fromkeys(("original", "scaled_32", "scaled_64"), 6),
            "publish": {},
        }
        assert study.json("download")["later"] == {"server_error": 1}
        missing = study.json("check", code=1)["missing"]
        assert missing["download"] == dict.fromkeys(("original", "scaled_32", "scaled_64"), 1)
        assert missing["publish"] == {"opaque name": 4}
        said = study.run("check", code=1).stdout
        assert "  search: 1 classes without candidates" in said
        assert "  publish: 4 opaque name" in said


def test_the_check_decodes_what_is_stored(study: CommandStudy):
    study.run("publish")
    image, key = study.rows("SELECT image_id, blob_key FROM variants WHERE variant = 'original' ORDER BY image_id")[0]
    path = study.folder / "blobs" / key
    # As if bytes that are no image had been recorded: size and hash agree with the record.
    broken = b"x" * path.stat().st_size
    path.write_bytes(broken)
    with closing(sqlite3.connect(study.folder / "study.db")) as connection:
        connection.execute("UPDATE variants SET sha256 = ? WHERE blob_key = ?", (hashlib.sha256(broken).hexdigest(), key))
        connection.commit()
    (finding,) = study.json("check", code=1)["findings"]
    assert finding["image_id"] == image
    assert "no usable image" in finding["problem"]
    study.run("check", "--repair", code=1)
    assert study.json("download")["stored"] == 1
    assert study.json("check")["ok"]

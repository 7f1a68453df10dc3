"""The folder source: conformance, order, and nothing from outside the folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from retest.errors import ConfigError, SourceError
from retest.records import Candidate, ClassInfo
from retest.sources import FolderSource, SearchParameters, identify
from retest.sources import folder as folder_module
from retest.testing.sources import SourceContract, all_photos, walk
from unreadable import make_unreadable

TENCH = ClassInfo("n01440764", 0, ("tench",))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for name in ("n01440764/b.jpg", "n01440764/a.JPEG", "n01440764/sub/c d.png", "n01443537/x.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


class TestFolderContract(SourceContract):
    @pytest.fixture(autouse=True)
    def _folder(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(folder_module, "_PAGE_SIZE", 2)
        self.root = root

    def make_source(self, parameters: SearchParameters) -> FolderSource:
        return FolderSource(self.root, parameters=parameters)

    def class_info(self) -> ClassInfo:
        return TENCH

    def photo_ids(self) -> list[str]:
        return ["n01440764/a.JPEG", "n01440764/b.jpg", "n01440764/sub/c d.png"]


def ids(source: FolderSource, info: ClassInfo = TENCH) -> list[str]:
    return [photo.photo_id for photo in all_photos(source, info)]


def test_files_come_in_the_order_of_their_paths(root: Path) -> None:
    assert ids(FolderSource(root)) == ["n01440764/a.JPEG", "n01440764/b.jpg", "n01440764/sub/c d.png"]


def test_the_study_does_not_depend_on_where_the_folder_lies(root: Path, tmp_path: Path) -> None:
    before = FolderSource(root).queries(TENCH)
    moved = root.rename(tmp_path / "elsewhere")
    assert FolderSource(moved).queries(TENCH) == before


def test_a_file_added_later_is_found_by_searching_again(root: Path) -> None:
    before = FolderSource(root).queries(TENCH)
    (root / "n01440764/new.jpg").write_bytes(b"x")
    after = FolderSource(root).queries(TENCH)
    assert after[0].key != before[0].key
    assert "n01440764/new.jpg" in ids(FolderSource(root))


def test_bytes_are_those_of_the_file(root: Path) -> None:
    source = FolderSource(root)
    query = source.queries(TENCH)[0]
    found = identify(source.page(query, None).photos, query=query, known={}, user="u", time="t").candidates
    assert {c.url: source.fetch(c) for c in found} == {c.url: c.url.encode() for c in found}


def candidate(url: str) -> Candidate:
    return Candidate("0" * 40, "n01440764", "folder", url, url)


def test_links_that_leave_the_folder_are_skipped_counted_and_never_read(root: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"secret")
    (root / "n01440764/out.jpg").symlink_to(secret)
    (root / "n01440764/in.jpg").symlink_to(root / "n01443537/x.jpg")
    (root / "n01440764/gone.jpg").symlink_to(root / "nowhere.jpg")
    source = FolderSource(root)
    query = source.queries(TENCH)[0]
    page = source.page(query, None)
    names = [photo.photo_id for photo in page.photos]
    assert "n01440764/in.jpg" in names
    assert "n01440764/out.jpg" not in names
    assert page.skipped == {"outside_root": 1, "not_a_regular_file": 1}
    with pytest.raises(SourceError, match="leads out of the folder"):
        source.fetch(candidate("n01440764/out.jpg"))


def test_folders_that_are_not_entered_are_counted(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "n01440764/closed").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (root / "n01440764/linked").symlink_to(tmp_path / "elsewhere")
    make_unreadable(monkeypatch, "closed")
    source = FolderSource(root)
    assert source.page(source.queries(TENCH)[0], None).skipped == {"linked_folder": 1, "unreadable_folder": 1}


@pytest.mark.parametrize(("place", "skipped"), [("n02000000", {}), ("n01440764/up", {"linked_folder": 1})])
def test_a_link_to_what_holds_the_folder_itself_is_not_entered(root: Path, place: str, skipped: dict[str, int]) -> None:
    (root / place).symlink_to("/")
    source = FolderSource(root)
    queries = source.queries(ClassInfo(place.split("/")[0], 5))
    assert [source.page(query, None).skipped for query in queries] == ([skipped] if skipped else [])


def test_a_class_folder_that_is_a_link_to_the_outside_has_no_photos(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.jpg").write_bytes(b"x")
    (root / "n02000000").symlink_to(outside)
    (root / "n01440764" / "linked").symlink_to(outside)
    assert FolderSource(root).queries(ClassInfo("n02000000", 5)) == []
    assert len(ids(FolderSource(root))) == 3


@pytest.mark.parametrize("wnid", ["..", ".", "", "n01440764/sub", "../root/n01440764", "/", "a\0b"])
def test_a_class_name_is_no_path(root: Path, wnid: str) -> None:
    assert FolderSource(root).queries(ClassInfo(wnid, 0)) == []


@pytest.mark.parametrize(
    "url", ["../root/n01440764/a.JPEG", "n01440764/../n01443537/x.jpg", "/etc/hostname", "n01440764", "n01440764\\a.JPEG"]
)
def test_a_candidate_cannot_name_a_path_outside(root: Path, url: str) -> None:
    with pytest.raises(SourceError):
        FolderSource(root).fetch(candidate(url))


def test_other_files_are_counted(root: Path) -> None:
    (root / "n01440764/notes.txt").write_text("x")
    (root / "n01440764/.hidden.jpg").write_text("x")
    (root / "n01440764/line\nbreak.jpg").write_text("x")
    (root / "n01440764/folder.jpg").mkdir()
    (root / "n01440764/.cache").mkdir()
    (root / "n01440764/.cache/z.jpg").write_text("x")
    bad = os.fsencode(root / "n01440764") + b"/\xff\xfe.jpg"
    Path(os.fsdecode(bad)).write_bytes(b"x")
    source = FolderSource(root)
    query = source.queries(TENCH)[0]
    page = source.page(query, None)
    assert len(page.photos) == 3
    assert page.skipped == {"not_an_image_file": 1, "unusable_name": 2}


def test_a_fifo_does_not_hang_the_search_or_the_fetch(root: Path) -> None:
    os.mkfifo(root / "n01440764/pipe.jpg")
    source = FolderSource(root)
    assert "n01440764/pipe.jpg" not in ids(source)
    with pytest.raises(SourceError, match="regular file"):
        source.fetch(candidate("n01440764/pipe.jpg"))


def test_a_file_that_is_too_large_or_gone_is_an_error_with_its_name(root: Path) -> None:
    with pytest.raises(SourceError, match=r"^n01440764/a.JPEG: is not a regular file of at most 3 bytes"):
        FolderSource(root, max_bytes=3).fetch(candidate("n01440764/a.JPEG"))
    with pytest.raises(SourceError, match=r"^n01440764/none.jpg: cannot be read \(No such file"):
        FolderSource(root).fetch(candidate("n01440764/none.jpg"))


def test_a_missing_root_is_a_setting_to_correct(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a folder"):
        FolderSource(tmp_path / "none").queries(TENCH)


def test_pages_follow_each_other(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "_PAGE_SIZE", 1)
    source = FolderSource(root, parameters=SearchParameters(max_images=2))
    pages = list(walk(source, source.queries(TENCH)[0]))
    assert [len(page.photos) for _, page in pages] == [1, 1]

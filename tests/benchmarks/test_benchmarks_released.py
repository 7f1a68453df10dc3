"""The released ImageNetV2 test sets: labels come from what a class folder is called, never from how its name sorts."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile

import numpy as np
import pytest
from PIL import Image

from retest.benchmarks import RELEASES, ImageNetV2, LabelledImages, RemoteFile
from retest.benchmarks.imagenetv2 import PublishedData
from retest.errors import InputError, UsageError

WNIDS = tuple(f"n{10_000_000 + 7 * index:08d}" for index in range(1000))


def picture(label):
    """A JPEG whose colour tells a class index: one digit per channel."""
    digits = tuple(20 + 24 * int(digit) for digit in f"{label:03d}")
    out = io.BytesIO()
    Image.new("RGB", (8, 8), digits).save(out, "JPEG", quality=95)
    return out.getvalue()


def told_label(image):
    return int("".join(str(round((channel - 20) / 24)) for channel in np.asarray(image)[4, 4].tolist()))


def image_id(label, number):
    return hashlib.sha1(f"{label} {number}".encode()).hexdigest()


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """The released layout: class folders 0..999 with ten images each, named by candidate id."""
    folder = tmp_path_factory.mktemp("release") / "imagenetv2-matched-frequency-format-val"
    for label in range(1000):
        place = folder / str(label)
        place.mkdir(parents=True)
        first = place / f"{image_id(label, 0)}.jpeg"
        first.write_bytes(picture(label))
        for number in range(1, 10):
            os.link(first, place / f"{image_id(label, number)}.jpeg")
    return folder


@pytest.fixture(scope="module")
def reuploaded(tmp_path_factory):
    """The layout of the 2020 re-upload: wnid folders, files numbered."""
    folder = tmp_path_factory.mktemp("reupload")
    for label, wnid in enumerate(WNIDS):
        (folder / wnid).mkdir()
        first = folder / wnid / "0.jpeg"
        first.write_bytes(picture(label))
        for number in range(2, 20, 2):
            os.link(first, folder / wnid / f"{number}.jpeg")
    return folder


@pytest.fixture(scope="module")
def data_set(numbered):
    return ImageNetV2("matched-frequency", numbered.parent)


def test_every_label_is_what_the_picture_says(data_set):
    """The trap: sorted as text, folder "10" would be class 2. Each picture tells its own class."""
    assert len(data_set) == 10_000
    assert data_set.labels.tolist() == [label for label in range(1000) for _ in range(10)]
    for index in range(0, 10_000, 37):
        image, label = data_set[index]
        assert told_label(image) == label == int(data_set.paths[index].parent.name)


def test_sorting_the_folders_as_text_would_scramble_nearly_all_labels(data_set):
    """What a plain ImageFolder does: the wrong labels agree with the right ones for almost no class."""
    as_text = {name: label for label, name in enumerate(sorted(data_set.class_names))}
    wrong = np.array([as_text[path.parent.name] for path in data_set.paths])
    assert (wrong == data_set.labels).mean() < 0.03


def test_it_is_a_data_set(data_set):
    assert isinstance(data_set, LabelledImages)
    assert data_set.name == data_set.revision == "imagenetv2-b-33"
    assert data_set.layout == "numbered"
    assert data_set.image_ids[0] in {image_id(0, number) for number in range(10)}
    assert data_set[-1][1] == 999
    with pytest.raises(IndexError, match="there is no number 10000"):
        data_set[10_000]
    assert data_set.read(0) == data_set.paths[0].read_bytes()
    assert "10000 images, 1000 classes" in repr(data_set)
    with pytest.raises(ValueError, match="read-only"):
        data_set.labels[0] = 5


def test_the_folder_itself_can_be_given(numbered, data_set):
    assert ImageNetV2("matched-frequency", numbered).image_ids == data_set.image_ids


def test_labels_are_proved_against_the_revision(data_set):
    images = [(image, WNIDS[label]) for image, label in zip(data_set.image_ids, data_set.labels, strict=True)]
    index = {wnid: label for label, wnid in enumerate(WNIDS)}
    assert data_set.check_labels(images, class_index=index) == []
    swapped = {**dict(images), images[0][0]: WNIDS[5], "extra": WNIDS[0]}
    del swapped[images[9999][0]]
    assert sorted(data_set.check_labels(swapped.items(), class_index=index)) == sorted(
        [
            "extra: in the revision but not in the folder",
            f"{images[0][0]}: class folder 0, but {WNIDS[5]} is class 5",
            f"{images[9999][0]}: in the folder but not in imagenetv2-b-33",
        ]
    )


def test_the_published_revision_names_ten_images_per_class(published, numbered):
    """With the real revision, what the folder holds is told apart image by image."""
    data = PublishedData(published)
    revision = next(revision for revision in data.revisions() if revision.name == RELEASES["matched-frequency"].revision)
    index = {info.wnid: info.cid for info in data.classes()}
    lines = ImageNetV2("matched-frequency", numbered).check_labels(revision.images, class_index=index)
    assert len(lines) == 20_000  # none of these made-up images is in it, and none of its images is here


def test_the_reupload_is_accepted(reuploaded):
    data_set = ImageNetV2("threshold0.7", reuploaded)
    assert data_set.layout == "wnid"
    assert data_set.class_names == WNIDS
    assert data_set.image_ids[:2] == (f"{WNIDS[0]}/0", f"{WNIDS[0]}/2")
    for index in range(0, 10_000, 371):
        image, label = data_set[index]
        assert told_label(image) == label
    with pytest.raises(UsageError, match="cannot be matched with candidate ids"):
        data_set.check_labels([], class_index={})
    assert ImageNetV2("threshold0.7", reuploaded, wnids=WNIDS).labels.tolist() == data_set.labels.tolist()
    with pytest.raises(InputError, match="not ImageNet's 1,000"):
        ImageNetV2("threshold0.7", reuploaded, wnids=[*WNIDS[:-1], "n99999999"])


def renamed(folder, old, new):
    (folder / old).rename(folder / new)
    return lambda: (folder / new).rename(folder / old)


@pytest.mark.parametrize(("old", "new"), [("999", "1000"), ("7", "07"), ("0", "n01440764"), ("5", "five")])
def test_other_class_folders_are_refused(numbered, old, new):
    undo = renamed(numbered, old, new)
    try:
        with pytest.raises(InputError) as caught:
            ImageNetV2("matched-frequency", numbered)
        assert repr(new) in str(caught.value)
    finally:
        undo()


@pytest.mark.parametrize("allow_partial", [False, True])
def test_a_folder_too_many_is_refused(numbered, allow_partial):
    (numbered / "1000").mkdir()
    try:
        with pytest.raises(InputError, match="holds 1001 folders such as '1000'"):
            ImageNetV2("matched-frequency", numbered, allow_partial=allow_partial)
    finally:
        (numbered / "1000").rmdir()


def test_a_missing_class_folder_is_named(numbered, tmp_path):
    (numbered / "123").rename(tmp_path / "123")
    try:
        with pytest.raises(InputError, match="999 of the 1,000 class folders \\(the first that is missing is '123'\\)"):
            ImageNetV2("matched-frequency", numbered)
        # Where it is allowed, the labels of the others stay what they are.
        partial = ImageNetV2("matched-frequency", numbered, allow_partial=True)
        assert [told_label(partial[index][0]) for index in (0, 1229, 1230, 9989)] == [0, 122, 124, 999]
        assert partial.labels[[0, 1229, 1230, 9989]].tolist() == [0, 122, 124, 999]
    finally:
        (tmp_path / "123").rename(numbered / "123")


def test_an_incomplete_class_is_refused_unless_allowed(numbered, tmp_path):
    victim = next((numbered / "44").iterdir())
    victim.rename(tmp_path / victim.name)
    try:
        with pytest.raises(InputError, match="holds 9 images, other classes hold 10"):
            ImageNetV2("matched-frequency", numbered)
        assert len(ImageNetV2("matched-frequency", numbered, allow_partial=True)) == 9_999
    finally:
        (tmp_path / victim.name).rename(victim)


def test_hidden_files_are_nothing_and_others_are_refused(numbered):
    (numbered / ".DS_Store").write_text("x")
    (numbered / "0/.DS_Store").write_text("x")
    assert len(ImageNetV2("matched-frequency", numbered)) == 10_000
    (numbered / "0/notes.txt").write_text("x")
    try:
        with pytest.raises(InputError, match=r"holds 'notes.txt', which is not a JPEG file"):
            ImageNetV2("matched-frequency", numbered, allow_partial=True)
    finally:
        (numbered / "0/notes.txt").unlink()


def test_wnid_folders_with_other_files_are_refused(reuploaded):
    odd = reuploaded / WNIDS[3] / "20.jpeg"
    os.link(reuploaded / WNIDS[3] / "0.jpeg", odd)
    try:
        with pytest.raises(InputError, match=r"holds '20.jpeg'; wnid folders are only known with the files 0.jpeg to 19.jpeg"):
            ImageNetV2("threshold0.7", reuploaded, allow_partial=True)
    finally:
        odd.unlink()


def test_wrong_arguments(tmp_path, numbered):
    with pytest.raises(UsageError, match="there is no variant 'matched'") as caught:
        ImageNetV2("matched", tmp_path)
    assert "matched-frequency, threshold0.7, top-images" in str(caught.value)
    with pytest.raises(InputError, match="there is no folder imagenetv2-top-images-format-val") as caught:
        ImageNetV2("top-images", tmp_path)
    assert "--download" in str(caught.value)
    assert "download=True" in str(caught.value)
    with pytest.raises(InputError, match="the folder of another variant"):
        ImageNetV2("top-images", numbered)


def test_the_published_archives_are_pinned():
    assert {name: (release.revision, release.file.size) for name, release in RELEASES.items()} == {
        "matched-frequency": ("imagenetv2-b-33", 1_264_079_360),
        "threshold0.7": ("imagenetv2-a-44", 1_249_906_176),
        "top-images": ("imagenetv2-c-12", 1_245_927_936),
    }
    assert all(len(release.file.sha256) == 64 and release.file.url.startswith("https://") for release in RELEASES.values())


def mirror(server, content):
    """The archive at another place: its own size and checksum."""
    server.content = content
    return RemoteFile("imagenetv2-matched-frequency.tar.gz", server.url, len(content), hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(("mode", "top"), [("w", "imagenetv2-matched-frequency-format-val"), ("w:gz", "some-other-name"), ("w", "")])
def test_download_unpacks_any_compression_and_any_top_folder(numbered, tmp_path, server, mode, top):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, compresslevel=1) if mode == "w:gz" else tarfile.open(fileobj=buffer, mode=mode) as tar:
        for label in range(1000):
            info = tarfile.TarInfo(f"{top}/{label}/{image_id(label, 0)}.jpeg".lstrip("/"))
            content = picture(label)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    file = mirror(server, buffer.getvalue())
    seen = []
    data_set = ImageNetV2(
        "matched-frequency", tmp_path, download=True, file=file, allow_partial=True, progress=lambda done, total: seen.append((done, total))
    )
    assert [told_label(data_set[index][0]) for index in (0, 2, 10, 100, 999)] == [0, 2, 10, 100, 999]
    assert seen[-1] == (file.size, file.size)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["imagenetv2-matched-frequency-format-val", file.name]
    # A second time nothing is asked of the server.
    ImageNetV2("matched-frequency", tmp_path, download=True, file=file, allow_partial=True)
    assert len(server.log) == 1


def test_a_hostile_archive_leaves_nothing_but_the_archive(tmp_path, server):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        link = tarfile.TarInfo("imagenetv2-matched-frequency-format-val/0")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(link)
    with pytest.raises(InputError, match="holds a symbolic link"):
        ImageNetV2("matched-frequency", tmp_path, download=True, file=mirror(server, buffer.getvalue()))
    assert [path.name for path in tmp_path.iterdir()] == ["imagenetv2-matched-frequency.tar.gz"]


def test_a_damaged_image_is_named(numbered):
    victim = sorted((numbered / "17").iterdir())[0]
    content = victim.read_bytes()
    victim.unlink()
    victim.write_bytes(content[:50])
    try:
        data_set = ImageNetV2("matched-frequency", numbered)
        with pytest.raises(InputError) as caught:
            data_set[170]
        assert victim.name in str(caught.value)
        victim.unlink()
        with pytest.raises(InputError, match="cannot be read"):
            data_set[170]
    finally:
        victim.write_bytes(content)


def test_nothing_is_fetched_while_another_folder_is_in_its_place(tmp_path):
    place = tmp_path / RELEASES["matched-frequency"].folder
    place.mkdir()
    (place / "notes.txt").write_text("mine")
    nowhere = RemoteFile("set.tar.gz", "http://127.0.0.1:9/set.tar.gz")
    with pytest.raises(InputError, match="exists but holds no class folders"):
        ImageNetV2("matched-frequency", tmp_path, download=True, file=nowhere)
    assert (place / "notes.txt").read_text() == "mine"

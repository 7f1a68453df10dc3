"""The table source: every format, the published files, and rows that cannot be used."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retest.errors import InputError
from retest.records import ClassInfo
from retest.sources import SearchParameters, TableSource, candidate_id, identify, published_record
from retest.sources import table as table_module
from retest.testing.sources import SourceContract, all_photos, walk

PUBLISHED = Path(__file__).parents[2].parent / "shared" / "imagenetv2" / "data" / "search_results"
ROWS = [
    {
        "url": "https://example.org/1.jpg",
        "wnid": "n1",
        "photo_id": "007",
        "width": 640,
        "height": "480.0",
        "license": "cc0-1.0",
        "extra": "x",
    },
    {"url": "https://example.org/2.jpg", "wnid": "n2", "photo_id": "2", "width": None, "height": "", "license": "", "extra": ""},
    {"url": "http://example.org/ä,b.jpg", "wnid": "n1", "photo_id": "", "width": "many", "height": 1, "license": None, "extra": ""},
]


def write(path: Path, rows: list[dict]) -> Path:
    if path.suffix == ".parquet":
        columns = {name: [None if r[name] in (None, "") else str(r[name]) for r in rows] for name in rows[0]}
        pq.write_table(pa.table(columns), path)
    elif path.suffix in (".csv", ".tsv"):
        buffer = io.StringIO(newline="")
        writer = csv.DictWriter(buffer, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
        path.write_text("\ufeff" + buffer.getvalue(), encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
class TestTableContract(SourceContract):
    @pytest.fixture(autouse=True)
    def _table(self, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(table_module, "_PAGE_SIZE", 1)
        self.path = write(tmp_path / f"table{suffix}", ROWS)

    def make_source(self, parameters: SearchParameters) -> TableSource:
        return TableSource(self.path, parameters=parameters)

    def class_info(self) -> ClassInfo:
        return ClassInfo("n1", 0, ("one",))

    def photo_ids(self) -> list[str]:
        return ["007", "http://example.org/ä,b.jpg"]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_every_format_says_the_same(suffix: str, tmp_path: Path) -> None:
    first, second = all_photos(TableSource(write(tmp_path / f"t{suffix}", ROWS)), ClassInfo("n1", 0))
    assert (first.photo_id, first.source, first.width, first.height, first.license) == ("007", "table", 640, 480, "cc0-1.0")
    assert (second.photo_id, second.width, second.height, second.license) == (second.url, None, 1, None)
    assert first.file == f"t{suffix}"


def test_numbers_in_parquet_columns_are_read(tmp_path: Path) -> None:
    columns = {"url": ["https://e.org/1"], "label": ["n1"], "photo_id": [17], "width": [640], "height": [480.0], "thumbnail": [b"\xff"]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    (photo,) = all_photos(TableSource(tmp_path / "t.parquet"), ClassInfo("n1", 0))
    assert (photo.photo_id, photo.width, photo.height) == ("17", 640, 480)


def test_a_folder_of_tables_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        write(tmp_path / f"{name}.json", [{"url": f"https://e.org/{name}", "wnid": "n1"}])
    (tmp_path / "readme.txt").write_text("x")
    assert [p.file for p in all_photos(TableSource(tmp_path), ClassInfo("n1", 0))] == ["a.json", "b.json", "c.json"]


def test_rows_without_a_usable_address_are_skipped_and_counted(tmp_path: Path) -> None:
    urls = ["https://e.org/1", None, "", "file:///etc/passwd", "ftp://e.org/2", "photo.jpg", "http://[::1/4", "https://e.org/3"]
    path = write(tmp_path / "t.json", [{"url": url, "wnid": "n1"} for url in urls])
    source = TableSource(path)
    page = source.page(source.queries(ClassInfo("n1", 0))[0], None)
    assert [photo.url for photo in page.photos] == ["https://e.org/1", "https://e.org/3"]
    assert page.skipped == {"no_url": 2, "not_a_web_address": 4}


def test_blanks_around_an_address_and_sizes_that_cannot_be_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("url,wnid,width\n https://e.org/1 ,n1,99999999999999999999\n")
    source = TableSource(path)
    (photo,) = source.page(source.queries(ClassInfo("n1", 0))[0], None).photos
    assert (photo.url, photo.photo_id, photo.width) == ("https://e.org/1", "https://e.org/1", None)


def test_a_parquet_file_with_two_columns_of_one_name_says_so(tmp_path: Path) -> None:
    columns = [pa.array([text]) for text in ("https://e.org/1", "https://e.org/2", "n1")]
    pq.write_table(pa.table(columns, names=["url", "url", "wnid"]), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="more than one column url"):
        TableSource(tmp_path / "t.parquet").queries(ClassInfo("n1", 0))


def test_a_changed_table_is_another_search(tmp_path: Path) -> None:
    path = write(tmp_path / "t.json", ROWS)
    before = TableSource(path).queries(ClassInfo("n1", 0))[0].key
    write(path, ROWS[::-1])
    assert TableSource(path).queries(ClassInfo("n1", 0))[0].key != before


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("none.csv", None, "there is no table"),
        ("a.txt", "x", "'.txt' is no known kind of table"),
        ("a.json", "{", "cannot be read"),
        ("a.json", "{}", "not a list of objects"),
        ("a.json", "[1]", "entry 1 is not an object"),
        ("a.jsonl", '{"url": "u", "wnid": "n"}\n17\n', "entry 2 is not an object"),
        ("a.csv", "url,wnid\nhttps://e.org,n1,too,many\n", "row 1 has another number of columns"),
        ("a.csv", "url,wnid\nhttps://e.org\n", "row 1 has another number of columns"),
        ("a.csv", "url,name\nhttps://e.org,n1\n", "has no column wnid or class or label. Its columns are: name, url."),
        ("a.csv", "", "has no column url"),
        ("a.json", '[{"url": "u", "wnid": ""}]', "row 1: the row has no class"),
        ("a.parquet", "no parquet", "cannot be read"),
    ],
)
def test_a_table_that_cannot_be_read_says_why(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError) as caught:
        TableSource(path).queries(ClassInfo("n1", 0))
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_many_rows_keep_their_order(tmp_path: Path) -> None:
    rows = [
        {"url": f"https://e.org/{i}", "wnid": f"n{i % 3}", "width": i} if i % 2 else {"url": f"https://e.org/{i}", "wnid": f"n{i % 3}"}
        for i in range(25_000)
    ]
    path = write(tmp_path / "t.jsonl", rows)
    photos = all_photos(TableSource(path), ClassInfo("n1", 0))
    assert [p.url for p in photos] == [f"https://e.org/{i}" for i in range(1, 25_000, 3)]
    assert photos[0].width == 1
    assert photos[1].width is None


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published search results are not here")
def test_the_published_files_give_the_published_candidates() -> None:
    records = [(path.name, row) for path in sorted(PUBLISHED.glob("*.json")) for row in json.loads(path.read_text())]
    first: dict[str, dict] = {}
    for _, row in records:
        first.setdefault(row["id_ours"], row)
    source = TableSource(PUBLISHED)
    stored: dict[str, dict] = {}
    rows_by_photo: dict[str, list] = {}
    occurrences = []
    for wnid in sorted({row["wnid"] for _, row in records}):
        for query in source.queries(ClassInfo(wnid, 0)):
            for _, page in walk(source, query):
                assert page.skipped == {}
                known = {"flickr": [r for p in page.photos for r in rows_by_photo.get(p.photo_id, [])]}
                result = identify(page.photos, query=query, known=known, user="nobody", time="never")
                occurrences += result.occurrences
                for candidate in result.candidates:
                    stored[candidate.id] = published_record(candidate)
                    rows_by_photo.setdefault(candidate.photo_id, []).append((candidate.photo_id, candidate.wnid, candidate.id))
    assert stored.keys() == first.keys()
    assert len(stored) + len(occurrences) == len(records)
    for identifier, row in first.items():
        if stored[identifier]["wnid"] == row["wnid"]:  # a photo of two classes may be met in another order than by file
            numbers = {k: int(row[k]) if row[k] is not None else None for k in ("width", "height")}
            assert stored[identifier] == {**row, **numbers}
    assert candidate_id("42857269475", "flickr") in stored

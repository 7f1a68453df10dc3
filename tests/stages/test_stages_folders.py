"""Neighbours between two folders: every metric as the library has it, names in the table, problems reported, nothing left behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from retest.cli import cli
from retest.errors import InputError, UsageError
from retest.images import ImageParameters
from retest.neighbors import NeighborParameters, pair_distance
from retest.stages.folders import neighbors_between

SMALL = ImageParameters(compare_side=32, display_side=33)
OWN = """
import numpy as np
class Corners:
    name, dimensions = "corners-1", 12
    def features(self, images):
        return images[:, [0, 0, -1, -1], [0, -1, 0, -1]].reshape(len(images), -1).astype(np.float32)
"""


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for folder, seeds in (("new", range(3)), ("train", range(2, 12))):
        for seed in seeds:
            path = tmp_path / folder / f"c{seed % 2}" / f"{seed:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
    (tmp_path / "train" / "broken.jpg").write_bytes(b"no")
    return tmp_path / "new", tmp_path / "train"


def pixels(folder: Path) -> dict[str, np.ndarray]:
    return {path.relative_to(folder).as_posix(): np.asarray(Image.open(path)) for path in sorted(folder.rglob("*.png"))}


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("metric", ["l2", "dssim", "phash", "corners"])
def test_the_table_is_that_of_single_pairs(metric, mirrored, folders, tmp_path, monkeypatch):
    (tmp_path / "own_corners.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    new, train = folders
    parameters = NeighborParameters(k=4, ssim_window=7, mirrored=mirrored)
    spec = "corners=own_corners:Corners" if metric == "corners" else None
    found = neighbors_between(new, train, metric=metric, parameters=parameters, featuriser=spec, images=SMALL, scratch=tmp_path / "scratch")

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        if metric == "corners":
            a, b = (image[[0, 0, -1, -1], [0, -1, 0, -1]].reshape(-1).astype(np.float32) for image in (a, b))
        return pair_distance(metric, a, b, window=7)

    references = pixels(train)
    rows = found.table.to_pylist()
    for name, image in pixels(new).items():
        variants = [image, np.ascontiguousarray(image[:, ::-1])][: 1 + mirrored]
        expected = sorted((min(distance(a, b) for a in variants), other) for other, b in references.items())[:4]
        mine = [row for row in rows if row["query"] == name]
        assert [(row["distance"], row["reference"]) for row in mine] == expected
        assert [row["rank"] for row in mine] == [1, 2, 3, 4]
    assert (found.queries, found.references, found.rows) == (3, 10, 12)
    ((name, problem),) = found.problems
    assert name == "broken.jpg"
    assert name not in problem
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_folder_with_itself_begins_with_the_image_itself(folders):
    _, train = folders
    rows = neighbors_between(train, train, metric="l2", parameters=NeighborParameters(k=2), images=SMALL).table.to_pylist()
    assert all(row["query"] == row["reference"] and row["distance"] == 0 for row in rows if row["rank"] == 1)
    assert len(rows) == 20


def test_what_is_asked_for_wrongly(folders, tmp_path):
    new, train = folders
    with pytest.raises(UsageError, match="l3: there is no metric of this name"):
        neighbors_between(new, train, metric="l3", images=SMALL)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no image that can be read"):
        neighbors_between(new, tmp_path / "empty", metric="l2", images=SMALL)


def test_the_command(folders, tmp_path):
    new, train = map(str, folders)
    out = tmp_path / "out" / "pairs.parquet"

    def run(*arguments: str):
        return CliRunner().invoke(cli, ["neighbors-of", new, train, "--side", "32", "--out", str(out), *arguments])

    done = run("--metric", "l2", "--k", "30")
    assert done.exit_code == 0, done.output
    assert "3 queries, 10 references: 30 rows" in done.output
    table = pq.read_table(out)
    assert table.column_names == ["query", "rank", "reference", "distance"]
    done = run("--metric", "dssim", "--window", "7", "--k", "3", "--prerank", "5")
    assert "Pre-ranked (unproven): the 5 best places were compared" in done.output
    done = run("--metric", "dssim", "--window", "7", "--threshold", "0.1")
    assert pq.read_table(out).to_pylist() == [{"query": "c0/02.png", "rank": 1, "reference": "c0/02.png", "distance": 0.0}]
    for wrong, message in (
        ([], "Give --metric or --featuriser"),
        (["--metric", "l2", "--threshold", "0.1"], "belong to --metric dssim"),
        (["--metric", "sscd"], "sscd"),
        (["--metric", "nonsense"], "no metric of this name"),
    ):
        done = run(*wrong)
        assert done.exit_code != 0
        assert message in done.output + str(done.exception)
    assert sorted(path.name for path in out.parent.iterdir()) == ["pairs.parquet"]

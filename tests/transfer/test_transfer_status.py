"""What `retest status` counts after an import equals a count of the JSON files by hand; all through the command line."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from retest.cli import cli

IGNORED = ("2018-08-06_17:33_vaishaal.json", "2018-08-17_17:24_vaishaal.json", "vaishaal_hits_submitted_2018-08-17-18:28:33-PDT.json")
IGNORED += tuple(
    f"vaishaal_hits_submitted_2018-08-{time}-PDT.json" for time in ("17-18:50:38", "17-19:28:24", "17-19:56:28", "25-09:47:26")
)


def run(*arguments):
    done = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout) if "--json" in arguments else done.output


def load(data, pattern):
    return {path.name: json.loads(path.read_text()) for path in sorted(data.glob(pattern))}


def counted(data):
    """The counts of a tree below ``data``, file by file, without any of retest's code."""
    records = [row["id_ours"] for rows in load(data, "search_results/*.json").values() for row in rows]
    files = load(data, "mturk/hit_data_live/*.json")
    hits = {hit["uuid"]: hit for rows in files.values() for hit in rows}
    listed = next(iter(load(data, "mturk/hit_blacklist_live.json").values()), {})
    ignored = {hit["uuid"] for name, rows in files.items() if name in IGNORED for hit in rows}
    pairs = {(first, second) for rows in load(data, "metadata/near_duplicates.json").values() for first in rows for second in rows[first]}
    reviews = next(iter(load(data, "metadata/nearest_neighbor_reviews_v2.json").values()), {})
    return {
        "classes": len(next(iter(load(data, "metadata/class_info.json").values()))),
        "candidates": len(set(records)),
        "duplicate_occurrences": len(records) - len(set(records)),
        "excluded": len(next(iter(load(data, "metadata/candidate_blacklist.json").values()))),
        "hits": len(hits),
        "hits_excluded": len((set(listed) | ignored) & set(hits)),
        "images_to_label": sum(len(hit["images_to_label"]) for hit in hits.values()),
        "positive_controls": sum(len(hit["images_pos_control"]) for hit in hits.values()),
        "negative_controls": sum(len(hit["images_neg_control"]) for hit in hits.values()),
        "near_duplicate_pairs": len(pairs),
        "reviewed_neighbors": sum(len(set(entry["references"])) for metrics in reviews.values() for entry in metrics.values()),
        "revisions": len(load(data, "datasets/*.json")),
    }


def test_counts_of_the_tree_with_traps(tmp_path, layout_tree):
    tree = layout_tree.write_tree(tmp_path / "tree")
    run("import", "imagenetv2", tree, "--study", tmp_path / "study")
    status = run("status", tmp_path / "study", "--json")
    expected = counted(tree / "data")
    assert expected["duplicate_occurrences"] > 0
    assert expected["hits_excluded"] == 2
    assert {name: status[name] for name in expected} == expected
    assert status["assignments"] == 5  # a1 to a4 and a6; a5 has an unknown status, a3 stands twice, a4 answers a HIT that is not here
    # resnet50, fv_16k, alexnet and twice; the others are too short, out of range, a second name, or of an unknown revision
    assert status["predictions"] == 4
    assert status["neighbor_lists"] == {"l2": 1, "dssim": 1, "fc7": 1}


def test_the_layout_is_written_by_the_command_and_read_again(tmp_path, layout_tree):
    run("import", "imagenetv2", layout_tree.write_tree(tmp_path / "tree"), "--study", tmp_path / "study")
    written = run("export", "imagenetv2-layout", "--study", tmp_path / "study", "--out", tmp_path / "out", "--json")
    assert sorted(written["files"]) == sorted(
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()
    )
    again = run("import", "imagenetv2", tmp_path / "out", "--study", tmp_path / "again", "--json")
    assert again["added"]["hits"] == 4
    names = ("candidates", "candidates_by_reference", "hits", "assignments", "selection_frequencies", "revisions", "predictions")
    first, second = (run("status", tmp_path / name, "--json") for name in ("study", "again"))
    assert {name: first[name] for name in names} == {name: second[name] for name in names}
    assert (
        CliRunner()
        .invoke(cli, ["export", "imagenetv2-layout", "--study", str(tmp_path / "study"), "--out", str(tmp_path / "out")])
        .exit_code
    )


@pytest.mark.slow
def test_counts_of_the_published_data(tmp_path, published, part_of):
    part = part_of(published, tmp_path / "part", predictions=0)
    run("import", "imagenetv2", part, "--study", tmp_path / "study")
    status = run("status", tmp_path / "study", "--json")
    expected = counted(part / "data")
    assert {name: status[name] for name in expected} == expected

"""The page on evaluation: every command and every block on it is run."""

import pytest
from doc_runner import ROOT, Page

pytest.importorskip("timm")
pytest.importorskip("onnxruntime")


def test_evaluating(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = Page(ROOT / "docs/evaluating.md").run()
    assert ran["retest evaluate"] == 4
    assert ran["retest models"] == ran["retest accuracy"] == ran["retest disagreements"] == 1
    files = {path.stem for path in (tmp_path / "predictions" / "photos").glob("*.parquet")}
    assert files == {"mine", "checkpoint", "our-net", "test_vit%40random", "test_efficientnet%40random"}

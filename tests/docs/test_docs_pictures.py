"""Which pictures the repository holds: those that tests make of what may be published, and the drawings of the package; nothing else."""

from __future__ import annotations

import re
import subprocess

import pytest
from doc_runner import ROOT

IMAGES = re.compile(r"\.(png|jpe?g|jpe|jfif|gif|webp|svg|ico|bmp|tiff?|ppm|pgm|avif|heic|jp2|npy|npz)$", re.IGNORECASE)
ASSETS = {"src/retest/web/review/static/missing.svg", "src/retest/web/review/static/unreachable.svg"}
REVIEW = "tests/web_review/test_web_review_{}browser.py"
MADE_BY = {
    "labelling-task.png": "tests/docs/test_docs_screenshots.py",
    "leakage.png": "tests/docs/test_docs_screenshots.py",
    "report.png": "tests/docs/test_docs_screenshots.py",
    "review-annotator.png": REVIEW.format("hits_"),
    "review-audit.png": REVIEW.format(""),
    "review-class.png": REVIEW.format(""),
    "review-classes.png": REVIEW.format(""),
    "review-component.png": REVIEW.format("judging_"),
    "review-hit.png": REVIEW.format("hits_"),
    "review-hits.png": REVIEW.format("hits_"),
    "review-pairs.png": REVIEW.format("judging_"),
    "review-predictions.png": REVIEW.format("predictions_"),
    "review-progress.png": REVIEW.format(""),
    "review-revision-class.png": REVIEW.format("judging_"),
    "review-revisions.png": REVIEW.format("judging_"),
    "rooms.svg": "docs/pictures.py",
    "walk.svg": "docs/pictures.py",
}
"""Pictures of docs/images, each with the test that makes it, or with the program that draws it (and that a test compares it with)."""


def test_the_repository_holds_no_picture_that_is_not_listed():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    pictures = {path for path in listed.stdout.split("\0") if IMAGES.search(path)}
    assert pictures == ASSETS | {f"docs/images/{name}" for name in MADE_BY}


@pytest.mark.parametrize("name", MADE_BY)
def test_pictures_are_made_from_what_may_be_published(name):
    text = (ROOT / MADE_BY[name]).read_text(encoding="utf-8")
    bare = name.removeprefix("review-").rpartition(".")[0]
    assert re.search(rf"[\"'/](review-)?{bare}[\"'.{{]", text), "nothing makes this picture"
    helper = ROOT / "tests/web_review/review_digits.py"
    for said in (text, helper.read_text(encoding="utf-8")):
        assert not re.search(r"[\"'/]shared[\"'/]", said), "what lies beside the repository must not be published"

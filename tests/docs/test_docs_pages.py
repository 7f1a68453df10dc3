"""Every page of the documentation that this room runs: each command, each block of code, and what it prints."""

from __future__ import annotations

import shutil

import pytest
from doc_runner import ROOT, Page, PageError, blocks


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_cifar(folder, published_cifar):
    shutil.copytree(published_cifar, folder / "CIFAR-10.1")
    (folder / "CIFAR-10.1" / "cifar10-test-labels.npy").rename(folder / "cifar10-test-labels.npy")
    ran = Page(ROOT / "docs/cifar.md").run()
    assert ran["retest label"] == 8
    assert ran["retest sample"] == 2
    assert (folder / "digits.html").stat().st_size > 10_000


@pytest.mark.long
def test_tutorial(folder):
    ran = Page(ROOT / "docs/tutorial.md").run()
    assert ran["retest label"] == 4
    assert ran["retest sample"] == 2
    assert "SIMULATED" in (folder / "report.html").read_text(encoding="utf-8")
    assert len(list((folder / "my-b-1").rglob("*.jpg"))) == 40


@pytest.mark.parametrize("name", ["install.md", "../CONTRIBUTING.md", "../README.md"])
def test_installing_and_contributing(name, folder):
    assert Page(ROOT / "docs" / name).run().total() >= 2


@pytest.mark.parametrize(
    "name", ["index", "explanation", "pitfalls", "features", "reference/stability", "reference/api", "reference/commands"]
)
def test_pages_without_blocks_hide_none(name):
    assert blocks((ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")) == []


def test_a_lie_on_a_page_would_be_seen(folder):
    for lie, message in (
        ("```console\n$ retest --version\nretest, version 99\n```\n", "the command prints"),
        ("```console\n$ retest nothing\n```\n", "ended with 2"),
        ("```console\n$ make nothing\n```\n", "no target"),
        ("```console\n$ rm -r x\n```\n", "not run by any test"),
        ("```pycon\n>>> 1 + 1\n3\n```\n", "Expected"),
        ("```ruby\nputs 1\n```\n", "neither run nor known"),
    ):
        page = folder / "page.md"
        page.write_text(lie)
        with pytest.raises(PageError, match=message):
            Page(page).run()

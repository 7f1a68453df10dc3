"""Every page of the documentation that this room runs: each command, each block of code, and what it prints."""

from __future__ import annotations

import shutil

import pytest
from doc_runner import ROOT, Page


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

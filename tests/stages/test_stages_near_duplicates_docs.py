"""docs/near-duplicates.md: its commands and examples run, its settings are settings, its figures are those of the benchmark's form."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "near-duplicates.md"


def runner():
    name = "near_duplicates_doc_runner"
    spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / "docs" / "doc_runner.py")
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def small_vgg():
    import torch
    from torchvision.models import vgg

    torch.manual_seed(0)
    model = vgg.VGG(vgg.make_layers([2, "M", 2, "M", 2, "M", 4, "M", 4, "M"]), init_weights=False)
    nn = torch.nn
    model.classifier = nn.Sequential(
        nn.Linear(4 * 49, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 6), nn.ReLU(), nn.Dropout(), nn.Linear(6, 2)
    )
    return model


@pytest.fixture
def workplace(ready, tmp_path, monkeypatch):
    """A study, two folders, and small stand-ins for published weights."""
    torch = pytest.importorskip("torch", reason="the page's featurisers need the extra 'models'")
    shutil.copytree(ready.folder, tmp_path / "my-study")
    shutil.rmtree(tmp_path / "train")  # the benchmark's, which is stored already
    for folder, seeds in (("train", range(6)), ("new", range(4, 8))):
        for seed in seeds:
            path = tmp_path / folder / "thing" / f"{seed}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
            Image.fromarray(noise).resize((256, 256), Image.Resampling.BICUBIC).save(path)

    class Descriptor(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.normalize(torch.nn.functional.avg_pool2d(x, 96).flatten(1), dim=1)

    torch.jit.script(Descriptor()).save(str(tmp_path / "sscd.torchscript.pt"))
    torch.save(small_vgg().state_dict(), tmp_path / "vgg16.pth")
    monkeypatch.setattr("torchvision.models.get_model", lambda name, weights: small_vgg())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_tells_the_truth(workplace):
    page = runner().Page(PAGE)
    text = PAGE.read_text(encoding="utf-8")
    own = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[0]
    exec(own, {})  # the page shows the command before the file that it names
    ran = page.run()
    assert (ran["retest neighbors"], ran["retest neighbors-of"], ran["retest duplicates"], ran["retest plan"]) == (4, 4, 7, 2)
    assert "data:image/jpeg" in (workplace / "leakage.html").read_text()


def test_the_tables_have_every_alteration_and_metric():
    spec = importlib.util.spec_from_file_location("perf_recall_of_page", ROOT / "perf" / "neighbors_recall.py")
    perf = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(perf)
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+?) \| \d", text, re.MULTILINE)
    assert [row for row in rows if row in perf.ALTERATIONS] == list(perf.ALTERATIONS)
    header = next(line for line in text.splitlines() if line.startswith("| alteration |"))
    metrics = [cell.strip() for cell in header.split("|")[2:-1]]
    assert metrics[:4] == ["l2", "dssim", "phash", "squeezenet"]
    curve = re.findall(r"^\| (\w+) \| [\d.e+,]+ \| 0\.|^\| (\w+) \| [\d.e+,]+ \| 1\.", text, re.MULTILINE)
    assert {first or second for first, second in curve} >= set(metrics[:4])
    for value in re.findall(r"\d\.\d{3}(?= \()", text):
        assert 0.0 <= float(value) <= 1.0

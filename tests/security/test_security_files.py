"""Files that users and models' publishers hand over, damaged: each is read, or refused with a message."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import security_json as odd
from hypothesis import HealthCheck, given, settings

from retest.benchmarks.labelfiles import read_label_file
from retest.cli._label_manage import _read_decisions
from retest.cli._sampling_files import read_reference, read_strata, read_thresholds
from retest.cli._two_pass import read_judgements
from retest.crowd.page import html_of_question, html_question
from retest.errors import RetestError
from retest.models.published import read_published_predictions
from retest.models.transforms import read_description
from retest.models.weights import read_state_dict
from retest.sources.flickr import read_flickr_key
from retest.sources.opening import read_hand_terms
from retest.stages._evaluation_sets import read_class_list
from retest.stages.cifar import read_test_labels

FEW = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


@dataclass(frozen=True)
class Reader:
    """A reader of files of this name, and a valid one: bytes, or a JSON document."""

    name: str
    valid: Any
    read: Callable[[Path], object]


def _array(values: Any) -> bytes:
    data = io.BytesIO()
    np.save(data, values, allow_pickle=False)
    return data.getvalue()


def _checkpoint(suffix: str) -> bytes | None:
    """Weights in either form; None without PyTorch."""
    try:
        import safetensors.torch
        import torch
    except ModuleNotFoundError:
        return None
    tensors = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.zeros(2)}
    if suffix == ".safetensors":
        return bytes(safetensors.torch.save(tensors))
    data = io.BytesIO()
    torch.save(tensors, data)
    return data.getvalue()


def _published(path: Path) -> object:
    return read_published_predictions(path, dataset="d", images=[(f"i{number}", number) for number in range(4)])


FORM = "<form><input name='select-0'></form>"


def _task_page(path: Path) -> object:
    return html_of_question(path.read_text("utf-8", "replace"))


READERS = {
    "thresholds": Reader("t.json", {"n01440764": 0.6, "n01443537": 1}, read_thresholds),
    "strata JSON": Reader("s.json", {"c1": "one", "c2": ["one", "two"]}, read_strata),
    "strata CSV": Reader("s.csv", b'candidate,stratum\nc1,one\nc2,"two, too"\n', read_strata),
    "reference counts JSON": Reader("r.json", {"n1": {"one": 12, "two": 0}}, read_reference),
    "reference counts CSV": Reader("r.csv", b"wnid,stratum,count\nn1,one,12\nn1,two,0\n", read_reference),
    "judgements JSON": Reader("j.json", {"c1": True, "c2": False}, read_judgements),
    "judgements CSV": Reader("j.csv", b"candidate,selected\nc1,yes\nc2,no\n", read_judgements),
    "decisions": Reader("d.csv", b'assignment_id,feedback\nA1,"all boxes, always"\n# x\nA2\n', lambda path: _read_decisions(path, "f")),
    "hand-selected terms": Reader("h.json", {"n01443537": ["goldfish", "koi"]}, read_hand_terms),
    "Flickr key": Reader("k.json", ["k" * 32, "s" * 16], lambda path: read_flickr_key({}, key_file=path)),
    "class list": Reader("c.json", [{"cid": 0, "wnid": "n1", "synset": ["a"]}, {"cid": 1, "wnid": "n2", "synset": ["b"]}], read_class_list),
    "class names": Reader("c.txt", "tench\ngoldfish\né\n".encode(), read_class_list),
    "label file": Reader("l.csv", b"image,label\na.jpg,cat\nb.jpg,dog\n", lambda path: read_label_file(path, images=["a.jpg", "b.jpg"])),
    "class indices": Reader("l.npy", _array(np.arange(10_000) % 10), read_test_labels),
    "published predictions": Reader("m.npy", _array(np.arange(20).reshape(4, 5)), _published),
    "preprocessing": Reader("p.json", {"steps": [{"resize": 8}], "mean": [0, 0, 0], "std": [1, 1, 1]}, read_description),
    "weights, safetensors": Reader("w.safetensors", _checkpoint(".safetensors"), read_state_dict),
    "weights, PyTorch": Reader("w.pt", _checkpoint(".pt"), read_state_dict),
    "task page": Reader("q.xml", html_question(FORM, item="x").encode(), _task_page),
}


def _reader(name: str) -> Reader:
    reader = READERS[name]
    if reader.valid is None:
        pytest.skip("needs PyTorch (the extra 'models')")
    return reader


def _on_disk(reader: Reader, data: bytes) -> object:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / reader.name
        path.write_bytes(data)
        return reader.read(path)


@pytest.mark.parametrize("name", READERS)
def test_the_valid_file_is_read(name: str):
    reader = _reader(name)
    assert _on_disk(reader, reader.valid if isinstance(reader.valid, bytes) else json.dumps(reader.valid).encode()) is not None


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_refused_with_a_message(name: str):
    reader = _reader(name)
    strategy = odd.damaged(reader.valid) if isinstance(reader.valid, bytes) else odd.documents(reader.valid)

    @FEW
    @given(strategy)
    def check(data: bytes) -> None:
        try:
            _on_disk(reader, data)
        except RetestError as error:
            if not error.problem:
                pytest.fail("no clear message")

    check()


DEEP = b"[" * 100_000
LONG_CELL = b'a,"' + b"x" * 140_000 + b'"\n'


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    "data", [b"", DEEP, b'{"a":' * 50_000, LONG_CELL, b"a,b\0c\n", b"\xff\xfe\0", b"9" * 5000, b'{"a": 1, "a": 1e400}']
)
def test_what_breaks_simple_readers(name: str, data: bytes):
    try:
        _on_disk(_reader(name), data)
    except RetestError as error:
        assert error.problem  # noqa: PT017 either is fine

from __future__ import annotations

import dataclasses
import io
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from retest.errors import ImageError, UsageError
from retest.images import ImageParameters
from retest.records import Revision
from retest.report import (
    Band,
    ExclusionCount,
    ExtraTable,
    FrequencyHistogram,
    Notice,
    Parameter,
    PlantedCheck,
    PlantedKind,
    ReportImage,
    Scatter,
    ScatterPoint,
    Section,
    StageSize,
    StudyReport,
    TargetComparison,
    parameters_of,
    plain_value,
    revision_facts,
)
from retest.report.records import Column, DatasetFacts


def encoded(kind, size, mode="RGB", **options):
    out = io.BytesIO()
    Image.new(mode, size, 128).save(out, kind, **options)
    return out.getvalue()


@settings(deadline=None)
@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    kind=st.sampled_from(["PNG", "JPEG"]),
    mode=st.sampled_from(["L", "RGB"]),
    progressive=st.booleans(),
)
def test_type_and_size_of_images_are_those_that_pillow_wrote(width, height, kind, mode, progressive):
    data = encoded(kind, (width, height), mode, **({"progressive": progressive, "comment": b"x" * 300} if kind == "JPEG" else {}))
    image = ReportImage("an-image", data)
    assert (image.media_type, image.width, image.height) == (f"image/{kind.lower()}", width, height)
    assert image.uri.startswith(f"data:image/{kind.lower()};base64,")


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        SVG,
        b"<!DOCTYPE html><script>alert(1)</script>",
        b"<?xml version='1.0'?>" + SVG,
        b"\xef\xbb\xbf" + SVG,
        encoded("GIF", (5, 5)),
        encoded("WEBP", (5, 5)),
        encoded("BMP", (5, 5)),
        b"\x89PNG\r\n\x1a" + SVG,
        b"\xff\xd8" + SVG,
        encoded("PNG", (5, 5))[1:],
    ],
)
def test_bytes_that_do_not_begin_as_jpeg_or_png_are_refused(data):
    with pytest.raises(ImageError, match=r"some-id: is neither a JPEG nor a PNG image\. Give one of the study's stored variants"):
        ReportImage("some-id", data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_every_cut_of_a_header_is_refused_or_still_states_its_size(kind):
    data = encoded(kind, (37, 21))
    sizes = set()
    for end in range(3, len(data)):
        try:
            image = ReportImage("cut", data[:end])
        except ImageError:
            assert not sizes, "refused although a shorter cut was accepted"
        else:
            sizes.add((image.width, image.height))
    assert sizes == {(37, 21)}


def test_a_zero_size_in_the_header_is_refused():
    data = bytearray(encoded("PNG", (5, 5)))
    data[16:20] = bytes(4)
    with pytest.raises(ImageError, match="ends before its size is stated") as caught:
        ReportImage("zero", bytes(data))
    assert caught.value.reason == "truncated"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StageSize("Candidates", -1), "stage 'Candidates': count is -1"),
        (lambda: ExclusionCount("blurred", -2), "exclusion reason 'blurred': count is -2"),
        (lambda: FrequencyHistogram("val", (0.0, 1.0), (1, 2)), "counts has 2 entries for 1 bins"),
        (lambda: FrequencyHistogram("val", (0.0, 0.5, 0.5), (1, 2)), "edges are"),
        (lambda: FrequencyHistogram("val", (0.0, float("nan")), (1,)), "edges are"),
        (lambda: FrequencyHistogram("val", (0.0, 1.0), (-1,)), "negative"),
        (lambda: TargetComparison("b", "val", (0.0, 1.0), (1,), ()), "achieved has 0 entries"),
        (lambda: PlantedKind("copy", 3, 4), "4 found of 3"),
        (lambda: PlantedCheck((), 3, 4), "4 correct of 3 marked"),
        (lambda: ScatterPoint("m", 0.5, 70.0), "accuracy 70.0"),
        (lambda: ScatterPoint("m", 0.5, 0.6, x_low=0.55), r"accuracy 0.5 with interval \[0.55, None\]"),
        (lambda: Band((0.1,), (0.1,), (0.2,), "band"), "two or more x"),
        (lambda: Band((0.1, float("inf")), (0.1, 0.2), (0.2, 0.3), "band"), "not finite"),
        (lambda: Scatter("val", "b", ()), "has no point"),
        (lambda: ExtraTable("t", (Column("a"),), (("x", "y"),)), "a row has 2 cells"),
        (lambda: Column("a", "integer"), "column 'a': kind is 'integer'"),
        (lambda: StudyReport(title=" "), "title: is empty"),
        (lambda: StudyReport(title="t", datasets=(DatasetFacts("a"), DatasetFacts("a"))), "a name comes twice"),
        (
            lambda: StudyReport(
                title="t", frequencies=(FrequencyHistogram("a", (0.0, 1.0), (1,)), FrequencyHistogram("b", (0.0, 2.0), (1,)))
            ),
            "different bins",
        ),
    ],
)
def test_records_refuse_what_cannot_be(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_a_pair_of_set_and_model_may_come_once(report):
    row = report.accuracy[0]
    with pytest.raises(UsageError, match="accuracy: a pair of data set and model comes twice"):
        StudyReport(title="t", accuracy=(row, row))


def test_a_fit_must_belong_to_its_scatter(report):
    first, second, *_ = report.scatters
    with pytest.raises(UsageError, match="Give the fit of these two sets on the scale of the axes"):
        dataclasses.replace(first, fit=second.fit)
    with pytest.raises(UsageError, match="Give the fit of these two sets on the scale of the axes"):
        dataclasses.replace(first, scale="probit")


def test_records_are_frozen(report):
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.title = "other"


def test_recall_and_precision():
    check = PlantedCheck((PlantedKind("a", 10, 9), PlantedKind("b", 0, 0), PlantedKind("c", 30, 30)), 40, 38)
    assert check.recall == pytest.approx(39 / 40)
    assert check.precision == pytest.approx(38 / 40)
    assert [kind.recall for kind in check.kinds] == [pytest.approx(0.9), None, 1.0]
    nothing = PlantedCheck((), 0, 0)
    assert nothing.recall is None
    assert nothing.precision is None


def test_a_notice_without_sections_concerns_all():
    assert all(Notice("simulated").concerns(section) for section in Section)
    assert [section for section in Section if Notice("x", sections=(Section.SAMPLES,)).concerns(section)] == [Section.SAMPLES]
    assert Notice("long text").short == "long text"
    assert Notice("long text", "short").short == "short"


@dataclass(frozen=True)
class Settings:
    per_class: int = field(default=10, metadata={"help": "images per class"})
    metrics: tuple[str, ...] = ("l2", "dssim")
    targets: dict[str, float] = field(default_factory=lambda: {"l2": 1.2e8})
    seed: int | None = None
    upward: bool = False


def test_parameters_come_with_their_help_text():
    assert parameters_of(Settings()) == (
        Parameter("per_class", "10", "images per class"),
        Parameter("metrics", "l2, dssim"),
        Parameter("targets", "l2: 120000000"),
        Parameter("seed", "none"),
        Parameter("upward", "no"),
    )
    assert [p.name for p in parameters_of(Settings(), only=("seed", "per_class"))] == ["seed", "per_class"]
    shipped = parameters_of(ImageParameters())
    assert [p.name for p in shipped] == [f.name for f in dataclasses.fields(ImageParameters)]
    assert all(p.explanation for p in shipped)


def test_parameters_of_something_else_are_refused():
    with pytest.raises(UsageError, match="is a dict, not an instance of a dataclass"):
        parameters_of({"a": 1})
    with pytest.raises(UsageError, match="not an instance"):
        parameters_of(Settings)
    with pytest.raises(UsageError, match=r"no field 'sed'\. Choose from: per_class, metrics"):
        parameters_of(Settings(), only=("sed",))


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "yes"), (0.1, "0.1"), ([1, 2.5], "1, 2.5"), ({}, "none"), ({"a": [1]}, "a: 1"), ("x", "x"), (1.2e8, "120000000")],
)
def test_plain_values(value, text):
    assert plain_value(value) == text


def test_facts_of_a_revision():
    images = (("i1", "n1"), ("i2", "n1"), ("i3", "n2"))
    revision = Revision("b-33", "sample_wnid_histogram", images, False, 7, {"z": 1, "a": None}, "b-32", "ann", "2018")
    facts = revision_facts(revision, note="short")
    assert (facts.n_images, facts.n_classes, facts.is_valid, facts.seed, facts.starting_from) == (3, 2, False, 7, "b-32")
    assert facts.parameters == (Parameter("a", "none"), Parameter("z", "1"))
    assert (facts.user, facts.time, facts.note) == ("ann", "2018", "short")

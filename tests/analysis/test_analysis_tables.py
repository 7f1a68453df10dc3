import csv

import numpy as np
import pytest
from scipy.stats import linregress, norm

from retest.analysis import TableRow, fit_accuracies, join_tables, parse_number, read_table_rows
from retest.errors import InputError, UsageError


@pytest.fixture(scope="session")
def timm(timm_folder):
    def read(name):
        with (timm_folder / name).open(newline="") as file:
            return read_table_rows(csv.DictReader(file))

    return read("results-imagenet.csv"), read("results-imagenetv2-matched-frequency.csv")


@pytest.mark.parametrize(
    ("scale", "slope", "intercept", "r2"),
    [
        ("linear", 1.143819, -22.502471, 0.980805),
        ("probit", 0.963495, -0.322949, 0.991869),
        ("logit", 0.916018, -0.485739, None),
    ],
)
def test_timm_join_gives_the_reference_fits(timm, scale, slope, intercept, r2):
    paired = join_tables(*timm)
    fit = fit_accuracies(paired.points, scale=scale, bootstrap=200)
    assert (fit.n_models, fit.n_distinct_models) == (1556, 1266)
    assert (fit.slope, fit.intercept) == pytest.approx((slope, intercept), abs=5.1e-7)
    if r2 is not None:
        assert fit.r2 == pytest.approx(r2, abs=5.1e-7)
    assert paired.notes == ()


def test_timm_trap_of_thousands_separators(timm):
    counts = [row.param_count for row in timm[0]]
    assert max(counts) > 1000
    assert 1013.01 in counts


def rows(*cells):
    return read_table_rows([dict(zip(("model", "img_size", "top1", "top5"), row, strict=False)) for row in cells])


def test_join_is_on_model_and_size_and_names_the_rest():
    original = rows(("a", "224", "76.0", "93"), ("a", "288", "78.0", "94"), ("b", "224", "70", "90"))
    new = rows(("a", "288", "66.0", "84"), ("a", "224", "63.0", "83"), ("c", "224", "1", "2"))
    paired = join_tables(original, new, original_name="v1", new_name="v2")
    assert [(p.label, p.original, p.new) for p in paired.points] == [("a@224", 0.76, 0.63), ("a@288", 0.78, 0.66)]
    assert paired.notes == (
        "1 model(s) have no counterpart and are left out, only on v1: b@224",
        "1 model(s) have no counterpart and are left out, only on v2: c@224",
    )
    assert join_tables(original, new, metric="top5").points[0].new == 0.83


def test_join_without_sizes_is_on_the_model_and_refuses_repeated_ones():
    plain = [TableRow("a", 0.6), TableRow("b", 0.5)]
    sized = rows(("a", "224", "76"), ("b", "224", "75"))
    assert [p.label for p in join_tables(plain, sized).points] == ["a", "b"]
    twice = rows(("a", "224", "76"), ("a", "288", "75"))
    with pytest.raises(InputError, match=r"a: comes twice in a table. Give both tables a column img_size"):
        join_tables(plain, twice)


def test_units():
    fractions = [{"Model": "a", " TOP1 ": 0.75, "top5": ""}]
    assert read_table_rows(fractions) == [TableRow("a", 0.75)]
    assert read_table_rows([{"model": "a", "top1": "0.75"}], unit="percent")[0].top1 == 0.0075
    assert read_table_rows([{"model": "a", "top1": "75%", "n": "1,000"}]) == [TableRow("a", 0.75, n=1000)]
    assert read_table_rows([{"model": "a", "top1": "75"}], n=50)[0].n == 50


@pytest.mark.parametrize(
    ("records", "unit", "message"),
    [
        ([], "auto", "the table has no rows"),
        ([{"model": "a"}], "auto", "row 1: no value for top1"),
        ([{"model": " ", "top1": "75"}], "auto", "row 1: no value for model"),
        ([{"model": "a", "top1": "n/a"}], "auto", "row 1, column top1: 'n/a' is no number. Write numbers as 1234.5 or 1,234.5"),
        ([{"model": "a", "top1": True}], "auto", "row 1, column top1: True is no number"),
        ([{"model": "a", "top1": "75"}], "fraction", "a: top1 75 is no fraction"),
        ([{"model": "a", "top1": "175"}], "auto", "a: top1 175 is no percent"),
        ([{"model": "a", "top1": "75"}, {"model": "b", "top1": "nan"}], "auto", "row 2, column top1: 'nan' is no number"),
        ([{"model": "a", "top1": "inf"}], "auto", "row 1, column top1: 'inf' is no number"),
        ([{"model": "a", "top1": "75", "top5": float("nan")}], "auto", "row 1, column top5: nan is no number. .* leave the cell empty"),
        ([{"model": "a", "top1": "75", "n": "nan"}], "auto", "row 1, column n: 'nan' is no number. .* leave the cell empty"),
        ([{"model": "a", "top1": "75", "n": "0"}], "auto", "row 1, column n: 0 is no number of images. Write a whole number of at least 1"),
        ([{"model": "a", "top1": "75", "n": "99.5"}], "auto", "row 1, column n: 99.5 is no number of images"),
        ([{"model": "a", "top1": "75", "img_size": "224.5"}], "auto", "row 1, column img_size: 224.5 is no number of pixels"),
        ([{"model": "a", "top1": "75", "img_size": "-224"}], "auto", "row 1, column img_size: -224 is no number of pixels"),
        ([{"model": "a", "top1": "75", "param_count": "-1"}], "auto", "row 1, column param_count: -1 is negative"),
        ([{"model": "a", "top1": 1}, {"model": "a", "top1": 1}], "auto", "a: comes twice in a table"),
    ],
)
def test_unusable_tables_are_named(records, unit, message):
    with pytest.raises(InputError, match=message):
        read_table_rows(records, unit=unit)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "my.csv: the table has no rows"),
        ([{"model": "a", "top1": "75", "n": "nan"}], "my.csv, row 1, column n: 'nan' is no number"),
        ([{"model": "a", "top1": 1}, {"model": "a", "top1": 1}], "my.csv, a: comes twice"),
    ],
)
def test_the_table_is_named_where_it_has_a_name(records, message):
    with pytest.raises(InputError, match=message):
        read_table_rows(records, name="my.csv")


def test_whole_numbers_may_be_written_as_decimals():
    row = read_table_rows([{"model": "a", "top1": "75", "img_size": "224.0", "n": 50_000.0, "param_count": ""}])[0]
    assert (row.img_size, row.n, row.param_count) == (224, 50_000, None)
    assert isinstance(row.img_size, int)


def test_a_number_of_images_for_all_rows_is_checked_as_well():
    with pytest.raises(UsageError, match="n: is 0, less than 1"):
        read_table_rows([{"model": "a", "top1": "75"}], n=0)


def test_numbers():
    assert parse_number(" 1,013.01 ") == 1013.01
    assert parse_number("12.5%") == 12.5
    assert parse_number(3) == 3.0


def test_join_on_the_model_alone_would_be_wrong(timm):
    # Why the key has the size: pairing first occurrences by name gives another line.
    first = {}
    for row in timm[1]:
        first.setdefault(row.model, row.top1)
    pairs = [(row.top1, first[row.model]) for row in timm[0]]
    wrong = linregress(norm.ppf([a for a, _ in pairs]), norm.ppf([b for _, b in pairs]))
    assert not np.isclose(wrong.slope, 0.963495, atol=1e-4)

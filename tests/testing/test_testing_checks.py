"""What the conformance suites demand is demanded, and what fakes cannot do is said."""

from __future__ import annotations

import pytest

from retest.errors import ConfigError, NotFoundError, StoreError, UsageError
from retest.testing._checks import check, raises
from retest.testing.imageserver import FaultyImageServer
from retest.testing.scale import ScaleParameters
from retest.testing.synthetic import SyntheticParameters


def test_a_condition_that_does_not_hold_is_said():
    check(True, "fine")
    with pytest.raises(AssertionError, match=r"^it is odd$"):
        check(False, "it is odd")


def test_an_error_of_the_kind_with_item_and_remedy_is_what_is_wanted():
    with raises(StoreError, "nothing was said"):
        raise NotFoundError("is not there", item="", remedy="Look elsewhere")  # an empty key is an item


@pytest.mark.parametrize(
    "error",
    [UsageError("is wrong"), UsageError("is wrong", item="x"), UsageError("is wrong", remedy="y"), UsageError("", item="x", remedy="y")],
)
def test_an_error_that_helps_nobody_is_said(error):
    with pytest.raises(AssertionError, match="lacks an item or a remedy"), raises(UsageError, "nothing was said"):
        raise error


def test_no_error_and_another_kind_are_told_apart():
    with pytest.raises(AssertionError, match=r"^nothing was said$"), raises(UsageError, "nothing was said"):
        pass
    with pytest.raises(StoreError), raises(UsageError, "nothing was said"):
        raise StoreError("something else", item="x", remedy="y")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SyntheticParameters(classes=0), "classes: must be a whole number of at least 1, not 0"),
        (lambda: SyntheticParameters(excluded=1.5), "excluded: the value must be a number from 0 to 1, not 1.5"),
        (lambda: ScaleParameters(classes=2.5), "classes: must be a whole number of at least 2, not 2.5"),
        (lambda: ScaleParameters(classes=5, candidates=9), "candidates: must be a whole number of at least 10, not 9"),
        (lambda: FaultyImageServer(["ok", "rude"]), "manners: must be one of ok, no-length"),
    ],
)
def test_what_a_fake_cannot_do_is_said(make, says):
    with pytest.raises(ConfigError) as error:
        make()
    assert str(error.value).startswith(says)

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from retest.errors import UsageError
from retest.models import top_k


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(0, 5), st.integers(1, 8)), elements=st.sampled_from([-2.0, 0.0, 0.5, 0.5000001, 3.0])),
    st.integers(1, 10),
)
def test_equals_sorting_by_score_then_class(scores, k):
    classes, best = top_k(scores, k)
    assert classes.dtype == np.int64
    assert best.dtype == np.float32
    assert classes.shape == best.shape == (len(scores), min(k, scores.shape[1]))
    for row, ours, values in zip(scores.tolist(), classes.tolist(), best.tolist(), strict=True):
        expected = sorted(range(len(row)), key=lambda index: (-row[index], index))[:k]
        assert ours == expected
        assert values == [row[index] for index in expected]


@pytest.mark.parametrize(("scores", "k", "message"), [([1.0], 1, "table"), ([[1.0]], 0, "at least 1"), ([[np.nan, 1.0]], 1, "NaN")])
def test_wrong_arguments_are_named(scores, k, message):
    with pytest.raises(UsageError, match=message):
        top_k(scores, k)


def test_importing_the_room_loads_no_heavy_library():
    heavy = "('sklearn', 'pyarrow', 'scipy', 'PIL', 'torch', 'pandas')"
    code = f"import sys, retest.models; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"

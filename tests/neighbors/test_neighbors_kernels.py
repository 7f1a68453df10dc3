"""What the compiled kernels are built on: lanes, and a cache that several processes can share or that cannot be written."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import njit

import retest.neighbors
from retest.neighbors._simd import load, maximum, minimum, multiply_add, pair_products, splat, store, to_float64


@njit
def _arithmetic(a, b, out):
    x, y = load(a, 0), load(b, 0)
    store(out[0], 0, x + y)
    store(out[1], 0, x - y)
    store(out[2], 0, x * y)
    store(out[3], 0, x / y)
    store(out[4], 0, minimum(x, y))
    store(out[5], 0, maximum(x, y))
    store(out[6], 0, multiply_add(x, y, splat(-1.0)))


@njit
def _integers(a, b, out, floats):
    x, y = load(a, 1), load(b, 1)
    store(out[0], 0, x + y)
    store(out[1], 0, x - y)
    store(out[2], 0, x * y)
    store(out[3], 0, pair_products(x, y))
    store(floats, 0, to_float64(x))


def test_lanes_compute_what_scalars_do():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=8), rng.normal(size=8)
    out = np.empty((7, 8))
    _arithmetic(a, b, out)
    fused = [float(np.longdouble(x) * np.longdouble(y) - 1) for x, y in zip(a, b, strict=True)]
    for row, expected in enumerate([a + b, a - b, a * b, a / b, np.minimum(a, b), np.maximum(a, b)]):
        np.testing.assert_array_equal(out[row], expected)
    np.testing.assert_allclose(out[6], fused, rtol=1e-15)


def test_fused_multiplication_rounds_once():
    tiny = 2.0**-30
    a, b = np.full(8, 1 + tiny), np.full(8, 1 - tiny)
    out = np.empty((7, 8))
    _arithmetic(a, b, out)
    assert (out[6] == -(tiny**2)).all()
    assert ((a * b) - 1 == 0).all()


def test_integer_lanes():
    rng = np.random.default_rng(1)
    a, b = (rng.integers(-(2**15), 2**15, (9, 2)).astype(np.int16) for _ in range(2))
    packed_a, packed_b = a.view(np.int32)[:, 0], b.view(np.int32)[:, 0]
    out, floats = np.empty((4, 8), np.int32), np.empty(8)
    _integers(packed_a, packed_b, out, floats)
    np.testing.assert_array_equal(out[3], (a.astype(np.int64) * b).sum(axis=1)[1:].astype(np.int32))
    np.testing.assert_array_equal(out[0], (packed_a + packed_b)[1:])
    np.testing.assert_array_equal(out[1], (packed_a - packed_b)[1:])
    np.testing.assert_array_equal(out[2], (packed_a * packed_b)[1:])
    np.testing.assert_array_equal(floats, packed_a[1:])


def run(code, **environment):
    """Start Python on ``code``; wait for it with ``finish``."""
    source = str(Path(retest.neighbors.__file__).parents[2])
    full = {**os.environ, "PYTHONPATH": source, **environment}
    return subprocess.Popen([sys.executable, "-c", code], env=full, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    return out


SEARCH = """
import numpy as np
import pytest
from retest.neighbors import nearest_features
table = np.arange(60, dtype=np.float32).reshape(20, 3)
print(nearest_features(table, table, k=2).indices.sum())
"""


def test_importing_the_room_does_not_compile():
    code = "import sys, retest.neighbors; print(any(name in sys.modules for name in ('numba', 'llvmlite', 'scipy', 'sklearn')))"
    assert finish(run(code)).strip() == "False"


def test_processes_may_start_together_on_an_empty_cache(tmp_path):
    started = [run(SEARCH, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(3)]
    first, *others = [finish(process) for process in started]
    assert others == [first, first]
    assert finish(run(SEARCH, NUMBA_CACHE_DIR=str(tmp_path))) == first
    assert list(tmp_path.rglob("*.nbc"))


def test_kernels_work_where_no_cache_can_be_written():
    """A package folder that cannot be written, and no home either: kernels are then compiled in every process."""
    code = (
        "from numba.core import caching\n"
        "refuse = classmethod(lambda cls, function, path: None)\n"
        "for locator in caching.CacheImpl._locator_classes:\n"
        "    locator.from_function = refuse\n" + SEARCH
    )
    assert finish(run(code)) == finish(run(SEARCH))


THREE_METRICS = """
import hashlib, sys
import numpy as np
import pytest
from llvmlite import binding
features = binding.get_host_cpu_features()
for name in sys.argv[1:]:
    features[name] = False
binding.get_host_cpu_features = lambda: features
from retest.neighbors import nearest_dssim, nearest_features, nearest_l2
from retest.neighbors import _features_products as products
rng = np.random.default_rng(0)
images = rng.integers(0, 256, (60, 6, 6, 3)).repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8)
images[30:] = np.clip(images[:30] + rng.normal(0, 9, images[:30].shape), 0, 255)
table = np.maximum(rng.normal(size=(200, 300)), 0).astype(np.float32)
digest = hashlib.sha256()
for found in (nearest_l2(images, images, k=4), nearest_dssim(images, images, k=4), nearest_features(table[:90], table, k=4)):
    digest.update(found.indices.tobytes() + found.distances.tobytes())
print(products.FAST, products.COLUMNS, digest.hexdigest())
"""


@pytest.mark.long
def test_results_are_equal_on_processors_with_fewer_instructions(tmp_path):
    """With the widest vectors of this one, with half of them, without the products, and with the oldest instructions."""
    older = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    variants = [([], {}), (["avx512bw"], {}), (["avx512bw", "avx2"], {}), (["avx512bw", "avx2"], older)]
    printed = []
    for number, (missing, environment) in enumerate(variants):
        source = str(Path(retest.neighbors.__file__).parents[2])
        full = {**os.environ, "PYTHONPATH": source, "NUMBA_CACHE_DIR": str(tmp_path / str(number)), **environment}
        answer = subprocess.run([sys.executable, "-c", THREE_METRICS, *missing], env=full, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stderr
        printed.append(answer.stdout.split())
    assert len({digest for _, _, digest in printed}) == 1
    assert printed[1][1] == "24"
    assert [fast for fast, _, _ in printed[2:]] == ["False", "False"]

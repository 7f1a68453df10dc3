"""The demo: a whole replication of a handwritten-digits benchmark, offline, on one machine."""

from retest.demo.digits import DigitsParameters
from retest.demo.run import DemoParameters, DemoResult, run_demo

__all__ = ["DemoParameters", "DemoResult", "DigitsParameters", "run_demo", "small_demo"]


def small_demo() -> DemoParameters:
    """A reduced size for tests and a quick look."""
    digits = DigitsParameters(train=20, val=16, pool=24, exact_copies=8, near_copies=12, wrong_class=6, ambiguous=6, broken=3)
    return DemoParameters(digits=digits, per_class=6, images_to_label=10)

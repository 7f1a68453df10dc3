"""What all tests share."""

import os

from hypothesis import HealthCheck, settings

# A loaded machine must not fail a test, so no example has a deadline. CI tries the same examples every time; at a desk new ones are tried.
settings.register_profile("retest", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("retest"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "retest")

from __future__ import annotations

import pytest
import report_fixture

from retest.report import render_html


@pytest.fixture(scope="session")
def report():
    return report_fixture.full_report()


@pytest.fixture(scope="session")
def page(report):
    return render_html(report)

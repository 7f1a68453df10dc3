"""The one place that knows where Chromium is and how tests start it."""

from __future__ import annotations

import shutil

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Containers lack what the sandbox needs, and machines of CI have no graphics card; nothing may be fetched behind a test's back.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
NEEDS_CHROMIUM = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]


def launch(playwright):
    """Start Chromium with a Playwright of either kind (the async one gives an awaitable)."""
    return playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)

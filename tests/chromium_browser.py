"""The one place that knows where Chromium is and how tests start it."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Containers lack what the sandbox needs, and machines of CI have no graphics card; nothing may be fetched behind a test's back.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def _missing() -> str | None:
    """Why no browser can be started here; None if one can."""
    if CHROMIUM is None:
        return "no Chromium is installed"
    done = subprocess.run([sys.executable, "-m", "playwright", "--version"], capture_output=True, text=True, check=False)
    told = (done.stderr.strip() or "?").splitlines()[-1]
    remedy = "; on Debian: apt-get install libatomic1" if "libatomic" in told else ""
    return f"Playwright does not start ({told}){remedy}" if done.returncode else None


MISSING = _missing()
NEEDS_CHROMIUM = [pytest.mark.browser, pytest.mark.skipif(MISSING is not None, reason=MISSING or "")]


def launch(playwright):
    """Start Chromium with a Playwright of either kind (the async one gives an awaitable)."""
    return playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)

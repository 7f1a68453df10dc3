"""Stage: the consistency check of images as a command."""

from __future__ import annotations

from retest.stages._consistency import CheckReport, Finding, check_images

__all__ = ["CheckReport", "Finding", "check_images"]

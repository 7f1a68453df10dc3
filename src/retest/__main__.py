"""``python -m retest``."""

from retest.cli import main

main()

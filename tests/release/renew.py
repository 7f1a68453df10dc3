"""Writes the list of public names: python tests/release/renew.py. Names that go away need a deprecation first."""

import json

from test_release_files import NAMES, names_of, public_names

if __name__ == "__main__":
    NAMES.write_text(json.dumps({module: names_of(module) for module in public_names()}, indent=1) + "\n")

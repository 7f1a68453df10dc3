"""The contract that stages never import each other covers every stage."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_stage_is_in_the_contract():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = (c for c in contracts if c["type"] == "independence")
    stages = {f"retest.stages.{path.stem}" for path in (ROOT / "src/retest/stages").glob("[!_]*.py")}
    assert set(contract["modules"]) == stages

"""Commands that tell beforehand what a study can show and what it costs."""

from __future__ import annotations

from typing import Any

import click

from retest.analysis import PlanParameters, StudyPlan, plan_study
from retest.cli._common import json_option, parameter_options, print_json, print_table


@click.group()
def plan() -> None:
    """Plan a study before anything is spent."""


@plan.command("study")
@parameter_options(PlanParameters)
@json_option
def plan_a_study(as_json: bool, **design: Any) -> None:
    """Interval width, power, expected bias of matching and cost of a design: classes x images x annotators.

    \b
    Examples:
      retest plan study --classes 1000 --per-class 10 --annotators 10
      retest plan study --classes 10 --per-class 200 --accuracy 0.93 --drop 0.03 --json
    """
    found = plan_study(PlanParameters(**design))
    if as_json:
        print_json(found)
        return
    print_table("What the design can tell", ["what", "value"], _rows(found))
    columns = ["estimator", "bias, points", "spread, points", "coverage"]
    rows = [(c.estimator, f"{c.bias_points:+.2f}", f"{c.spread_points:.2f}", f"{c.coverage:.0%}") for c in found.simulated]
    if rows:
        print_table(f"Estimators of the matched accuracy in {found.parameters.replications} simulated studies", columns, rows)


def _rows(found: StudyPlan) -> list[tuple[str, str]]:
    p, cost = found.parameters, found.cost

    def points(value: float | None) -> str:
        return "none that large" if value is None else f"{value:.2f} points"

    return [
        ("images in the new test set", f"{found.n_new:,}"),
        (f"{p.confidence:.0%} interval of an accuracy of {p.accuracy:.0%}", f"+- {found.half_width_points:.2f} points"),
        (f"power to detect a drop of {100 * p.drop:g} points", f"{found.power:.0%}"),
        (f"smallest drop detected with {p.power:.0%} power", points(found.detectable_drop_points)),
        ("smallest difference of two models on the new set", points(found.detectable_paired_points)),
        ("expected bias of naive frequency matching", f"{found.naive_bias_points:+.2f} points"),
        ("HITs", f"{cost.hits:,}"),
        ("assignments", f"{cost.assignments:,}"),
        ("cost", f"{cost.cost_cents / 100:,.2f} USD, of which fee {cost.fee_cents / 100:,.2f} USD"),
    ]

"""What publishing may cost: the budget of the whole study, what was spent before, and the account's balance."""

from __future__ import annotations

from retest.crowd import Crowd
from retest.errors import UsageError
from retest.store import Tables
from retest.study import Study

__all__ = ["guard_money", "note_reward", "spent_cents"]

_REWARDS = "rewards_paid"


def guard_money(study: Study, crowd: Crowd, number: int, cost: int, *, confirmed_live: bool) -> None:
    """Let ``number`` HITs be published for ``cost`` cents, or say why not.

    Raises:
        UsageError: the account or the budget does not suffice, or the back end costs money and there is no budget or nobody confirmed.
    """
    budget = study.config.crowd.budget_cents
    balance = crowd.balance() if number else None  # also finds out early whether the back end can be reached
    if crowd.live and balance is not None and balance < cost:
        raise UsageError(
            f"{number} HITs cost {cost / 100:.2f} USD, the account holds {balance / 100:.2f} USD",
            item=crowd.name,
            remedy="Add money to the account, or plan fewer HITs",
        )
    if crowd.live and number:
        if budget is None:
            raise UsageError("publishing costs money and no budget is set", item="[crowd] budget_cents", remedy="Set a limit in study.toml")
        if not confirmed_live:
            raise UsageError(f"{number} HITs would cost {cost / 100:.2f} USD and nobody confirmed", remedy="Confirm by typing LIVE")
    spent = spent_cents(study, crowd)
    if budget is not None and number and spent + cost > budget:
        raise UsageError(
            f"{number} HITs cost {cost / 100:.2f} USD after {spent / 100:.2f} USD already spent, the budget is {budget / 100:.2f} USD",
            item="[crowd] budget_cents",
            remedy="Plan fewer HITs (max_classes, assignments_per_hit) or raise the budget",
        )


def spent_cents(study: Study, crowd: Crowd) -> int:
    """What the HITs that were published on this back end before have cost, each at the reward of its HIT type."""
    with study.database.read() as tables:
        published = tables.hits.published_assignments(crowd.name)
        rewards = _rewards(tables, crowd)
    today = study.config.crowd.reward_cents
    return sum(crowd.cost_cents(assignments=number, reward_cents=rewards.get(kind, today)) for kind, number in published)


def _rewards(tables: Tables, crowd: Crowd) -> dict[str, int]:
    """HIT type -> reward in cents; the highest, where a back end publishes all rewards under one type."""
    return dict((tables.settings.get(_REWARDS) or {}).get(crowd.name, {}))


def note_reward(tables: Tables, crowd: Crowd, hit_type_id: str, reward_cents: int) -> None:
    """Keep what a HIT type pays, so that what was spent stays known when the study's reward changes."""
    known = _rewards(tables, crowd)
    if reward_cents > known.get(hit_type_id, -1):
        everywhere = tables.settings.get(_REWARDS) or {}
        tables.settings.put(_REWARDS, {**everywhere, crowd.name: {**known, hit_type_id: reward_cents}})

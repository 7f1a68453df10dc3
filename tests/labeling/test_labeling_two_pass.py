"""Two passes with reconciliation: the rule on every combination, its equivalence with selection frequencies, agreement."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from retest.errors import ConfigError, InputError
from retest.labeling.two_pass import (
    ACCEPTED_ANSWERS,
    ACCEPTED_FREQUENCY,
    Judgement,
    Pass,
    TwoPassParameters,
    Verdict,
    pass_agreement,
    two_pass_outcomes,
)
from retest.sampling import CandidateFacts
from retest.sampling.facts import ineligibility

PEOPLE = {Pass.FIRST: "ann", Pass.SECOND: "bob", Pass.RECONCILE: "ann and bob"}
ALL = TwoPassParameters(second_sees="all")


def said(image="i", **answers):
    return [Judgement(image, Pass(step), PEOPLE[Pass(step)], answer) for step, answer in answers.items()]


@pytest.mark.parametrize(
    ("answers", "verdict", "waits_for"),
    [
        ({"first": True}, "open", "second"),
        ({"second": True}, "open", "first"),
        ({"second": False}, "open", "first"),
        ({"first": True, "second": True}, "accepted", None),
        ({"first": False, "second": False}, "rejected", None),
        ({"first": True, "second": False}, "open", "reconcile"),
        ({"first": False, "second": True}, "open", "reconcile"),
        ({"first": True, "second": False, "reconcile": True}, "accepted", None),
        ({"first": True, "second": False, "reconcile": False}, "rejected", None),
        ({"first": False, "second": True, "reconcile": True}, "accepted", None),
    ],
)
@pytest.mark.parametrize("parameters", [TwoPassParameters(), ALL])
def test_the_rule(answers, verdict, waits_for, parameters):
    found = two_pass_outcomes(said(**answers), parameters=parameters)["i"]
    assert found.verdict == verdict
    assert found.waits_for == waits_for
    assert all(PEOPLE[Pass(step)] in found.reason for step in answers)


def test_what_the_first_refuses_the_second_sees_only_when_asked_to():
    assert two_pass_outcomes(said(first=False))["i"].verdict is Verdict.REJECTED
    assert two_pass_outcomes(said(first=False), parameters=ALL)["i"].waits_for is Pass.SECOND


@pytest.mark.parametrize(
    ("judgements", "message"),
    [
        ([*said(first=True), Judgement("i", Pass.FIRST, "eve", False)], "i: has two judgements in the first pass, by ann and eve"),
        ([Judgement("i", Pass.FIRST, "ann", True), Judgement("i", Pass.SECOND, "ann", True)], "i: was judged in both passes by ann"),
        (said(first=True, second=True, reconcile=True), "i: was reconciled although nobody disagrees"),
        (said(first=True, reconcile=True), "i: was reconciled although nobody disagrees"),
    ],
)
def test_contradictions_are_refused_by_name(judgements, message):
    with pytest.raises(InputError, match=message):
        two_pass_outcomes(judgements)


def test_an_unknown_setting_is_refused():
    with pytest.raises(ConfigError, match="second_sees: must be one of selected, all, not 'everything'"):
        TwoPassParameters(second_sees="everything")


# Every state an image can be in that the rule does not refuse.
STATES = [
    {step: answer for step, answer in zip(("first", "second", "reconcile"), answers, strict=True) if answer is not None}
    for answers in itertools.product((None, True, False), repeat=3)
    if any(answer is not None for answer in answers)
    and (answers[2] is None or (answers[0] is not None and answers[1] is not None and answers[0] != answers[1]))
]


@pytest.mark.parametrize("answers", STATES, ids=str)
@pytest.mark.parametrize("parameters", [TwoPassParameters(), ALL])
def test_accepted_is_what_the_one_rule_of_eligibility_calls_usable(answers, parameters):
    """Selection frequencies of the judgements, by hand, through the rule that sampling uses."""
    frequency = sum(answers.values()) / len(answers)
    candidate = CandidateFacts("i", "cat", frequency, len(answers))
    reason = ineligibility(candidate, min_num_annotations=ACCEPTED_ANSWERS, threshold=ACCEPTED_FREQUENCY, review_targets={})
    accepted = two_pass_outcomes(said(**answers), parameters=parameters)["i"].verdict is Verdict.ACCEPTED
    assert accepted == (reason is None)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40))
def test_kappa_is_scikit_learn_s(pairs):
    judgements = [one for n, (a, b) in enumerate(pairs) for one in said(f"i{n:02}", first=a, second=b)]
    found = pass_agreement(judgements + said("alone", first=True))
    assert (found.both, found.agreed) == (len(pairs), sum(a == b for a, b in pairs))
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    if len({*first, *second}) < 2:
        assert found.kappa is None
    else:
        assert found.kappa == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)


@given(st.permutations([one for n, state in enumerate(STATES) for one in said(f"i{n:02}", **state)]))
def test_the_order_of_judgements_does_not_matter(judgements):
    expected = two_pass_outcomes([one for n, state in enumerate(STATES) for one in said(f"i{n:02}", **state)])
    assert two_pass_outcomes(judgements) == expected

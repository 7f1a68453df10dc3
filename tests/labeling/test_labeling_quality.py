import pytest

from retest.errors import ConfigError
from retest.labeling import ControlAccuracy, QualityParameters, duration_s, judge_answers
from retest.records import Assignment, AssignmentStatus, Hit

CANDIDATES = tuple(f"c{number}" for number in range(6))
POSITIVE, NEGATIVE = ("p0", "p1", "p2"), ("q0", "q1", "q2")
HIT = Hit("u1", "n01", CANDIDATES, POSITIVE, NEGATIVE, NEGATIVE + CANDIDATES + POSITIVE)
OTHER = Hit("u2", "n02", CANDIDATES, POSITIVE, NEGATIVE, NEGATIVE + CANDIDATES + POSITIVE)


def answer(name, worker, selected, seconds=60, uuid="u1", status=AssignmentStatus.SUBMITTED):
    submit = f"2024-05-01T10:{seconds // 60:02d}:{seconds % 60:02d}+00:00"
    return Assignment(name, uuid, worker, status, tuple(selected), "2024-05-01T10:00:00+00:00", submit)


CAREFUL = (*CANDIDATES[:3], *POSITIVE)


def flags(report):
    return {item.assignment_id: [code for code, _ in item.flags] for item in report.assignments}


def test_controls_are_split_into_positive_and_negative():
    report = judge_answers([HIT, OTHER], [answer("1", "x", ("p0", "p1", "q0")), answer("2", "y", CAREFUL, uuid="u2")])
    assert report.controls_by_hit == {"u1": ControlAccuracy(3, 2, 3, 2), "u2": ControlAccuracy(3, 3, 3, 3)}
    assert report.controls_by_class == {"n01": ControlAccuracy(3, 2, 3, 2), "n02": ControlAccuracy(3, 3, 3, 3)}
    assert report.controls == ControlAccuracy(6, 5, 6, 5)
    assert report.controls.positive == pytest.approx(5 / 6)
    assert ControlAccuracy().positive is None
    assert ControlAccuracy().negative is None


def test_each_flag_has_its_reason():
    everything = HIT.images_all
    report = judge_answers(
        [HIT],
        [
            answer("careful", "a", CAREFUL),
            answer("fast", "b", CAREFUL, seconds=2),
            answer("all", "c", everything),
            answer("none", "d", ()),
            answer("inverse", "e", (*CANDIDATES, *NEGATIVE)),
        ],
    )
    assert {item.assignment_id: item.flags for item in report.assignments} == {
        "careful": (),
        "fast": (("too_fast", "answered 12 images in 2 s, faster than 0.25 s per image"),),
        "all": (("all_selected", "selected all 12 images"), ("failed_negative_controls", "selected 3 of 3 negative controls")),
        "none": (("none_selected", "selected none of 12 images"), ("failed_positive_controls", "selected 0 of 3 positive controls")),
        "inverse": (
            ("failed_positive_controls", "selected 0 of 3 positive controls"),
            ("failed_negative_controls", "selected 3 of 3 negative controls"),
        ),
    }


def test_limits_are_not_flagged_and_just_beyond_is():
    at_pace = judge_answers([HIT], [answer("1", "x", CAREFUL, seconds=3)])  # 12 images at 0.25 s
    assert flags(at_pace) == {"1": []}
    half = QualityParameters(min_positive_accuracy=1 / 3)
    assert flags(judge_answers([HIT], [answer("1", "x", ("p0",))], parameters=half)) == {"1": []}
    assert flags(judge_answers([HIT], [answer("1", "x", ("c0",))], parameters=half)) == {"1": ["failed_positive_controls"]}
    assert flags(judge_answers([HIT], [answer("1", "x", ("c0",))], parameters=QualityParameters(min_controls=4))) == {"1": []}


def test_annotators_are_judged_over_all_their_answers():
    answers = [
        answer("1", "spam", (), seconds=1),
        answer("2", "spam", HIT.images_all, uuid="u2", seconds=3),
        answer("3", "good", CAREFUL, seconds=40),
        answer("4", "good", CAREFUL, uuid="u2", seconds=50),
        answer("5", "once", (), seconds=30),
        answer("6", "good", (), status=AssignmentStatus.REJECTED),
    ]
    report = judge_answers([HIT, OTHER], answers)
    good, once, spam = report.workers
    assert (good.worker, good.assignments, good.images, good.selected) == ("good", 2, 24, 12)
    assert (good.median_duration_s, good.controls, good.flags) == (45, ControlAccuracy(6, 6, 6, 6), ())
    assert spam.flagged_assignments == 2
    reason = "2 of 2 answers are flagged (all_selected, failed_negative_controls, failed_positive_controls, none_selected, too_fast)"
    assert spam.flags == (("many_flagged_answers", reason),)
    assert [code for code, _ in once.flags] == ["failed_positive_controls"]
    assert report.flagged_workers == ("once", "spam")


def test_agreement_is_the_share_of_other_answers_that_say_the_same():
    hit = Hit("u1", "n01", ("a", "b"), (), (), ("a", "b"))
    answers = [answer("1", "x", "a"), answer("2", "y", "ab"), answer("3", "z", "ab")]
    agreement = {item.worker: item.agreement for item in judge_answers([hit], answers).assignments}
    # x: a agrees with y and z, b with nobody; y: a with both, b with z only.
    assert agreement == {"x": 0.5, "y": 0.75, "z": 0.75}
    assert judge_answers([hit], answers[:1]).assignments[0].agreement is None
    workers = judge_answers(
        [hit, Hit("u2", "n01", tuple("abcdef"), (), (), tuple("abcdef"))],
        [*answers, answer("4", "x", "", uuid="u2"), answer("5", "y", "", uuid="u2")],
    ).workers
    assert workers[0].agreement == pytest.approx((0.5 * 2 + 1.0 * 6) / 8)


def test_excluded_and_unknown_hits_and_foreign_images_do_not_count():
    answers = [answer("1", "x", (*CAREFUL, "elsewhere")), answer("2", "x", (), uuid="u2"), answer("3", "x", (), uuid="unknown")]
    report = judge_answers([HIT, OTHER], answers, excluded_hits=["u2"])
    assert [item.assignment_id for item in report.assignments] == ["1"]
    assert report.assignments[0].selected == 6


@pytest.mark.parametrize(
    ("accepted", "submitted", "seconds"),
    [
        ("2018-09-12T04:35:37", "2018-09-12T04:36:07", 30),
        ("2018-09-12 04:35:37-07:00", "2018-09-12T11:36:07+0000", 30),
        ("2018-09-12T04:35:37", "2018-09-12T04:36:07+00:00", None),
        ("2018-09-12T04:35:37", None, None),
        (None, "2018-09-12T04:35:37", None),
        ("yesterday", "2018-09-12T04:35:37", None),
    ],
)
def test_durations_only_from_times_that_can_be_compared(accepted, submitted, seconds):
    assert duration_s(Assignment("1", "u1", "x", AssignmentStatus.SUBMITTED, (), accepted, submitted)) == seconds


def test_wrong_parameters_are_named():
    with pytest.raises(ConfigError, match=r"min_positive_accuracy: the value must be a number from 0 to 1, not 50\. Give a share"):
        QualityParameters(min_positive_accuracy=50)
    with pytest.raises(ConfigError, match="min_seconds_per_image: the value must be a number from 0 to 86400, not -1"):
        QualityParameters(min_seconds_per_image=-1)
    with pytest.raises(ConfigError, match="min_controls: must be a whole number of at least 1"):
        QualityParameters(min_controls=0)

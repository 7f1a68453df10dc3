"""The report's target histogram belongs to the revision, not to the settings of the day."""

from contextlib import closing

import pytest

from retest.errors import UsageError
from retest.records import Candidate, OriginalImage, Revision, SelectionFrequency, Split
from retest.sampling import SamplingParameters
from retest.stages.report import study_report
from retest.study import StudyConfig, create_study

# Four original images of a class: one below 0.4, one between, two above 0.8; a fifth has too few answers for the revision.
ORIGINALS = {"o1": (2, 10), "o2": (6, 10), "o3": (9, 10), "o4": (10, 10), "o5": (3, 6)}
MADE_WITH = {"per_class": 8, "min_num_annotations_val": 10, "histogram_bins": [0.4, 0.8]}


@pytest.fixture
def study(tmp_path):
    later = SamplingParameters(per_class=99, min_num_annotations_val=5)
    with closing(create_study(tmp_path / "s", StudyConfig(sampling=later))) as found:
        with found.database.write() as tables:
            tables.originals.add(OriginalImage(i, Split.VAL, "a") for i in ORIGINALS)
            frequencies = [SelectionFrequency(i, "a", shown, chosen) for i, (chosen, shown) in ORIGINALS.items()]
            tables.frequencies.replace([*frequencies, SelectionFrequency("c1", "a", 10, 5)])
            tables.revisions.add(Revision("b-1", "sample_wnid_histogram", (("c1", "a"),), False, 1, parameters=MADE_WITH))
        yield found


def test_the_target_is_that_of_the_revision(study):
    target = study_report(study, []).target
    assert (target.edges, target.target, target.achieved) == ((0.0, 0.4, 0.8, 1.0), (2, 2, 4), (0, 1, 0))


def test_an_original_set_without_predictions_is_refused(study):
    with pytest.raises(UsageError, match=r"nope.*Sets with predictions: none"):
        study_report(study, [], original="nope")


def test_a_benchmark_without_a_name_is_the_original_one(study):
    report = study_report(study, [])
    assert report.subtitle == "A new test set for the original benchmark, and what models make of it"
    assert report.datasets[0].description == "The validation images of the original benchmark."


def test_originals_that_cannot_be_used_are_told(study):
    with study.database.write() as tables:
        tables.originals.add([OriginalImage("train/t", Split.TRAIN, "a")])
        for image in ("o1", "o4", "train/t", "c1"):
            tables.problems.put(image, "truncated", "")
    first = study_report(study, []).datasets[0]
    assert (first.n_images, first.description) == (5, "The validation images of the original benchmark; 2 of them cannot be used.")


def test_candidates_that_other_data_only_mention_were_not_found(study):
    with study.database.write() as tables:
        tables.candidates.add(Candidate(f"c{number}", "a", source, "p", "u") for number, source in enumerate(("flickr", "reference")))
    report = study_report(study, [])
    sizes = {stage.name: stage.count for stage in report.stages}
    assert (sizes["Candidates found"], sizes["Candidates kept"]) == (1, 1)
    assert {fact.name: fact.value for fact in report.facts}["Candidates"] == "1"

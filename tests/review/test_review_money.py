"""The budget is one for the whole study, and names of revisions are names."""

from contextlib import closing

import pytest

from retest.errors import UsageError
from retest.records import Hit, Revision
from retest.stages._money import spent_cents
from retest.study import StudyConfig, create_study


class PricedCrowd:
    name = "priced"

    def cost_cents(self, *, assignments, reward_cents):
        return assignments * (reward_cents + 4)


def test_what_was_spent_counts_the_hits_of_this_back_end(tmp_path):
    with closing(create_study(tmp_path / "s", StudyConfig())) as study:
        with study.database.write() as tables:
            hits = [Hit(f"h{i}", "w", (f"a{i}",), (), (), (f"a{i}",)) for i in range(3)]
            tables.hits.add(hits, assignments=10)
            tables.hits.mark_submitted("h0", crowd="priced", hit_id="1", hit_type_id="t", user="u", time="t")
            tables.hits.mark_submitted("h1", crowd="other", hit_id="2", hit_type_id="t", user="u", time="t")
        assert spent_cents(study, PricedCrowd()) == 10 * (study.config.crowd.reward_cents + 4)


@pytest.mark.parametrize("name", ["../x", "original", "", "a,b", "a b", ".hidden", "a/b"])
def test_a_name_that_is_none_is_refused(tmp_path, name):
    revision = Revision(name, "sample_best", (("a", "w"),), True, 0)
    with (
        closing(create_study(tmp_path / "s", StudyConfig())) as study,
        pytest.raises(UsageError, match="no name for a revision"),
        study.database.write() as tables,
    ):
        tables.revisions.add(revision)

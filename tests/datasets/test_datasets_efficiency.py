"""Single look-ups go through an index, and looking changes nothing."""

from __future__ import annotations

import alembic.autogenerate
import alembic.command
import alembic.migration
import pytest
import sqlalchemy as sa
from data_tiny import BIRD, VAL

from retest.datasets import CandidateData, DatasetCache, ImageLoader, ImageNetData, MTurkData, NearDuplicateData, PredictionData
from retest.errors import NotFoundError
from retest.store import Database, schema
from retest.store.engine import alembic_config

SMALL = {"classes", "revisions", "generations", "prediction_sets"}
"""Tables of which a look-up may read every row: they have at most as many rows as the benchmark has classes."""


def refused(look):
    with pytest.raises(NotFoundError):
        look()


LOOKUPS = {
    "class": lambda study: ImageNetData(study).search_classes("crane"),
    "original": lambda study: ImageNetData(study).image(VAL[0]),
    "originals of a class": lambda study: ImageNetData(study).image_ids("val", wnid=BIRD),
    "candidate": lambda study: CandidateData(study).candidate("c1"),
    "candidates of a class": lambda study: CandidateData(study).candidates(BIRD, include_excluded=False),
    "candidate ids of a class": lambda study: CandidateData(study).candidate_ids(BIRD, include_excluded=False),
    "search keys": lambda study: CandidateData(study).search_keys(BIRD),
    "occurrences": lambda study: CandidateData(study).occurrences("c3"),
    "same photo": lambda study: CandidateData(study).same_photo("c1"),
    "exclusion": lambda study: CandidateData(study).exclusion("c5"),
    "exclusions of a reason": lambda study: CandidateData(study).exclusions("drawing"),
    "stored variants": lambda study: ImageLoader(study).stored_variants("c1"),
    "kind of image": lambda study: ImageLoader(study).kind_of("c1"),
    "class of image": lambda study: ImageLoader(study).wnid_of("c1"),
    "missing image": lambda study: refused(lambda: ImageLoader(study).load_bytes("c1")),
    "hit": lambda study: MTurkData(study).hit("h1"),
    "hit of a crowd": lambda study: MTurkData(study).hit_of_crowd("HIT-1"),
    "hits of an image": lambda study: MTurkData(study).hits_of_image("c1"),
    "hits of a class": lambda study: MTurkData(study).hits_of_class(BIRD),
    "hits of a worker": lambda study: MTurkData(study).hits_of_worker("ann"),
    "hit exclusion": lambda study: MTurkData(study).hit_exclusion("h4"),
    "assignments": lambda study: MTurkData(study).assignments("h1"),
    "assignment": lambda study: MTurkData(study).assignment("a1"),
    "assignments of an image": lambda study: MTurkData(study).assignments_of_image("c1"),
    "assignments of a worker": lambda study: MTurkData(study).assignments_of_worker("ann"),
    "selection frequency": lambda study: MTurkData(study).selection_frequency("c1", BIRD),
    "frequencies of a class": lambda study: MTurkData(study).class_frequencies(BIRD),
    "frequencies of a hit": lambda study: MTurkData(study).hit_frequencies("h1"),
    "quality of a worker": lambda study: MTurkData(study).worker_quality("ann"),
    "near-duplicates": lambda study: NearDuplicateData(study).near_duplicates_of("c6"),
    "component": lambda study: NearDuplicateData(study).component("c6"),
    "resolution": lambda study: NearDuplicateData(study).resolution("c6"),
    "neighbours": lambda study: NearDuplicateData(study).neighbors("c1", "l2"),
    "reviews": lambda study: NearDuplicateData(study).reviews("c1"),
    "review thresholds": lambda study: NearDuplicateData(study).review_thresholds("c1"),
    "revision": lambda study: DatasetCache(study).revision("set-a-2"),
    "places of an image": lambda study: DatasetCache(study).places_of("c1"),
    "class reviews": lambda study: DatasetCache(study).reviews("set-a-2"),
    "predictions": lambda study: PredictionData(study).predictions("set-a-2", "good"),
    "predictions for an image": lambda study: PredictionData(study).of_image("c1"),
    "models": lambda study: PredictionData(study).models("set-a-2"),
}


def plans(study, look):
    """How SQLite would find the rows of every statement that ``look`` makes."""
    engine = study.database.engine
    seen = []

    def remember(_connection, _cursor, statement, parameters, _context, _many):
        seen.append((statement, parameters))

    sa.event.listen(engine, "before_cursor_execute", remember)
    try:
        look(study)
    finally:
        sa.event.remove(engine, "before_cursor_execute", remember)
    with engine.connect() as connection:
        for statement, parameters in [entry for entry in seen if entry[0].lstrip().upper().startswith("SELECT")]:
            yield from (row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters))


def scanned(study, look):
    names = {step.split()[1] for step in plans(study, look) if step.startswith("SCAN")}
    return {name for name in names if name in schema.metadata.tables} - SMALL


@pytest.mark.parametrize("name", LOOKUPS)
def test_a_single_look_up_goes_through_an_index(tiny, name):
    assert list(plans(tiny, LOOKUPS[name]))
    assert scanned(tiny, LOOKUPS[name]) == set()


def test_a_scan_would_be_seen(tiny):
    assert scanned(tiny, lambda study: CandidateData(study).exclusions()) == {"exclusions"}
    assert scanned(tiny, lambda study: NearDuplicateData(study).components()) >= {"candidates", "near_duplicate_pairs"}


def test_looking_changes_nothing(tiny):
    def content():
        with tiny.database.read() as tables:
            names = [table.name for table in schema.metadata.sorted_tables]
            return {name: tables.connection.exec_driver_sql(f"SELECT * FROM {name}").fetchall() for name in names}

    before = content()
    for look in LOOKUPS.values():
        look(tiny)
    NearDuplicateData(tiny).stats()
    MTurkData(tiny).all_frequencies()
    assert content() == before


def test_the_index_of_pairs_comes_to_studies_that_lack_it(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'old.db'}")
    with database.engine.connect() as connection, connection.begin():
        alembic.command.upgrade(alembic_config(connection), "0001")
        assert "ix_near_duplicate_pairs_second" not in {i["name"] for i in sa.inspect(connection).get_indexes("near_duplicate_pairs")}
    database.upgrade()
    with database.engine.connect() as connection:
        assert alembic.autogenerate.compare_metadata(alembic.migration.MigrationContext.configure(connection), schema.metadata) == []
    with database.engine.connect() as connection, connection.begin():
        alembic.command.downgrade(alembic_config(connection), "0001")
        assert "ix_near_duplicate_pairs_second" not in {i["name"] for i in sa.inspect(connection).get_indexes("near_duplicate_pairs")}
    database.close()

"""The study's database as one object: transactions that hand out the groups of tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy.engine import Connection

from retest.store import (
    bulk,
    catalog,
    engine,
    facts,
    hit_figures,
    hit_pages,
    labels,
    ledger,
    media,
    nearness,
    outcomes,
    review_candidates,
    review_hits,
    review_pairs,
    review_people,
    review_predictions,
)
from retest.store.residence import FileInMemory
from retest.store.turns import Turns


class Tables:
    """All repositories over one open transaction."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.bulk = bulk.BulkTable(connection)
        self.classes = catalog.ClassTable(connection)
        self.originals = catalog.OriginalTable(connection)
        self.candidates = catalog.CandidateTable(connection)
        self.exclusions = catalog.ExclusionTable(connection)
        self.searches = catalog.SearchTable(connection)
        self.variants = media.VariantTable(connection)
        self.problems = media.ProblemTable(connection)
        self.opaque_names = media.OpaqueNameTable(connection)
        self.hits = labels.HitTable(connection)
        self.hit_pages = hit_pages.HitPageTable(connection)
        self.assignments = labels.AssignmentTable(connection)
        self.frequencies = labels.FrequencyTable(connection)
        self.neighbors = nearness.NeighborTable(connection)
        self.reviews = nearness.ReviewTable(connection)
        self.pairs = nearness.PairTable(connection)
        self.facts = facts.FactTable(connection)
        self.revisions = outcomes.RevisionTable(connection)
        self.predictions = outcomes.PredictionTable(connection)
        self.completions = ledger.CompletionTable(connection)
        self.decisions = ledger.DecisionTable(connection)
        self.reviewers = review_people.ReviewerTable(connection)
        self.review_candidates = review_candidates.ReviewCandidateTable(connection)
        self.hit_figures = hit_figures.HitFigureTable(connection)
        self.review_hits = review_hits.ReviewHitTable(connection)
        self.class_counts = review_candidates.ClassCountTable(connection)
        self.flags = review_people.FlagTable(connection)
        self.pair_queue = review_pairs.PairQueueTable(connection)
        self.judgements = review_predictions.JudgementTable(connection)
        self.warnings = ledger.WarningTable(connection)
        self.settings = ledger.SettingTable(connection)
        self.generations = ledger.GenerationTable(connection)


class Database:
    """A study's database. Every access is a transaction: all of a block is kept, or nothing."""

    def __init__(self, url: str) -> None:
        self.engine = engine.connect(url)
        self._url, self._turns = url, Turns()
        name = self.engine.url.database if self.engine.dialect.name == "sqlite" else None
        self._file = FileInMemory(Path(name)) if name else None

    def keep_connections(self, number: int) -> None:
        """Keep this many connections open between transactions, for a process that serves many small ones."""
        self.engine.dispose()
        self.engine = engine.connect(self._url, keep=number)

    def upgrade(self) -> None:
        """Create or migrate the tables."""
        engine.upgrade(self.engine)

    @contextmanager
    def read(self) -> Iterator[Tables]:
        """A consistent view of the study."""
        with engine.transaction(self.engine, read_only=True) as connection:
            yield Tables(connection)

    @contextmanager
    def write(self) -> Iterator[Tables]:
        """A transaction that may write. Keep it short: there is one writer at a time.

        Threads of this process write in the order in which they ask; SQLite alone would let each look again now and then whether it is
        free, and one that writes block after block would be the luckiest.
        """
        with self._turns, engine.transaction(self.engine) as connection:
            yield Tables(connection)

    def keep_in_memory(self, *, stop: Callable[[], bool] = lambda: False) -> bool:
        """Have the system read what it does not have of SQLite's file in memory, where that is free; whether it was asked to.

        To be called again from time to time. A database server looks after its own memory.
        """
        if self._file is None:
            return False
        try:
            return self._file.ask_for(stop=stop)
        except OSError:  # it was a favour only: who reads next is told what is wrong
            return False

    def empty_log(self) -> None:
        """Let nothing that was overwritten linger in SQLite's log beside the file; a server cleans up by itself."""
        if self.engine.dialect.name == "sqlite":
            with closing(self.engine.raw_connection()) as connection:
                connection.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[union-attr]

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()
        if self._file is not None:
            self._file.close()

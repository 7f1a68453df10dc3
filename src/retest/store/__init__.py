"""The study's database (SQLAlchemy: SQLite by default, PostgreSQL by URL) and its blobs (a folder or an object store)."""

from retest.store.blobs import BlobStore, open_blobs
from retest.store.catalog import SearchState
from retest.store.database import Database, Tables
from retest.store.ledger import Decision, DecisionFilter
from retest.store.outcomes import PredictionSet, RevisionSummary

__all__ = ["BlobStore", "Database", "Decision", "DecisionFilter", "PredictionSet", "RevisionSummary", "SearchState", "Tables", "open_blobs"]

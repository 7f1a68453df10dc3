"""Processes that are forked from one server, which has imported what takes seconds, and that may be killed.

There is one such server per test process, whoever asks for it: what is imported ahead is said here and nowhere else, for the last list
that was given would silently replace the others. A name that cannot be imported is silently left out.
"""

from __future__ import annotations

import multiprocessing

_STAGES = ("benchmark", "check", "collect", "duplicates", "evaluate", "export", "images", "label", "label_crowd", "neighbors", "publish")
_STAGES += ("revisions", "sample", "simulate", "study_backup", "study_copy", "study_verify")
_LIBRARIES = ("alembic.command", "boto3", "botocore.client", "hypothesis", "numba", "obstore.store", "pyarrow.parquet", "pytest")
_LIBRARIES += ("psycopg", "pydantic.dataclasses", "scipy.ndimage", "scipy.signal", "scipy.sparse.csgraph", "sklearn.ensemble")
_LIBRARIES += ("PIL.JpegImagePlugin", "PIL.PngImagePlugin", "sqlalchemy.dialects.postgresql.psycopg", "sqlalchemy.dialects.sqlite.pysqlite")

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["retest.crowd", "retest.testing.chaos", "retest.testing.database", *(f"retest.stages.{name}" for name in _STAGES), *_LIBRARIES]
)

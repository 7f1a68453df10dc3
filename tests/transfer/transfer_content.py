"""The whole content of a study in a form that can be compared: every table, sorted, and every prediction file."""

from __future__ import annotations

import json
from contextlib import closing

import sqlalchemy as sa

from retest.models import read_predictions
from retest.store import schema
from retest.study import open_study

# Counters and hashes of inputs tell how often something was written, warnings what the files looked like; neither is content.
NOT_CONTENT = {"generations", "completions", "warnings"}


def content(folder):
    """table -> sorted rows, without the numbers that the database gave out itself."""
    result = {}
    with closing(open_study(folder)) as study, study.database.read() as tables:
        uuids = dict(tuple(row) for row in tables.connection.execute(sa.select(schema.hits.c.no, schema.hits.c.uuid)))
        for table in schema.metadata.sorted_tables:
            if table.name in NOT_CONTENT:
                continue
            rows = [dict(row._mapping) for row in tables.connection.execute(sa.select(table))]
            for row in rows:
                row.pop("no", None)
                if "hit_no" in row:
                    row["hit"] = uuids[row.pop("hit_no")]
            result[table.name] = sorted(json.dumps(row, sort_keys=True) for row in rows)
        for entry in tables.predictions.all():
            found = read_predictions(study.folder / entry.blob_key)
            key = f"predictions of {entry.model} on {entry.dataset}"
            result[key] = (found.image_ids, found.labels.tolist(), found.top.tolist(), dict(found.provenance), found.notes)
    return result


def hit_order(folder):
    with closing(open_study(folder)) as study, study.database.read() as tables:
        return [hit.uuid for hit in tables.hits.all()]

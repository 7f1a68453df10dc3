"""Migrations make exactly the tables that the code expects, again and again, from several processes, killed or not."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path

import alembic.command
import pytest
import sqlalchemy as sa
import store_records as make
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from forked import PROCESSES
from retest.errors import StoreError
from retest.store import Database, engine, schema


@pytest.fixture(scope="module", autouse=True)
def really_migrated(fresh_databases_are_copied):
    """Here no database is the copy of another."""
    copying, engine.upgrade = engine.upgrade, fresh_databases_are_copied
    yield
    engine.upgrade = copying


def test_migrations_give_the_schema_of_the_code(database: Database):
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, schema.metadata) == []


def test_migrated_and_directly_made_tables_are_the_same_to_the_letter(sqlite_database: Database, tmp_path: Path):
    """Alembic's comparison does not see everything: primary keys, unique keys, NOT NULL, WITHOUT ROWID."""
    other = engine.connect(f"sqlite:///{tmp_path / 'direct.db'}")
    schema.metadata.create_all(other)

    def tables(connected: sa.Engine) -> dict[str, str]:
        with connected.connect() as connection:
            rows = connection.exec_driver_sql(
                "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name != 'alembic_version'"
            ).all()
        return {name: " ".join(text.split()).replace('"', "") for name, text in rows}

    made, migrated = tables(other), tables(sqlite_database.engine)
    assert set(made) == set(migrated)
    for name, text in made.items():
        assert _columns(migrated[name]) == _columns(text), name


def _columns(text: str) -> list[str]:
    # The order of constraints behind the columns does not matter.
    return sorted(part.strip(" ()") for part in text.replace("(", ",", 1).split(","))


def test_there_is_one_line_of_migrations_and_a_fresh_study_is_at_its_end(database: Database):
    script = ScriptDirectory.from_config(engine.alembic_config())
    (head,) = script.get_heads()
    with database.engine.connect() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == head


def test_upgrading_again_changes_nothing(sqlite_database: Database, tmp_path: Path):
    with sqlite_database.write() as tables:
        tables.candidates.add([make.candidate(1)])

    def content() -> list[str]:
        with closing(sqlite3.connect(tmp_path / "study.db")) as connection:
            return list(connection.iterdump())

    before = content()
    sqlite_database.upgrade()
    again = Database(f"sqlite:///{tmp_path / 'study.db'}")
    again.upgrade()
    again.close()
    assert content() == before


def test_a_study_of_the_first_version_is_migrated_with_its_content(empty_urls: Callable[[], str]):
    database = Database(empty_urls())
    with engine.transaction(database.engine) as connection:
        alembic.command.upgrade(engine.alembic_config(connection), "0001")
        values = dict.fromkeys(("source", "photo_id", "url"), "x") | {"query": "{}"}
        for image in ("b", "a", "É", "Z"):
            columns = ", ".join(("id", "wnid", *values))
            row = sa.text(f"INSERT INTO candidates ({columns}) VALUES (:id, :wnid, :source, :photo_id, :url, :query)")
            connection.execute(row, {"id": image, "wnid": "n1", **values})
    database.upgrade()
    with database.write() as tables:
        assert compare_metadata(MigrationContext.configure(tables.connection), schema.metadata) == []
        assert tables.candidates.ids() == ["Z", "a", "b", "É"]
        assert tables.candidates.add([make.candidate(1)]) == 1
    database.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_postgresql_compares_all_text_by_bytes(database: Database):
    with database.read() as tables:
        kinds = "data_type IN ('character varying', 'text', 'character')"
        rows = tables.connection.execute(
            sa.text(
                f"SELECT table_name, column_name, collation_name FROM information_schema.columns WHERE table_schema = 'public' AND {kinds}"
            )
        ).all()
        locale = tables.connection.execute(sa.text("SELECT datlocprovider FROM pg_database WHERE datname = current_database()")).scalar()
    assert len(rows) > 50
    assert {row[:2] for row in rows if row.collation_name != "C"} <= {("alembic_version", "version_num")}
    assert locale == "i"  # the server itself sorts otherwise


def _upgrade(url: str, start: Barrier) -> None:
    start.wait()
    database = Database(url)
    database.upgrade()
    with database.write() as tables:
        tables.originals.add([make.original(os.getpid())])


def test_several_processes_may_upgrade_at_once(empty_urls: Callable[[], str]):
    for _attempt in range(2):
        url = empty_urls()
        start = PROCESSES.Barrier(4)
        processes = [PROCESSES.Process(target=_upgrade, args=(url, start)) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0, 0, 0, 0]
        database = Database(url)
        with database.read() as tables:
            assert tables.originals.counts() == {"val": 4}
            assert compare_metadata(MigrationContext.configure(tables.connection), schema.metadata) == []
        database.close()


def _upgrade_and_tell(url: str, begun: Event) -> None:
    begun.set()
    Database(url).upgrade()


@pytest.mark.parametrize("delay_ms", [0, 15, 40, 80])
def test_a_killed_upgrade_is_done_again(empty_urls: Callable[[], str], delay_ms: int):
    url = empty_urls()
    begun = PROCESSES.Event()
    process = PROCESSES.Process(target=_upgrade_and_tell, args=(url, begun))
    process.start()
    begun.wait()
    process.join(delay_ms / 1000)
    process.kill()
    process.join()
    assert process.exitcode in {0, -signal.SIGKILL}
    database = Database(url)
    database.upgrade()
    with database.write() as tables:
        assert compare_metadata(MigrationContext.configure(tables.connection), schema.metadata) == []
        assert tables.candidates.add([make.candidate(1)]) == 1
    database.close()


def test_a_study_of_a_newer_retest_is_refused_with_a_remedy(database: Database):
    with database.write() as tables:
        tables.connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match="newer") as caught:
        database.upgrade()
    assert "study" in str(caught.value.item)
    assert caught.value.remedy

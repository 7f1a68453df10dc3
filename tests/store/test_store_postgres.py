"""What only a database server has: it can be away, restart, refuse, and be used by many programs at once."""

from __future__ import annotations

import random
import signal
import threading
from collections import Counter
from multiprocessing.synchronize import Barrier

import pytest
import sqlalchemy as sa
import store_records as make

from forked import PROCESSES
from retest.errors import StoreError
from retest.records import AssignmentStatus, NeighborReview
from retest.store import Database
from retest.testing.postgres import PostgresServer, postgres_missing, postgres_server


@pytest.fixture
def url(postgres: PostgresServer):
    made = postgres.create()
    yield made
    postgres.give_back(made)


def _worked(database: Database, name: str, seed: int) -> None:
    """What a writer or a reviewer does, in an order of its own."""
    rng = random.Random(seed)
    for turn in range(12):
        action = rng.randrange(4)
        with database.write() as tables:
            if action == 0:  # lease: take the next open HIT unless somebody has it
                taken = tables.settings.get("leases") or {}
                free = next(number for number in range(1000) if str(number) not in taken)
                tables.settings.put("leases", {**taken, str(free): name})
                tables.decisions.add(time=make.TIME, user=name, kind="lease", item=str(free))
            elif action == 1:  # review: two reviewers of one pair, in different order
                for number in rng.sample(range(5), 5):
                    tables.reviews.add([NeighborReview(f"c{number}", "l2", ("r",), ("r",) if rng.random() < 0.5 else (), name, make.TIME)])
            elif action == 2:
                tables.assignments.add([make.assignment(seed * 100 + turn), make.assignment(turn)])
                tables.assignments.set_status(make.assignment(turn).id, rng.choice(list(AssignmentStatus)))
            else:
                tables.frequencies.replace(make.frequency(number, selected=rng.randrange(10)) for number in rng.sample(range(8), 5))
            tables.settings.put("counter", (tables.settings.get("counter") or 0) + 1)
            tables.decisions.add(time=make.TIME, user=name, kind="turn", item=str(turn))
        with database.read() as tables:
            first = tables.settings.get("counter")
            assert tables.decisions.count() >= first
            assert tables.settings.get("counter") == first


def _writer_process(url: str, names: list[str], start: Barrier) -> None:
    database = Database(url)
    start.wait()
    threads = [threading.Thread(target=_worked, args=(database, name, int(name))) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    database.close()


def test_twenty_writers_and_reviewers_lose_nothing_take_nothing_twice_and_never_deadlock(url: str):
    """Four processes of five threads each; every kind of writing in every order."""
    names = [f"{number}" for number in range(20)]
    start = PROCESSES.Barrier(4)
    processes = [PROCESSES.Process(target=_writer_process, args=(url, names[part::4], start)) for part in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    database = Database(url)
    with database.read() as tables:
        turns = list(tables.connection.execute(sa.text("SELECT \"user\", item FROM decisions WHERE kind = 'turn' ORDER BY no")))
        assert tables.settings.get("counter") == len(turns) == 20 * 12
        for name in names:
            assert [int(item) for user, item in turns if user == name] == list(range(12))
        leases = list(tables.connection.execute(sa.text("SELECT item, \"user\" FROM decisions WHERE kind = 'lease'")))
        assert max(Counter(item for item, _ in leases).values()) == 1
        assert dict(tuple(row) for row in leases) == tables.settings.get("leases")
        assert sorted(int(item) for item, _ in leases) == list(range(len(leases)))
        assert len(list(tables.frequencies.all())) in {0, 5}
        deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        assert tables.connection.execute(sa.text(deadlocks)).scalar() == 0
    database.close()


def test_readers_wait_for_nobody_and_keep_their_view(url: str):
    database = Database(url)
    with database.write() as writer:
        writer.originals.add([make.original(1)])
        with database.read() as reader:
            assert reader.originals.counts() == {}
    with database.read() as reader:
        assert reader.originals.counts() == {"val": 1}
        with database.write() as writer:
            writer.originals.add([make.original(2)])
        assert reader.originals.counts() == {"val": 1}
    database.close()


def test_reading_changes_nothing(url: str):
    database = Database(url)
    with pytest.raises(StoreError, match="read-only transaction"), database.read() as tables:
        tables.settings.put("a", 1)
    database.close()


def test_a_nul_character_is_named(url: str):
    database = Database(url)
    with pytest.raises(StoreError, match="NUL"), database.write() as tables:
        tables.candidates.add([make.candidate(1, title="a\0b")])
    database.close()


def test_a_server_that_dies_and_comes_back():
    """A crash of the server, a server that is away, a database that nobody made, a wrong name: a message each, and then all is there."""
    if reason := postgres_missing():
        pytest.skip(reason)
    with postgres_server() as server:
        database = Database(server.create())
        with database.write() as tables:
            tables.originals.add([make.original(1)])

        def crash() -> None:
            with database.write() as tables:
                tables.originals.add([make.original(2)])
                server.stop()
                tables.originals.add([make.original(3)])

        with pytest.raises(StoreError, match=r"run the same command again"):
            crash()
        with pytest.raises(StoreError, match=r"See that the server runs and can be reached"), database.read() as tables:
            tables.originals.counts()
        server.start()
        with database.read() as tables:  # the same object goes on, with whole transactions only
            assert tables.originals.counts() == {"val": 1}
        server.stop(how=signal.SIGINT)
        server.start()
        with database.write() as tables:
            assert tables.originals.add([make.original(2)]) == 1
        database.close()
        absent = Database(server.url("absent"))
        with pytest.raises(StoreError, match=r"does not exist.*Create it with: createdb") as caught:
            absent.upgrade()
        assert "retest@127.0.0.1" in str(caught.value.item)
        stranger = Database(server.url("retest_template").replace("retest@", "stranger:geheim@"))
        with pytest.raises(StoreError, match=r"stranger.*Check the user") as caught:
            stranger.upgrade()
        assert "geheim" not in str(caught.value)

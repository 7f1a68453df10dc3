"""What all tests share."""

import contextlib
import gc
import os
import shutil
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A loaded machine must not fail a test, so no example has a deadline. CI tries the same examples every time; at a desk new ones are tried.
settings.register_profile("retest", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("retest"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "retest")

# Where the reader of the demo lies; it is imported when a test needs the demo.
sys.path.append(str(Path(__file__).parent / "e2e"))


# What is imported to collect stays: the cyclic collector need not walk through these 900,000 objects again and again (half of the time of
# collecting, and a tenth of that of many tests).
gc.set_threshold(20_000, 20, 20)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Nothing is collected (by Python) while tests are collected (by pytest), and nothing of that afterwards."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_make_parametrize_id(config, val, argname):
    """A text or bytes of some length names its test by that length: a whole file of bytes as a name costs more than the test."""
    return f"{argname} of {len(val)}" if isinstance(val, (str, bytes)) and len(val) > 80 else None


def _appear_at_once(ready: Path, place: Path) -> None:
    copy = place.with_name(f"{place.name}.{threading.get_ident()}")
    shutil.copyfile(ready, copy)
    try:
        place.hardlink_to(copy)  # another thread may have been faster
    finally:
        copy.unlink()


@pytest.fixture(scope="session", autouse=True)
def fresh_databases_are_copied(tmp_path_factory):
    """A new SQLite file becomes a copy of one that was migrated from nothing once, which takes a thirtieth of the time.

    Other processes migrate theirs, and so do the tests of migrations, which get the real function here.
    """
    from retest.store import Database, engine

    migrate, ready = engine.upgrade, tmp_path_factory.mktemp("migrated") / "study.db"
    opened = Database(f"sqlite:///{ready}")
    opened.upgrade()
    opened.close()

    def upgrade(connected):
        if connected.dialect.name == "sqlite" and connected.url.database and not Path(connected.url.database).exists():
            with contextlib.suppress(OSError):  # the real one says what is wrong
                _appear_at_once(ready, Path(connected.url.database))
        migrate(connected)

    engine.upgrade = upgrade
    yield migrate
    engine.upgrade = migrate


@pytest.fixture(scope="session", autouse=True)
def no_disk_is_waited_for():
    """What a test confirms in SQLite outlives the process, as everywhere, but not the machine: each transaction would wait for 10 ms.

    Other processes wait, and so do the tests of transactions, which get the real function here.
    """
    import sqlalchemy as sa

    from retest.store import engine

    def prepare(connected):
        real(connected)
        sa.event.listen(connected, "connect", lambda connection, _record: connection.execute("PRAGMA synchronous = OFF"))

    real, engine._prepare_sqlite = engine._prepare_sqlite, prepare
    yield real
    engine._prepare_sqlite = real


@pytest.fixture
def no_patience(monkeypatch):
    """Nobody waits before another attempt, for commands that can be given no clock. They try as often, and wait where they are asked to."""
    monkeypatch.setattr("retest.crowd._mturk_calls._FIRST_WAIT_S", 0.0)
    monkeypatch.setattr("retest.sources.limits.RetryParameters.wait_s", lambda _self, _attempt, _rng: 0.0)


@pytest.fixture(scope="module")
def browser():
    """A running Chromium (Playwright's synchronous kind) for the tests of a module; with it running, asyncio cannot be used."""
    from chromium_browser import MISSING, launch

    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if MISSING is not None:
        pytest.skip(MISSING)
    with api.sync_playwright() as playwright:
        running = launch(playwright)
        yield running
        running.close()


@pytest.fixture(scope="session")
def postgres():
    """One PostgreSQL server (a ``retest.testing.postgres.PostgresServer``) for all tests of this process, where there can be one."""
    from retest.testing.postgres import postgres_missing, postgres_server

    if reason := postgres_missing():
        pytest.skip(reason)
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """One undisturbed run of the reduced demo (an ``e2e_demo_run.DemoRun``), for every test that looks at a whole study.

    Nothing may change what this run left behind; running it again is allowed, since that changes nothing. Mark tests that use it
    with ``pytest.mark.xdist_group("demo")``, so that it is run once.
    """
    from e2e_demo_run import run_small_demo

    return run_small_demo(tmp_path_factory.mktemp("demo"))

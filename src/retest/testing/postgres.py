"""A PostgreSQL server for tests: its own data directory, a Unix socket and a loopback port, gone at the end.

Uses the server programs of the machine (Debian: package ``postgresql``). They refuse to run as root, so root starts them as an
ordinary user.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from retest.errors import StoreError
from retest.store import Database
from retest.store.schema import metadata

__all__ = ["PostgresServer", "postgres_missing", "postgres_server"]

_TEMPLATE = "retest_template"
# A test's data may be lost with the machine, but not with the server: it writes all that it confirms, and waits for no disk.
_FAST = ("fsync=off", "full_page_writes=off", "shared_buffers=32MB", "max_connections=120", "autovacuum=off")


def _programs() -> Path | None:
    """The folder of ``initdb`` and ``postgres``, the newest version first."""
    found = [Path(name).parent for name in [shutil.which("initdb")] if name]
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name.split(".")[0]), reverse=True)
    return next((path for path in (*found, *versions) if (path / "initdb").exists() and (path / "postgres").exists()), None)


def postgres_missing() -> str | None:
    """Why no server can be started here, or None."""
    try:
        import psycopg  # noqa: F401
    except ModuleNotFoundError:
        return "the extra 'postgres' (psycopg) is not installed"
    return None if _programs() else "PostgreSQL's server is not installed (Debian: apt-get install postgresql)"


def _identity() -> pwd.struct_passwd | None:
    """Who runs the server where we are root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    return None


@dataclass
class PostgresServer:
    """A running server. ``process`` may be killed and :meth:`start`-ed again, as a crash would."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    _clean: list[str] = field(default_factory=list)

    def url(self, name: str) -> str:
        """SQLAlchemy's URL of a database."""
        return f"postgresql+psycopg://retest@127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        settings = [part for setting in _FAST for part in ("-c", setting)]
        address = ["-c", "listen_addresses=127.0.0.1", "-p", str(self.port), "-k", str(self.folder)]
        command = [str(_found() / "postgres"), "-D", str(self.folder / "data"), *address, *settings]
        with (self.folder / "server.log").open("ab") as log:
            self.process = _run_as(command, stdout=log, folder=self.folder)
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up and self.process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    self._execute("SELECT 1")
                    return
            except (OSError, sa.exc.OperationalError):
                time.sleep(0.05)
        raise StoreError("PostgreSQL did not start", item=(self.folder / "server.log").read_text()[-2000:])

    def stop(self, *, how: signal.Signals = signal.SIGQUIT) -> None:
        """End the server: SIGQUIT at once, SIGINT in good order."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait()

    def create(self, *, empty: bool = False) -> str:
        """The URL of a fresh database, with the tables of this version unless ``empty``."""
        if self._clean and not empty:
            return self._clean.pop()
        name = f"study_{secrets.token_hex(6)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {'template0' if empty else self._template()}")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database; whoever is connected is cut off."""
        self._execute(f"DROP DATABASE IF EXISTS {sa.make_url(url).database} WITH (FORCE)")

    def give_back(self, url: str) -> None:
        """Empty a database for the next :meth:`create`, which takes less time than a new one."""
        cut_off = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()"
        self._execute(cut_off, url=url)
        version = "SELECT version_num FROM alembic_version"
        if self._execute(version, url=url) != self._execute(version, url=self.url(_TEMPLATE)):
            self.drop(url)
            return
        # DELETE, since TRUNCATE and new databases cost a disk's time per table.
        rows = [f"DELETE FROM {name}" for name in sorted(metadata.tables)]  # noqa: S608
        numbers = [
            f"SELECT setval('{name}_no_seq', 1, false)" for name, table in metadata.tables.items() if "no" in table.primary_key.columns
        ]
        self._execute("; ".join([*rows, *numbers]), url=url)
        self._clean.append(url)

    def _template(self) -> str:
        if not self._execute(f"SELECT 1 FROM pg_database WHERE datname = '{_TEMPLATE}'"):  # noqa: S608
            # A locale that sorts otherwise than by bytes, as most servers have.
            self._execute(f"CREATE DATABASE {_TEMPLATE} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'")
            database = Database(self.url(_TEMPLATE))
            database.upgrade()
            database.close()
        return _TEMPLATE

    def _execute(self, statement: str, *, url: str | None = None) -> list[tuple[object, ...]]:
        engine = sa.create_engine(url or self.url("postgres"), poolclass=sa.pool.NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            result = connection.exec_driver_sql(statement)
            return [tuple(row) for row in result] if result.returns_rows else []


def _found() -> Path:
    programs = _programs()
    if programs is None:
        raise StoreError("PostgreSQL's server is not installed", remedy="On Debian: apt-get install postgresql")
    return programs


def _run_as(command: list[str], *, stdout: object, folder: Path) -> subprocess.Popen[bytes]:
    who = _identity()
    rights = {} if who is None else {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "HOME": str(folder)}
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.STDOUT, cwd=folder, env=environment, **rights)  # type: ignore[call-overload,no-any-return]


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A fresh server that is stopped and removed at the end.

    Raises:
        StoreError: it is not installed or does not start; :func:`postgres_missing` tells beforehand.
    """
    with tempfile.TemporaryDirectory(prefix="retest-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        who = _identity()
        if who is not None:
            os.chown(folder, who.pw_uid, who.pw_gid)
        options = ["-U", "retest", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync", "--no-instructions"]
        with (folder / "initdb.log").open("wb") as log:
            if _run_as([str(_found() / "initdb"), "-D", str(folder / "data"), *options], stdout=log, folder=folder).wait():
                raise StoreError("PostgreSQL's initdb failed", item=(folder / "initdb.log").read_text()[-2000:])
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = PostgresServer(folder, port)
        try:
            server.start()
            yield server
        finally:
            server.stop()

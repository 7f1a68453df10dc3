"""The test sets with predictions that reviewers can look at: those of the study, and those of folders that ``retest evaluate`` filled."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from threading import Event, Lock

from retest.errors import InputError, NotFoundError, RetestError
from retest.models import read_predictions_header
from retest.stages._review_judged import JudgedLabels
from retest.stages._review_memo import Memo, generations_key
from retest.stages._review_prediction_index import PredictionFile, PredictionIndex, build_index, index_key, open_index
from retest.store import Tables
from retest.study import Study

_MANY_CLASSES = 5000


@dataclass(frozen=True, slots=True, order=True)
class SetName:
    """A test set with predictions: of the study (``folder`` is empty), or of a folder given to ``retest serve --predictions``."""

    folder: str
    dataset: str


@dataclass(frozen=True, slots=True, eq=False)
class Board:
    """A test set that is ready to be looked at. ``current`` is False where its files have changed since."""

    name: SetName
    index: PredictionIndex
    judged: JudgedLabels
    current: bool = True


@dataclass(slots=True)
class _Slot:
    key: str = ""
    board: Board | None = None
    problem: RetestError | None = None


@dataclass(slots=True)
class PredictionShelf:
    """Open test sets of one server.

    Args:
        folders: with Parquet files of ``retest evaluate --out``, beside the study's own predictions.
    """

    folders: Sequence[Path] = ()
    examples: Memo = field(default_factory=lambda: Memo(most=_MANY_CLASSES))
    _slots: dict[SetName, _Slot] = field(default_factory=dict)
    _headers: dict[Path, tuple[str, tuple[str, str] | str]] = field(default_factory=dict)
    _unreadable: tuple[str, ...] = ()
    _lock: Lock = field(default_factory=Lock)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="retest-predictions"))
    _preparing: dict[SetName, Future[None]] = field(default_factory=dict)
    _closing: Event = field(default_factory=Event)

    def sets(self, study: Study, tables: Tables, memo: Memo, *, moment: int) -> dict[SetName, tuple[PredictionFile, ...]]:
        """Every test set and its files, the study's own first; files are looked at anew when ``moment`` is another."""
        key = (generations_key(tables.generations.of("prediction_sets")), moment)
        found = dict(memo.get("prediction sets", key, lambda: _of_study(study, tables)))
        if self.folders:
            found |= memo.get("prediction folders", moment, self._of_folders)
        return found

    @property
    def unreadable(self) -> tuple[str, ...]:
        """What was wrong with files of the folders when they were looked at last; they are left out."""
        return self._unreadable

    def _of_folders(self) -> dict[SetName, tuple[PredictionFile, ...]]:
        found: dict[SetName, list[PredictionFile]] = {}
        unreadable = []
        for name, folder in zip(_folder_names(self.folders), self.folders, strict=True):
            for path in sorted(folder.rglob("*.parquet")):
                inside = path.relative_to(folder)
                if any(part.startswith(".") for part in inside.parts):
                    continue  # parts of an evaluation that is under way
                version = _version(path)
                header = self._header(path, version)
                if isinstance(header, str):
                    unreadable.append(f"{name}/{inside.as_posix()} is left out: {header}")
                else:
                    found.setdefault(SetName(name, header[0]), []).append(PredictionFile(header[1], path, version))
        self._unreadable = tuple(unreadable)
        return {name: _one_per_model(files) for name, files in found.items()}

    def _header(self, path: Path, version: str) -> tuple[str, str] | str:
        """(data set, model) of a file, or what is wrong with it."""
        known = self._headers.get(path)
        if known is None or known[0] != version:
            header: tuple[str, str] | str
            try:
                header = read_predictions_header(path)
            except (InputError, NotFoundError) as error:
                header = error.problem.replace(str(path), path.name)
            known = self._headers[path] = (version, header)
        return known[1]

    def board(self, study: Study, tables: Tables, memo: Memo, name: SetName, *, moment: int, stale: bool = False) -> Board | None:
        """A test set, with what was judged until now; None while its index has to be made (:meth:`prepare`).

        Args:
            study, tables, memo, name, moment: as :meth:`sets`.
            stale: rather one whose files have changed since than none, so that reviewers can work while models are evaluated.

        Raises:
            NotFoundError: there are no such predictions.
            RetestError: they cannot be read.
        """
        files = self._files(study, tables, memo, name, moment)
        with self._lock:
            slot = self._slots.get(name)
        current = slot is not None and slot.key == index_key(name.dataset, files)
        if slot is None or not (current or stale):
            return None
        if slot.problem is not None and current:
            raise slot.problem
        if slot.board is None or not slot.board.judged.is_of(tables):
            return None
        slot.board.judged.update(tables)
        return slot.board if current else replace(slot.board, current=False)

    def prepare(self, study: Study, memo: Memo, name: SetName, *, moment: int, stop: Callable[[], bool] = lambda: False) -> None:
        """Make or open the index of a test set and count what was judged; problems are kept for :meth:`board`.

        Raises:
            NotFoundError: there are no such predictions.
        """
        with study.database.read() as tables:
            files = self._files(study, tables, memo, name, moment)
        key = index_key(name.dataset, files)
        slot = _Slot(key)
        try:
            folder = _place(study, name) / key
            index = open_index(folder)
            if index is None:
                if not build_index(name.dataset, files, folder, stop=stop):
                    return
                index = open_index(folder)
            if index is None:
                raise InputError("the index of predictions cannot be read back", item=str(folder), remedy="Delete this folder")
            with study.database.read() as tables:
                slot.board = Board(name, index, JudgedLabels(index, tables))
        except RetestError as error:
            slot.problem = error
        with self._lock:
            self._slots[name] = slot

    def start(self, study: Study, memo: Memo, name: SetName, *, moment: int) -> Future[None]:
        """Begin :meth:`prepare` beside whoever asks, one test set after the other."""
        with self._lock:
            found = self._preparing.get(name)
            if found is None or found.done():
                found = self._preparing[name] = self._pool.submit(self.prepare, study, memo, name, moment=moment, stop=self._closing.is_set)
            return found

    def close(self) -> None:
        """End what is under way, and wait for it."""
        self._closing.set()
        self._pool.shutdown(cancel_futures=True)

    def _files(self, study: Study, tables: Tables, memo: Memo, name: SetName, moment: int) -> tuple[PredictionFile, ...]:
        files = self.sets(study, tables, memo, moment=moment).get(name)
        if files is None:
            where = f" in {name.folder}" if name.folder else ""
            raise NotFoundError(f"there are no predictions on this test set{where}", item=name.dataset, remedy="Run: retest evaluate")
        return files


def _of_study(study: Study, tables: Tables) -> dict[SetName, tuple[PredictionFile, ...]]:
    found: dict[SetName, list[PredictionFile]] = {}
    for entry in tables.predictions.all():
        path = study.folder / entry.blob_key
        version = json.dumps([entry.fingerprint, entry.num_images, _version(path)])
        found.setdefault(SetName("", entry.dataset), []).append(PredictionFile(entry.model, path, version))
    return {name: tuple(files) for name, files in found.items()}


def _one_per_model(files: Sequence[PredictionFile]) -> tuple[PredictionFile, ...]:
    return tuple({one.model: one for one in sorted(files, key=lambda one: (one.model, str(one.path)))}.values())


def _version(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return "missing"
    return f"{found.st_size}-{found.st_mtime_ns}"


def _folder_names(folders: Sequence[Path]) -> list[str]:
    """The last part of each path, numbered where two are the same: paths of the server are nothing for an address."""
    names: list[str] = []
    for folder in folders:
        name = wanted = folder.resolve().name or "predictions"
        number = 2
        while name in names:
            name, number = f"{wanted}-{number}", number + 1
        names.append(name)
    return names


def _place(study: Study, name: SetName) -> Path:
    return study.folder / "cache" / "review-predictions" / sha256(json.dumps([name.folder, name.dataset]).encode()).hexdigest()[:16]

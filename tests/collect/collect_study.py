"""A study of URLs or of any other source, run through the command line as a user runs it, and read without retest."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from retest.cli import main
from retest.testing.imageserver import sample_image

SMALL_IMAGES = {"display_side": 64, "compare_side": 32, "max_bytes": 200_000, "max_pixels": 1_000_000}
LOOPBACK = {"allow_private": True, "max_bytes": 200_000, "host_rate_per_s": 1e6, "first_wait_s": 0.05}
CLASSES = (("n01440764", ("tench", "Tinca tinca")), ("n01443537", ("goldfish",)))


@dataclass
class CommandStudy:
    """A study folder and the commands on it."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    outside: bool = False

    def command(self, name: str, *arguments: object) -> list[str]:
        return [sys.executable, "-m", "retest", name, "--study", str(self.folder), *map(str, arguments)]

    def environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FLICKR_", "RETEST_", "OPENVERSE_", "AWS_"))}
        return kept | self.environment

    def start(self, name: str, *arguments: object) -> subprocess.Popen[str]:
        """Start a command that its caller ends."""
        command = self.command(name, *arguments)
        return subprocess.Popen(command, env=self.environ(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, name: str, *arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; in this process unless ``outside``, which saves the seconds of its start."""
        command = self.command(name, *arguments)
        if self.outside:
            done = subprocess.run(command, env=self.environ(), capture_output=True, text=True, check=False)
        else:
            done = _in_process(command, self.environ())
        assert done.returncode == code, f"{name} ended with {done.returncode}: {done.stderr}"
        return done

    def json(self, name: str, *arguments: object, code: int = 0) -> Any:
        return json.loads(self.run(name, "--json", *arguments, code=code).stdout)

    def rows(self, query: str) -> list[Any]:
        """Rows of an SQL query; a row of one column is that value."""
        with closing(sqlite3.connect(f"file:{self.folder / 'study.db'}?mode=ro", uri=True)) as connection:
            found = connection.execute(query).fetchall()
        return [row[0] if len(row) == 1 else row for row in found]

    def candidates(self) -> dict[str, dict[str, Any]]:
        """Photo id -> its candidate, without who found it when."""
        names = ("photo_id", "id", "wnid", "source", "url", "search_key", "date_taken", "date_uploaded", "license", "owner", "query")
        found = [dict(zip(names, row, strict=True)) for row in self.rows(f"SELECT {', '.join(names)} FROM candidates ORDER BY id")]
        return {f"{row['photo_id']} {row['wnid']}": row for row in found}

    def images(self, root: str) -> dict[str, list[Any]]:
        """What a download leaves behind: images with their hashes, exclusions with their reasons; ``root`` is the server's address."""
        excluded = self.rows("SELECT candidate_id, reason, detail FROM exclusions ORDER BY candidate_id")
        problems = self.rows("SELECT image_id, reason, detail FROM image_problems ORDER BY image_id")
        return {
            "variants": self.rows("SELECT * FROM variants ORDER BY image_id, variant"),
            "exclusions": [(i, reason, detail.replace(root, "ROOT")) for i, reason, detail in excluded],
            "problems": [(i, reason, detail.replace(root, "ROOT")) for i, reason, detail in problems],
            "blobs": self.blobs(),
        }

    def blobs(self) -> list[tuple[str, str]]:
        """(key, SHA-256) of every blob; what a killed writer left unfinished (NAME#1) is none."""
        base = self.folder / "blobs"
        files = sorted(path for path in base.rglob("*") if path.is_file() and "#" not in path.name)
        return [(path.relative_to(base).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]


def _in_process(command: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    out, error = io.StringIO(), io.StringIO()
    with patch.dict(os.environ, environment, clear=True), redirect_stdout(out), redirect_stderr(error):
        try:
            main(command[3:])  # after "python -m retest"
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(command, code, out.getvalue(), error.getvalue())


def make_study(
    folder: Path,
    *,
    source: Mapping[str, Any],
    classes: Sequence[tuple[str, Sequence[str]]] = CLASSES,
    environment: Mapping[str, str] | None = None,
    **sections: Mapping[str, Any],
) -> CommandStudy:
    """A study with these classes, one original image each, registered by ``retest benchmark``."""
    folder.mkdir(parents=True)
    for number, (wnid, _) in enumerate(classes):
        (folder / "val" / wnid).mkdir(parents=True)
        sample_image(100_000 + number).save(folder / "val" / wnid / f"{wnid}_0.png")
    info = [{"wnid": wnid, "cid": number, "synset": list(synset)} for number, (wnid, synset) in enumerate(classes)]
    (folder / "classes.json").write_text(json.dumps(info))
    similar = {wnid: [wnid, *(other for other, _ in classes if other != wnid)] for wnid, _ in classes}
    (folder / "similar.json").write_text(json.dumps(similar))
    benchmark = {"val": "val", "class_info": "classes.json", "similar_classes": "similar.json"}
    tables = {"study": {"name": "mine"}, "benchmark": benchmark, "source": source, "images": SMALL_IMAGES, "download": LOOPBACK, **sections}
    lines = [line for name, table in tables.items() for line in (f"[{name}]", *(f"{k} = {json.dumps(v)}" for k, v in table.items()))]
    (folder / "study.toml").write_text("\n".join(lines) + "\n")
    study = CommandStudy(folder, dict(environment or {}))
    study.run("benchmark")
    return study

"""Runs the code cells of a notebook in a fresh namespace, without Jupyter.

As a script it runs notebooks in a folder of its own, with stand-ins for the released test sets, and writes what they print into them::

    python tests/datasets/notebook_runner.py notebooks/*.ipynb
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from released_sets import make_released

VARIES = "varies"
"""Tag of a cell whose output may differ between platforms or versions of libraries: it is run, not compared."""


def run_cells(cells: list[dict[str, Any]]) -> list[str]:
    """What each code cell prints and, if its last line is an expression, the value of that line; an exception ends the run."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    return [_run("".join(cell["source"]), namespace) for cell in cells]


def _run(source: str, namespace: dict[str, Any]) -> str:
    tree = ast.parse(source)
    last = ast.Expression(tree.body.pop().value) if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "<cell>", "exec"), namespace)
        value = None if last is None else eval(compile(last, "<cell>", "eval"), namespace)
    return printed.getvalue() + ("" if value is None else repr(value))


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def stored_output(cell: dict[str, Any]) -> str:
    """The output of a cell as the notebook has it, text only."""
    parts = [output["text"] if output["output_type"] == "stream" else output["data"]["text/plain"] for output in cell["outputs"]]
    return "".join("".join(part) for part in parts)


def is_compared(cell: dict[str, Any]) -> bool:
    return VARIES not in cell["metadata"].get("tags", ())


def _output(text: str) -> list[dict[str, Any]]:
    return [{"name": "stdout", "output_type": "stream", "text": text.splitlines(keepends=True)}] if text else []


def _store(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = code_cells(notebook)
    for number, (cell, text) in enumerate(zip(cells, run_cells(cells), strict=True), start=1):
        cell["execution_count"] = number
        cell["outputs"] = _output(text)
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    paths = [Path(name).resolve() for name in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        make_released(Path("released"))
        for path in paths:
            _store(path)
        os.chdir("/")

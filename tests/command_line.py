"""The command line in this process. A process of its own costs a second, most of it for imports: some tests of each command start one."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback
from dataclasses import dataclass
from unittest import mock

from retest.cli import main


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def run_here(*arguments: object, stdin: str = "", **environment: str) -> Done:
    """``retest ARGUMENTS`` as its entry point runs it, with these environment variables; what comes out of it ends it with a traceback."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.dict(os.environ, environment),
        mock.patch.object(sys, "stdin", io.StringIO(stdin)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        except Exception:  # --debug lets it out
            traceback.print_exc(file=err)
            code = 1
    return Done(code, out.getvalue(), err.getvalue())

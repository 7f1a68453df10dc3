"""``.ci/audit``: a vulnerability fails, nobody to ask is said, and a service that knows no package is no good news."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

AUDIT = Path(__file__).parents[2] / ".ci" / "audit"
TOOL = Path(__file__).parents[2] / "build" / "audit-venv" / "bin" / "python"
GOOD = {"name": "good", "version": "1.0", "vulns": []}
BAD = {
    "name": "bad",
    "version": "1.0",
    "vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["1.1", "2.0"], "aliases": [], "description": "x"}],
}
OPEN = {"name": "open", "version": "2.0", "vulns": [{"id": "GHSA-x", "fix_versions": []}]}
UNKNOWN = {"name": "unknown", "skip_reason": "Dependency not found on PyPI and could not be audited: unknown (1.0)"}
AWAY = "requests.exceptions.ConnectionError: no route"


@pytest.mark.parametrize(
    ("pypi", "osv", "code", "said"),
    [
        ([GOOD], [BAD], 0, "audit: 1 packages checked against pypi, 0 known vulnerabilities"),
        ([GOOD, BAD], AWAY, 1, "audit: bad 1.0 has PYSEC-2026-1, mended in 1.1, 2.0"),
        ([OPEN, UNKNOWN], AWAY, 1, "mended in no version yet"),
        ([GOOD, UNKNOWN], AWAY, 0, "1 packages NOT CHECKED, pypi does not know them: unknown"),
        ([UNKNOWN], [BAD], 1, "1 packages checked against osv, 1 known vulnerabilities"),
        (
            [UNKNOWN],
            AWAY,
            0,
            f"audit: NOT CHECKED, since no service of vulnerabilities can be asked from here: pypi: knows none.*osv: {AWAY}",
        ),
        (AWAY, [], 0, "NOT CHECKED"),
        (AWAY, [GOOD], 0, "1 packages checked against osv"),
    ],
)
def test_what_is_said_and_whether_it_fails(tmp_path: Path, pypi: object, osv: object, code: int, said: str):
    answers = {"pypi": pypi, "osv": osv}
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    fake = tmp_path / "pip_audit.py"
    fake.write_text(
        "import json, pathlib, sys\n"
        "assert sum(word == '--requirement' for word in sys.argv) >= 3\n"
        "service = sys.argv[sys.argv.index('--vulnerability-service') + 1]\n"
        "answer = json.loads((pathlib.Path(__file__).parent / 'answers.json').read_text())[service]\n"
        "sys.exit(answer) if isinstance(answer, str) else print(json.dumps({'dependencies': answer, 'fixes': []}))\n"
        "sys.exit(int(any(entry.get('vulns') for entry in answer)))\n"
    )
    done = subprocess.run([sys.executable, str(AUDIT), sys.executable, str(fake)], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert re.search(said, done.stdout), done.stdout


def test_a_tool_that_is_not_there_is_said(tmp_path: Path):
    done = subprocess.run([sys.executable, str(AUDIT), str(tmp_path / "absent")], capture_output=True, text=True, check=False)
    assert (done.returncode, "NOT CHECKED" in done.stdout) == (0, True)


class _Vulnerabilities(BaseHTTPRequestHandler):
    """osv.dev's interface: one package has a vulnerability, the others have none."""

    asked: ClassVar[list[str]] = []
    bad = "pillow"

    def do_POST(self) -> None:
        package = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]["name"]
        self.asked.append(package)
        affected = {"package": {"name": package, "ecosystem": "PyPI"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}]}
        entry = {"id": "PYSEC-2026-1", "modified": "2026-01-01T00:00:00Z", "summary": "made up", "affected": [affected]}
        body = json.dumps({"vulns": [entry]} if package == self.bad else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.mark.skipif(not TOOL.exists(), reason="pip-audit is not installed here: make audit")
@pytest.mark.parametrize("bad", ["pillow", "no-such-package"])
def test_the_tool_itself_fails_on_a_vulnerability_that_a_service_knows(bad: str, monkeypatch: pytest.MonkeyPatch):
    """As CI runs it, with the network: pypi.org cannot be reached here, osv.dev is a server of this test."""
    monkeypatch.setattr(_Vulnerabilities, "bad", bad)
    monkeypatch.setattr(_Vulnerabilities, "asked", [])
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Vulnerabilities)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    nobody = dict.fromkeys(("HTTPS_PROXY", "https_proxy"), "http://127.0.0.1:9")
    try:
        command = [str(TOOL), "-m", "pip_audit", "--osv-url", f"http://127.0.0.1:{server.server_port}/v1/query"]
        done = subprocess.run(
            [sys.executable, str(AUDIT), *command],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **nobody, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
        )
    finally:
        server.shutdown()
        server.server_close()
    locked = {
        line.partition("==")[0]
        for lock in AUDIT.parents[1].glob("requirements/*.txt")
        for line in lock.read_text().splitlines()
        if "==" in line
    }
    assert len(set(_Vulnerabilities.asked)) > len(locked) / 2
    found = re.search(r"audit: pillow \S+ has PYSEC-2026-1", done.stdout)
    assert (done.returncode, bool(found)) == ((1, True) if bad == "pillow" else (0, False)), done.stdout + done.stderr
    assert "checked against osv" in done.stdout

"""Downloading one published file: with progress, resumed after an interruption, verified before anybody sees it.

Bytes go to ``<name>.part`` beside the target; only a file with the right checksum gets the final name. An interrupted
download goes on with an HTTP Range request, guarded by ``If-Range`` so that two versions of a file are never mixed.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from retest.errors import InputError, SourceError
from retest.settings import check_count, check_number, plain_numbers

__all__ = ["DownloadParameters", "RemoteFile", "download", "file_digest"]

Progress = Callable[[int, int | None], None]

_BLOCK: Final = 1 << 20
_RETRIED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_AGENT: Final = "retest (benchmark replication toolkit)"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A published file: its name here, where it comes from, and what it must be (``size`` in bytes, digests in hexadecimal)."""

    name: str
    url: str
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
@plain_numbers
class DownloadParameters:
    """How patiently files are downloaded.

    Raises:
        ConfigError: a value is out of range.
    """

    attempts: int = field(default=6, metadata={"help": "how often a download is tried; each try goes on where the last one stopped"})
    timeout_s: float = field(default=60.0, metadata={"help": "seconds without any data after which a try is given up"})
    backoff_s: float = field(default=2.0, metadata={"help": "seconds to wait before the second try; doubled with each further one"})
    max_bytes: int = field(default=64 << 30, metadata={"help": "most bytes of a file whose size is not known beforehand"})

    def __post_init__(self) -> None:
        check_count("attempts", self.attempts, low=1, remedy="Set 1 or more")
        check_count("max_bytes", self.max_bytes, low=1, remedy="Leave the default")
        check_number("timeout_s", self.timeout_s, ends=False, remedy="Leave the default")
        check_number("backoff_s", self.backoff_s, remedy="Set 0 or more")


DEFAULT_PARAMETERS: Final = DownloadParameters()


def download(
    file: RemoteFile,
    folder: Path | str,
    *,
    progress: Progress | None = None,
    client: httpx.Client | None = None,
    parameters: DownloadParameters = DEFAULT_PARAMETERS,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """Bring ``file`` into ``folder``; a file that is already there and right is not downloaded again.

    Args:
        file: what to download.
        folder: where to; made if needed.
        progress: called with (bytes so far, bytes in all or None).
        client: the HTTP client to use; by default one that follows redirects and is closed afterwards.
        parameters: attempts, waits and limits.
        sleep: how to wait between attempts, in seconds.

    Returns:
        the path of the complete, verified file.

    Raises:
        InputError: the downloaded file is not the published one (size or checksum), or an existing file is not.
        SourceError: the server refused, or all attempts failed; what has arrived is kept for the next call.
    """
    if "/" in file.name or "\\" in file.name or file.name in ("", ".", ".."):
        raise InputError(f"{file.name!r} is not a plain file name", remedy="Give the name without folders")
    folder = Path(folder)
    target = folder / file.name
    if target.exists():
        _verify(target, file, "Move it away and download again")
        return target
    folder.mkdir(parents=True, exist_ok=True)
    _check_space(folder, file)
    with nullcontext(client) if client is not None else httpx.Client(follow_redirects=True, timeout=parameters.timeout_s) as http:
        transfer = _Transfer(file, target, http, progress, parameters)
        transfer.run(sleep)
    try:
        _verify(transfer.part, file, "It was deleted; download it again, and if that does not help, the published file has changed")
    except InputError:
        transfer.forget()
        raise
    transfer.part.replace(target)
    transfer.forget()
    return target


def file_digest(path: Path | str, algorithm: str = "sha256") -> str:
    """Digest of a file in hexadecimal, read block by block."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with Path(path).open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _verify(path: Path, file: RemoteFile, remedy: str) -> None:
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        raise InputError(f"has {size} bytes instead of {file.size}", item=str(path), remedy=remedy)
    for algorithm, expected in (("sha256", file.sha256), ("md5", file.md5)):
        if expected is not None and (found := file_digest(path, algorithm)) != expected.lower():
            raise InputError(f"its {algorithm} is {found}, not {expected}", item=str(path), remedy=remedy)


def _check_space(folder: Path, file: RemoteFile) -> None:
    free = shutil.disk_usage(folder).free
    if file.size is not None and file.size > free:
        raise InputError(f"needs {file.size} bytes, {free} are free", item=str(folder), remedy="Make room or choose another folder")


class _RetryError(Exception):
    """This attempt failed in a way that may pass; ``wait_s`` is what the server asked for."""

    def __init__(self, problem: str, wait_s: float | None = None) -> None:
        super().__init__(problem)
        self.wait_s = wait_s


class _Transfer:
    """The state of one download: the part file and the validator of the version it belongs to."""

    def __init__(
        self, file: RemoteFile, target: Path, http: httpx.Client, progress: Progress | None, parameters: DownloadParameters
    ) -> None:
        self._file, self._http, self._progress, self._parameters = file, http, progress, parameters
        self.part = target.with_name(f"{target.name}.part")
        self._validator = target.with_name(f"{target.name}.part.etag")

    def run(self, sleep: Callable[[float], None]) -> None:
        wait_s = self._parameters.backoff_s
        for attempt in range(1, self._parameters.attempts + 1):
            try:
                self._attempt()
                return
            except (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.TooManyRedirects, httpx.DecodingError) as error:
                problem = f"cannot be downloaded ({error})"
                raise SourceError(problem, item=self._file.url, remedy="Check the address") from error
            except (httpx.TransportError, _RetryError) as error:
                if attempt == self._parameters.attempts:
                    problem = f"could not be downloaded in {attempt} attempts ({error or type(error).__name__})"
                    raise SourceError(problem, item=self._file.url, remedy="Try again later; it goes on where it stopped") from error
                asked = error.wait_s if isinstance(error, _RetryError) else None
                sleep(min(wait_s if asked is None else asked, 300.0))
                wait_s *= 2

    def forget(self) -> None:
        """Remove the part file and its validator."""
        self.part.unlink(missing_ok=True)
        self._validator.unlink(missing_ok=True)

    def _attempt(self) -> None:
        have = self.part.stat().st_size if self.part.exists() else 0
        if have and have == self._file.size:
            return
        if self._file.size is not None and have > self._file.size:
            self.forget()
            have = 0
        headers = {"Accept-Encoding": "identity", "User-Agent": _AGENT}
        validator = self._validator.read_text() if have and self._validator.exists() else ""
        # Without a validator or a checksum nothing would tell that the file has changed meanwhile.
        if have and (validator or self._file.sha256 or self._file.md5):
            headers["Range"] = f"bytes={have}-"
            if validator:
                headers["If-Range"] = validator
        with self._http.stream("GET", self._file.url, headers=headers) as response:
            self._receive(response, have)

    def _receive(self, response: httpx.Response, have: int) -> None:
        if response.status_code == 416:
            if response.headers.get("Content-Range", "") == f"bytes */{have}":
                return  # everything had arrived before
            self.forget()
            raise _RetryError("the server has no further bytes; starting again", 0.0)
        if response.status_code in _RETRIED:
            raise _RetryError(f"the server answered {response.status_code}", _retry_after(response))
        if response.status_code not in (200, 206):
            problem = f"the server answered {response.status_code} {response.reason_phrase}"
            raise SourceError(problem, item=self._file.url, remedy="Check the address, or download the file by hand into the folder")
        start, total = self._span(response, have)
        self._remember(response)
        self._write(response, start, total)

    def _span(self, response: httpx.Response, have: int) -> tuple[int, int | None]:
        """Where the response begins, and the size of the whole file if known."""
        length = response.headers.get("Content-Length", "")
        if response.status_code == 200:
            return 0, self._file.size or (int(length) if length.isdigit() else None)
        match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != have:
            self.forget()
            raise _RetryError("the server sent another part than asked for; starting again", 0.0)
        return have, self._file.size or (int(match[2]) if match[2].isdigit() else None)

    def _remember(self, response: httpx.Response) -> None:
        """Keep a strong validator for If-Range; a weak one does not promise equal bytes."""
        validator = response.headers.get("ETag", "")
        if not validator or validator.startswith("W/"):
            validator = response.headers.get("Last-Modified", "")
        self._validator.write_text(validator)

    def _write(self, response: httpx.Response, start: int, total: int | None) -> None:
        done = start
        limit = self._parameters.max_bytes if total is None else total
        with self.part.open("r+b" if start else "wb") as out:
            out.seek(start)
            out.truncate()
            # Without a chunk size: httpx would hold back a part of a chunk, and lose it when the connection breaks.
            for block in response.iter_raw():
                done += len(block)
                if done > limit:
                    raise SourceError(f"sends more than the {limit} bytes of the file", item=self._file.url, remedy="Check the address")
                out.write(block)
                if self._progress is not None:
                    self._progress(done, total)
        if total is not None and done < total:
            raise _RetryError(f"the connection ended after {done} of {total} bytes")


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else None

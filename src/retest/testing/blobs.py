"""The conformance suite of the blob seam: subclass :class:`BlobStoreContract` for every store, fakes included.

Under pytest each ``test_*`` method is one test::

    class TestMyBlobs(BlobStoreContract):
        def make_store(self) -> BlobStore:
            return MyBlobs(...)          # fresh and empty

        def reopen(self, store: BlobStore) -> BlobStore | None:
            return MyBlobs(...)          # the same store as another process would open it

No test framework is imported; a failed check raises AssertionError.
"""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from retest.errors import NotFoundError, UsageError
from retest.store import BlobStore
from retest.testing._checks import check, raises

__all__ = ["INVALID_KEYS", "ODD_KEYS", "BlobStoreContract"]

ODD_KEYS = (
    "plain.jpg",
    "a/b/c/d/e/f.jpg",
    "with space.jpg",
    " leading and trailing ",
    "train%2F0%2F0049.png.jpg",
    "%",
    "%zz",
    "50%25",
    "question?mark",
    "plus+and&equals=",
    "hash#tag",
    "folder#1/file",
    'it\'s "quoted"',
    "st*r[0]{1}(2)<3>|^~`$!;,:@",
    ".hidden",
    "..two-dots",
    "three...",
    "-dash",
    "grün/naïve.jpg",
    "combining e\u0301.jpg",
    "composed \u00e9.jpg",
    "日本語/写真.jpg",
    "🐟.jpg",
    "right-to-left \u202e.jpg",
    "x" * 200,
)
"""Keys that every store must take as they are: what image ids, titles and file names of real collections are made of."""

INVALID_KEYS = (
    "",
    "/",
    ".",
    "..",
    "/absolute",
    "../outside",
    "a/../../outside",
    "a/..",
    "a//b",
    "a/./b",
    "trailing/",
    "back\\slash",
    "..\\outside",
    "nul\0byte",
    "line\nbreak",
    "tab\t",
    "delete\x7f",
    "unfinished#1",
)
"""What is no key: it would lead out of the store, or mean different things to different stores."""

_LARGE = 6 * 1024 * 1024  # above what object stores send in one piece


class BlobStoreContract:
    """What every :class:`~retest.store.BlobStore` promises. Override :meth:`make_store`, and :meth:`reopen` where it is possible."""

    def make_store(self) -> BlobStore:
        """Return a fresh and empty store. Called once per test."""
        raise NotImplementedError

    def reopen(self, store: BlobStore) -> BlobStore | None:
        """Return the same store as another process would open it; None if that is impossible."""
        return None

    # Reading and writing

    def test_bytes_come_back_as_they_were(self) -> None:
        store = self.make_store()
        for key, data in (("some/bytes", bytes(range(256))), ("empty", b""), ("large", _pattern(_LARGE, 1))):
            check(store.put_new(key, data) is True, f"{key}: was not new")
            check(store.get(key) == data, f"{key}: other bytes came back")
            check(store.size(key) == len(data) and store.exists(key), f"{key}: has size {store.size(key)}, not {len(data)}")

    def test_put_new_never_overwrites(self) -> None:
        store = self.make_store()
        store.put_new("key", b"first")
        for data in (b"second", b"first", b""):
            check(store.put_new("key", data) is False, "a key was new twice")
        check(store.get("key") == b"first", "the first bytes are gone")

    def test_put_replaces(self) -> None:
        store = self.make_store()
        for data in (b"first", b"", _pattern(_LARGE, 2), b"last"):
            store.put("key", data)
            check(store.get("key") == data and store.size("key") == len(data), "put did not replace")
        check(store.put_new("key", b"new") is False and store.get("key") == b"last", "put_new replaced what put stored")

    def test_a_signed_address_gives_the_bytes_where_there_is_one(self) -> None:
        store = self.make_store()
        key = "images/a b+c é.jpg"
        store.put_new(key, b"bytes")
        address = store.signed_url(key, seconds=60)
        if address is not None:
            with urllib.request.urlopen(address, timeout=30) as answer:  # noqa: S310 an address of the store
                check(answer.read() == b"bytes", "the signed address gives other bytes")
            check(store.signed_url("images/other.jpg", seconds=60) != address, "two keys have one signed address")
        for odd in ("../a", ""):
            with raises(UsageError, f"{odd!r} was signed"):
                store.signed_url(odd, seconds=60)

    def test_a_mark_stays_with_the_content_and_goes_with_it(self) -> None:
        store = self.make_store()
        store.put_new("a", b"first")
        store.put_new("b", b"other")
        mark = store.mark("a")
        check(bool(mark) and store.mark("absent") is None, f"the mark is {mark!r}")
        check(store.get("a") == b"first" and store.put_new("a", b"again") is False, "the bytes changed")
        check(store.mark("a") == mark, "reading changed the mark")
        check(store.mark("b") != mark, "two contents have one mark")
        other = self.reopen(store)
        check(other is None or other.mark("a") == mark, "another client sees another mark")
        store.put("a", b"third")  # as many bytes as before
        check(store.mark("a") != mark, "other bytes of the same number have the same mark")

    def test_what_is_absent_says_so(self) -> None:
        store = self.make_store()
        store.put_new("a/b", b"x")
        for key in ("absent", "a", "a/b/c", "A/B"):
            check(store.size(key) is None and store.exists(key) is False, f"{key!r} exists")
            with raises(NotFoundError, f"got {key!r}"):
                store.get(key)

    def test_delete(self) -> None:
        store = self.make_store()
        store.put_new("a/b", b"x")
        store.put_new("a/c", b"y")
        for _ in range(2):  # the second time there is nothing to delete, which is no error
            store.delete("a/b")
            check(not store.exists("a/b") and store.get("a/c") == b"y", "delete removed too little or too much")
        check(store.put_new("a/b", b"again") is True and store.get("a/b") == b"again", "a deleted key cannot be used again")

    def test_another_client_sees_the_same(self) -> None:
        store = self.make_store()
        store.put_new("a/b", b"x")
        other = self.reopen(store)
        if other is None:
            return
        check(other.get("a/b") == b"x" and list(other.list()) == [("a/b", 1)], "another client does not see the key")
        check(other.put_new("a/b", b"y") is False, "another client could take the key")
        other.put("c", b"z")
        other.delete("a/b")
        check(list(store.list()) == [("c", 1)], "what another client did is not seen")

    # Keys

    def test_odd_keys_are_kept_as_they_are(self) -> None:
        store = self.make_store()
        for key in ODD_KEYS:
            check(store.put_new(key, key.encode()), f"{key!r}: is the same as another key")
        for key in ODD_KEYS:
            check(store.get(key) == key.encode() and store.size(key) == len(key.encode()), f"{key!r}: other bytes came back")
            check(bool(store.location(key)), f"{key!r}: lies nowhere")
        check([key for key, _ in store.list()] == sorted(ODD_KEYS), "the list shows other keys")
        for key in ODD_KEYS:
            store.delete(key)
        check(list(store.list()) == [], "not every key was deleted")

    def test_what_is_no_key_is_refused_by_everything(self) -> None:
        store = self.make_store()
        for key in INVALID_KEYS:
            uses: dict[str, Callable[[], object]] = {
                "put_new": partial(store.put_new, key, b"x"),
                "put": partial(store.put, key, b"x"),
                "get": partial(store.get, key),
                "size": partial(store.size, key),
                "mark": partial(store.mark, key),
                "exists": partial(store.exists, key),
                "delete": partial(store.delete, key),
                "location": partial(store.location, key),
            }
            for name, use in uses.items():
                with raises(UsageError, f"{name} took {key!r}"):
                    use()
        for prefix in ("..", "a/../..", "/etc", "a//b", "back\\slash"):
            with raises(UsageError, f"list took {prefix!r}"):
                list(store.list(prefix))
        check(list(store.list()) == [], "something was stored all the same")

    def test_list_is_sorted_and_goes_by_folders(self) -> None:
        store = self.make_store()
        keys = ["b", "a/c", "a/b/2", "a/b/10", "ab/c", "a.txt", "B"]
        for number, key in enumerate(keys):
            store.put_new(key, b"x" * number)
        everything = sorted((key, number) for number, key in enumerate(keys))
        check(list(store.list()) == everything, f"the list is {list(store.list())}")
        for prefix in ("a", "a/"):
            check([key for key, _ in store.list(prefix)] == ["a/b/10", "a/b/2", "a/c"], f"{prefix!r} lists {list(store.list(prefix))}")
        check([key for key, _ in store.list("a/b")] == ["a/b/10", "a/b/2"], "a folder in a folder is not listed")
        check(list(store.list("absent")) == list(store.list("a/b/2/x")) == [], "an absent folder lists something")

    def test_many_keys_are_all_listed(self) -> None:
        store = self.make_store()
        keys = [f"many/{number:04d}" for number in range(1100)]  # object stores list a thousand at a time
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: store.put_new(key, b"x"), keys))
        check([key for key, _ in store.list("many")] == keys, "keys are missing from the list")

    # Several at once

    def test_of_many_who_put_the_same_new_key_one_wins(self) -> None:
        store = self.make_store()
        for turn in range(5):
            start = threading.Barrier(8)
            contents = [_pattern(20_000, number) for number in range(8)]

            def put(data: bytes, turn: int = turn, start: threading.Barrier = start) -> bool:
                start.wait()
                return store.put_new(f"contested/{turn}", data)

            with ThreadPoolExecutor(8) as pool:
                won = list(pool.map(put, contents))
            check(won.count(True) == 1, f"{won.count(True)} of 8 were first")
            check(store.get(f"contested/{turn}") == contents[won.index(True)], "the bytes are not the winner's")
        check(len(list(store.list())) == 5, "losers left something behind")

    def test_readers_never_see_a_part_or_a_mixture(self) -> None:
        store = self.make_store()
        whole = {_pattern(_LARGE, number) for number in range(2)}
        seen: list[str] = []
        done = threading.Event()

        def read() -> None:
            while not done.is_set():
                for key, size in store.list():
                    if size != _LARGE:
                        seen.append(f"{key} was listed with {size} bytes")
                try:
                    if store.get("replaced") not in whole:
                        seen.append("a part or a mixture was read")
                except NotFoundError:
                    pass

        reader = threading.Thread(target=read)
        reader.start()
        try:
            for turn in range(4):
                for data in whole:
                    store.put("replaced", data)
                    store.put_new(f"new/{turn}", data)
        finally:
            done.set()
            reader.join()
        check(not seen, "; ".join(dict.fromkeys(seen)))


def _pattern(size: int, number: int) -> bytes:
    """Bytes in which no part of one number equals that of another."""
    return (f"{number:07d} ".encode() * (size // 8 + 1))[:size]

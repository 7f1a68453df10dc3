"""Reviewers at work, for perf/review.py: a hand-written HTTP client, and random walks over the review pages."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote, urlencode

import review_study

API = "/review/api"
METRICS = ("l2", "dssim", "fc7")
DEEP = 4
PICTURES = 12
Step = Callable[[], Awaitable[object]]


class Connection:
    """One kept-alive connection that speaks just enough HTTP/1.1 for this server."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    def forget(self) -> None:
        """Open a new connection for the next request."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def request(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=2**22)
        reader, writer = self._streams
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self._port}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, _, rest = head.partition("\r\n")
        found = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest.split("\r\n") if line)}
        data = await reader.readexactly(int(found.get("content-length", 0)))
        return int(status.split()[1]), found, data


class Reviewer:
    """One person at a browser: a session, a connection, a random walk over the pages."""

    def __init__(self, port: int, wnids: list[str], seed: int, extra: dict[str, str]) -> None:
        self.connection = Connection(port)
        self.random, self.wnids, self.extra = random.Random(seed), wnids, extra
        self.times: list[tuple[str, float]] = []
        self.failures: list[str] = []
        self.conflicts = 0
        self.headers: dict[str, str] = {}
        self.csrf = ""

    async def sign_in(self, token: str) -> None:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        _, headers, _ = await self.connection.request("POST", "/review/sign-in", form, urlencode({"token": token}).encode())
        self.headers = {"Cookie": headers["set-cookie"].split(";")[0]}
        _, _, page = await self.connection.request("GET", "/review/classes?limit=1", self.headers)
        self.csrf = re.search(r'data-csrf="(\w+)"', page.decode()).group(1)

    async def ask(self, name: str, path: str, body: object = None) -> bytes:
        headers, sent = self.headers, b""
        if body is not None:
            sent = json.dumps(body).encode()
            headers = {**headers, "Content-Type": "application/json", "X-CSRF-Token": self.csrf}
        started = time.perf_counter()
        status, _, data = await self.connection.request("GET" if body is None else "POST", path, headers, sent)
        self.times.append((name, time.perf_counter() - started))
        self.conflicts += status == 409
        if status not in (200, 409):
            self.failures.append(f"{name} {path} {status} {data[:200]!r}")
        return data

    async def load(self, name: str, path: str) -> Any:
        return json.loads(await self.ask(name, path))

    async def work(self, until: float, think_s: float) -> None:
        await asyncio.sleep(self.random.random() * 5 * think_s)  # nobody comes at the same moment
        while time.perf_counter() < until:
            visit = self.random.choices(self.visits(), (40, 30, 20, 5, 5))[0]
            for step in visit():
                await step()
                if think_s:
                    await asyncio.sleep(self.random.expovariate(1 / think_s))
                if time.perf_counter() > until:
                    return

    def visits(self) -> tuple[Callable[[], list[Step]], ...]:
        return self.browse, self.pairs, self.revision, self.labels, self.history

    async def every_visit(self) -> None:
        for visit in self.visits():
            for step in visit():
                await step()
        self.times.clear()

    async def _decide(self, name: str, state: dict, kind: str, item: str, after: object, before: object, version: int) -> None:
        change = {"kind": kind, "item": item, "after": after, "before": before, "version": version}
        done = json.loads(await self.ask(name, f"{API}/decisions", {"changes": [change]}))
        state["numbers"] = [one["no"] for one in done.get("decided", []) if one["no"]]

    async def _undo(self, state: dict) -> None:
        if state.get("numbers"):
            await self.ask("undo", f"{API}/take-back", {"numbers": state["numbers"]})

    async def _pictures(self, urls: list[str]) -> None:
        for url in urls[:PICTURES]:
            await self.ask("thumbnail", url)

    def _after(self, state: dict) -> str:
        return f"&after={quote(state['next'])}" if state.get("next") else ""

    def browse(self) -> list[Step]:
        """Find a class, look at its candidates, decide about two of them."""
        wnid = self.random.choice(self.wnids)
        state: dict = {}
        listing = f"{API}/candidates?wnid={wnid}&limit=200"
        order = self.random.choice(("sort=taken", "sort=assignments&descending=false", "sort=id"))

        async def candidates() -> None:
            state.update(await self.load("candidates, first page", listing))
            await self._pictures([one["image"] for one in state["candidates"]])

        async def deeper() -> None:
            place = dict(state)
            for _ in range(DEEP):
                if place.get("next"):
                    place = await self.load("candidates, page deep", listing + self._after(place))

        async def flag() -> None:
            one = self.random.choice(state["candidates"])
            mark = one["problematic"]
            after = None if mark["state"] else {"detail": "perf"}
            await self._decide("decide: problematic", state, "problematic", one["id"], after, mark["state"], mark["version"])

        async def exclude() -> None:
            one = self.random.choice(state["candidates"])
            mark = one["exclusion"]
            after = None if mark["state"] else {"reason": "perf", "detail": ""}
            await self._decide("decide: exclude", state, "exclusion", one["id"], after, mark["state"], mark["version"])

        async def join() -> None:
            first, second = sorted(one["id"] for one in self.random.sample(state["candidates"], 2))
            await self._decide("decide: near-duplicates", state, "near_duplicate_pair", f"{first}|{second}", True, None, 0)

        async def details() -> None:
            await self.ask("image details", f"{API}/image?id={self.random.choice(state['candidates'])['id']}")

        return [
            lambda: self.ask("page: progress", "/review"),
            lambda: self.ask("page: classes", "/review/classes?sort=missing&descending=true"),
            lambda: self.ask("page: classes, search", f"/review/classes?q={wnid[:7]}"),
            lambda: self.ask("page: class browser", f"/review/class?wnid={wnid}"),
            lambda: self.ask("originals", f"{API}/originals?wnid={wnid}&limit=50"),
            candidates,
            deeper,
            lambda: self.ask("candidates, filtered", f"{listing}&min_frequency=0.7&excluded=no&near_duplicate=no&only_targets=true"),
            lambda: self.ask("candidates, of a revision", f"{listing}&revision=perf-1"),
            lambda: self.ask("candidates, sorted", f"{listing}&{order}"),
            details,
            flag,
            exclude,
            lambda: self._undo(state),
            join,
            lambda: self._undo(state),
        ]

    def pairs(self) -> list[Step]:
        """Look at what waits in a metric, decide, undo, look at a component."""
        metric = self.random.choice(METRICS)
        state: dict = {"items": []}

        async def queue() -> None:
            state.update(await self.load("pairs: queue", f"{API}/pairs/queue?metric={metric}&limit=10"))
            await self._pictures([n["image"]["url"] for one in state["items"] for n in one["neighbors"]])

        async def deeper() -> None:
            place = dict(state)
            for _ in range(self.random.randrange(1, DEEP)):
                if place.get("next"):
                    place = await self.load("pairs: queue, deep", f"{API}/pairs/queue?metric={metric}&limit=10{self._after(place)}")
            state["items"] = place["items"] or state["items"]

        async def review() -> None:
            one = self.random.choice(state["items"])
            shown = sorted({*(one["state"] or {}).get("references", ()), *(n["image"]["id"] for n in one["neighbors"])})
            marked = sorted({*(one["state"] or {}).get("near_duplicates", ()), *shown[: self.random.randrange(2)]})
            state["candidate"] = one["candidate"]["id"]
            after = {"references": shown, "near_duplicates": marked}
            item = f"{state['candidate']}/{metric}"
            await self._decide("decide: pairs", state, "near_duplicate_review", item, after, one["state"], one["version"])

        async def component() -> None:
            name = self.random.choice(state["components"])["name"]
            await self.ask("page: component", f"/review/component?image={name}")
            await self.ask("component", f"{API}/components/component?image={name}")

        async def components() -> None:
            await self.ask("page: components", "/review/components")
            after = f"{self.random.getrandbits(30):08x}"  # names are the least id of each, so they lie low
            state.update(await self.load("components", f"{API}/components?after={after}&limit=20"))

        return [
            lambda: self.ask("page: near-duplicates", f"/review/pairs?metric={metric}"),
            lambda: self.ask("pairs: progress", f"{API}/pairs/progress?metric={metric}"),
            queue,
            deeper,
            review,
            lambda: self.ask("pairs: candidate", f"{API}/pairs/candidate?metric={metric}&candidate={state['candidate']}"),
            lambda: self._undo(state),
            components,
            component,
        ]

    def revision(self) -> list[Step]:
        """Review two classes of a revision."""
        name, state = f"perf-{self.random.randrange(3)}", {}

        async def classes() -> None:
            only, part = self.random.choice(("all", "open", "bad")), self.random.randrange(1, 21)
            path = f"{API}/revision/classes?name={name}&only={only}&part={part}&parts=20"
            state["classes"] = (await self.load("revision: classes", path))["classes"]

        async def one() -> None:
            wnid = self.random.choice([row["wnid"] for row in state["classes"]] or self.wnids)
            await self.ask("page: class of a revision", f"/review/revision/class?name={name}&wnid={wnid}&parts=20")
            state.update(await self.load("revision: class", f"{API}/revision/class?name={name}&wnid={wnid}"))
            await self._pictures([image["url"] for image in state["images"]])

        async def review() -> None:
            row = state["row"]
            before = {"reviewed": row["reviewed"], "problematic": row["problematic"]}
            after = {"reviewed": not row["reviewed"], "problematic": False}
            version = state["version"]
            await self._decide("decide: class of a revision", state, "class_review", state["item"], after, before, version)

        return [
            lambda: self.ask("page: revisions", "/review/revisions"),
            lambda: self.ask("page: revision", f"/review/revision?name={name}"),
            classes,
            one,
            review,
            one,
            review,
            lambda: self._undo(state),
            lambda: self.ask("revision: facts", f"{API}/revision/facts?name={name}"),
            lambda: self.ask("page: difference of two revisions", f"/review/revision/diff?old=perf-0&new={name}"),
        ]

    def labels(self) -> list[Step]:
        """Look at HITs and at those who answered them."""
        state: dict = {}

        async def hits() -> None:
            state.update(await self.load("HITs", f"{API}/hits?wnid={self.random.choice(self.wnids)}&limit=100"))

        async def hit() -> None:
            for one in state["hits"][:1]:  # none are listed until their figures are known
                await self.ask("page: a HIT", f"/review/hit?uuid={one['uuid']}")

        async def annotator() -> None:
            for one in state["annotators"][:1]:
                await self.ask("page: an annotator", f"/review/annotator?worker={one['worker']}")

        async def annotators() -> None:
            state.update(await self.load("annotators", f"{API}/annotators?limit=100"))

        return [
            lambda: self.ask("page: HITs", "/review/hits"),
            hits,
            hit,
            lambda: self.ask("page: annotators", "/review/annotators"),
            annotators,
            annotator,
        ]

    def history(self) -> list[Step]:
        """Look at what was decided, and at the pages of others."""
        person = quote(f"reviewer {self.random.randrange(review_study.PEOPLE)}")
        state: dict = {}

        async def decisions() -> None:
            state.update(await self.load("decisions", f"{API}/decisions?kind=exclusion&limit=100"))

        async def deeper() -> None:
            await self.ask("decisions, deep", f"{API}/decisions?user={person}&before={self.random.randrange(1, (state['next'] or 0) + 2)}")

        return [
            lambda: self.ask("page: audit log", "/review/audit"),
            lambda: self.ask("page: audit log, one person", f"/review/audit?user={person}&kind=problematic"),
            lambda: self.ask("page: audit log, a time", "/review/audit?since=2026-03-01&until=2026-03-02"),
            decisions,
            deeper,
            lambda: self.ask("page: audit log, an item", f"/review/audit?item={quote(state['decisions'][0]['item'])}"),
            lambda: self.ask("page: people", "/review/people"),
            *(lambda name=name, path=path: self.ask(name, path) for name, path in self.extra.items()),
        ]

"""An annotator without a browser: the same HTTP requests as the page's."""

from __future__ import annotations

import re

import httpx


class Annotator:
    def __init__(self, url: str) -> None:
        self.url = url
        self.client = httpx.Client(follow_redirects=True, timeout=60)
        self.page: httpx.Response | None = None

    def start(self, link: str, data: dict[str, str] | None = None) -> bool:
        self.page = self.client.post(link, data=data or {})
        return self.at_task

    @property
    def at_task(self) -> bool:
        return 'name="select-0"' in self.page.text

    @property
    def assignment(self) -> str:
        return self.page.url.params["assignmentId"]

    @property
    def hit(self) -> str:
        return re.search(r'name="hit" value="([^"]+)"', self.page.text)[1]

    @property
    def images(self) -> list[str]:
        return re.findall(r'<img src="(\./public/[^"]+)"', self.page.text)

    def form(self, *selected: int) -> dict[str, str]:
        base = {"assignmentId": self.assignment, "hit": self.hit, "shown": str(len(self.images)), "missing": ""}
        return {**base, **{f"select-{index}": "1" for index in selected}}

    def submit(self, *selected: int) -> bool:
        """Hand in; True if there is a next task."""
        self.page = self.client.post(f"{self.url}/mturk/externalSubmit", data=self.form(*selected))
        return self.at_task

    def text(self) -> str:
        return re.sub(r"<[^>]+>|\s+", " ", self.page.text.split("<main>")[-1])

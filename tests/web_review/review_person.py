"""Somebody who works with the review pages in a browser."""

from __future__ import annotations

import pytest
from review_digits import take_picture

SAVED = "() => document.body.dataset.saved === 'yes'"
EVIL = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


class Person:
    """Somebody at a browser of their own, signed in; ``problems`` are what the browser complained of."""

    def __init__(self, browser, server, name="Rex", **options) -> None:
        self.server = server
        self.context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.problems: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda message: self.problems.append(message.text) if message.type == "error" else None)
        self.page.on("request", lambda r: None if r.url.startswith((server.url, "data:")) else self.problems.append(r.url))
        self.page.goto(f"{server.url}/review/sign-in")
        self.page.fill("#token", server.tokens[name])
        self.page.click("button.primary")
        self.page.wait_for_url(f"{server.url}/review")

    def open(self, path, ready):
        self.page.goto(f"{self.server.url}/review{path}")
        self.page.wait_for_selector(ready)
        return self.page

    def browse(self, query="", wnid="apple"):
        """Open the class browser, and wait for its images."""
        return self.open(f"/class?wnid={wnid}{query}", "#grid[aria-busy=false]")

    def saved(self) -> None:
        self.page.wait_for_function(SAVED)

    def order(self) -> list[str]:
        """Ids of the tiles of the class browser in order."""
        titles = self.page.eval_on_selector_all(".tile", "tiles => tiles.map(t => [Number(t.dataset.index), t.title.split('\\n')[0]])")
        return [title for _, title in sorted(titles)]

    def marks(self, index: int) -> str:
        return self.page.inner_text(f"#tile-{index} .marks")

    def barriers(self) -> list[object]:
        """Serious and critical findings of axe-core."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
        found = axe.run(self.page).response["violations"]
        return [(v["id"], [n["html"][:150] for n in v["nodes"]][:3]) for v in found if v["impact"] in ("serious", "critical")]

    def shoot(self, name: str) -> None:
        """A picture of the page, where somebody asked for pictures."""
        take_picture(self.page, name)

    def close(self) -> None:
        self.context.close()

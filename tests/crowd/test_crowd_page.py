"""The task page: escaping, size, what it gives away, and its XML wrappings."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retest.crowd import CrowdParameters, HitTask
from retest.crowd.page import (
    MAX_QUESTION_BYTES,
    content_security_policy,
    external_question,
    html_of_question,
    html_question,
    image_origins,
    page_fingerprint,
    question_fingerprint,
    render_page,
)
from retest.errors import UsageError
from retest.records import ClassInfo, Hit
from retest.testing.crowd import example_hit, example_task

ATTACK = """</script></style><script>alert(1)</script>"><img src=x onerror=alert(2)>' onfocus='alert(3)' autofocus {{ 7*7 }} ]]>&lt;"""


class Elements(HTMLParser):
    """Every start tag with its attributes, and the text outside of style and script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.inside: dict[str, str] = {}
        self._open = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_endtag(self, tag):
        self._open = ""

    def handle_data(self, data):
        if self._open in ("style", "script"):
            self.inside[self._open] = self.inside.get(self._open, "") + data
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def big_task(images: int, **changes) -> HitTask:
    names = tuple(f"image-{n}" for n in range(images))
    hit = Hit("3c7987e5-737d-4f07-9905-35b1d76c181a", "n1", names, (), (), names)
    urls = tuple(f"https://images-of-the-study.example/label/v1/{n:032x}.jpg" for n in range(images))
    return HitTask(hit=hit, info=ClassInfo("n1", 0, ("goldfish",), "a fish"), image_urls=urls, **changes)


def test_the_page_shows_what_the_method_asks_for():
    task = example_task(1)
    page = Elements(render_page(task))
    for words in (task.settings.title, task.settings.instructions, task.settings.consent, task.info.gloss, *task.info.synset):
        assert words in page.text
    assert [link["href"] for link in page.named("a")] == list(task.info.wikipedia_pages)
    assert [image["src"] for image in page.named("img") if "src" in image] == list(task.image_urls)
    boxes = [box for box in page.named("input") if box["type"] == "checkbox"]
    assert [box["name"] for box in boxes] == [f"select-{n}" for n in range(10)]
    assert page.named("form")[0]["action"] == "https://www.mturk.com/mturk/externalSubmit"
    assert {"assignmentId", "hit", "shown", "missing"} <= {box["name"] for box in page.named("input")}


def test_the_page_gives_no_image_away():
    hit = example_hit(1)
    html = render_page(example_task(1))
    assert not any(image in html for image in hit.images_all)
    assert hit.wnid not in html
    alternatives = [image["alt"] for image in Elements(html).named("img")]
    assert alternatives == [f"Image {n}" for n in range(1, 11)] + [""]
    assert all(image["referrerpolicy"] == "no-referrer" for image in Elements(html).named("img") if "src" in image)


def test_the_page_loads_nothing_but_the_images():
    page = Elements(render_page(example_task(1)))
    assert not page.named("link")
    assert not page.named("iframe")
    assert all("src" not in script for script in page.named("script"))
    assert "url(" not in page.inside["style"]
    assert "@import" not in page.inside["style"]


@pytest.mark.parametrize("where", ["title", "instructions", "consent", "warning", "contact", "term", "gloss", "uuid"])
def test_injection_through_any_text_stays_text(where):
    task = example_task(1)
    clean = [tag for tag, _ in Elements(render_page(task)).tags]
    text = ATTACK[:60] if where == "uuid" else ATTACK
    if where == "term":
        task = dataclasses.replace(task, info=dataclasses.replace(task.info, synset=(ATTACK, task.info.synset[1])))
    elif where == "gloss":
        task = dataclasses.replace(task, info=dataclasses.replace(task.info, gloss=ATTACK))
    elif where == "uuid":
        task = dataclasses.replace(task, hit=dataclasses.replace(task.hit, uuid=text))
    else:
        task = dataclasses.replace(task, settings=dataclasses.replace(task.settings, **{where: ATTACK}))
    page = Elements(render_page(task))
    # The warning and the contact are paragraphs of their own.
    assert [tag for tag, _ in page.tags if tag != "p"] == [tag for tag in clean if tag != "p"]
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    if where == "uuid":
        assert any(box["value"] == text for box in page.named("input") if box["name"] == "hit")
    else:
        assert ATTACK in page.text


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "java\nscript:alert(1)",
        " javascript:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "//evil.example/x.jpg",
        "\\\\evil.example/x.jpg",
        "http:/one-slash",
        "https://",
        "http://[broken/x.jpg",
        "",
    ],
)
def test_links_and_images_are_http_only(url):
    task = example_task(1)
    with pytest.raises(UsageError, match="is not an http"):
        render_page(dataclasses.replace(task, image_urls=(*task.image_urls[:-1], url)))
    with pytest.raises(UsageError, match="is not an http"):
        render_page(dataclasses.replace(task, info=dataclasses.replace(task.info, wikipedia_pages=(url,))))


def test_image_urls_may_be_relative_to_the_server():
    task = dataclasses.replace(example_task(1), image_urls=tuple(f"/images/{n}.jpg" for n in range(10)))
    assert 'src="/images/9.jpg"' in render_page(task, submit_bases=("http://localhost:8000",))


def test_the_origins_of_images_elsewhere_are_told():
    """The server that shows a page published from elsewhere must allow its images, or annotators see none of them."""
    task = big_task(3)
    urls = ("https://pictures.example:8443/public/a.jpg", "https://pictures.example:8443/public/b.jpg", "./public/c.jpg")
    page = render_page(dataclasses.replace(task, image_urls=urls))
    assert image_origins(page) == ("https://pictures.example:8443",)


@pytest.mark.parametrize(
    "url", ["https://a.example;script-src *//x.jpg", "https://a.example'unsafe-inline'/x.jpg", "https://u:p@a.example/x.jpg"]
)
def test_no_image_address_adds_to_the_policy(url):
    assert image_origins(f'<img src="{url}">') == ()


def test_a_quote_in_a_url_stays_in_its_attribute():
    task = example_task(1)
    url = 'https://images.example/a"onerror="alert(1).jpg'
    page = Elements(render_page(dataclasses.replace(task, image_urls=(url, *task.image_urls[1:]))))
    assert page.named("img")[0]["src"] == url
    assert "onerror" not in page.named("img")[0]


def test_pages_need_urls_and_an_address():
    with pytest.raises(UsageError, match="no image URLs"):
        render_page(dataclasses.replace(example_task(1), image_urls=()))
    with pytest.raises(UsageError, match="no address takes the answers"):
        render_page(example_task(1), submit_bases=())


def test_the_published_size_fits_and_more_than_the_published_limit_still_does():
    question = html_question(render_page(big_task(48)), item="x")
    assert len(question.encode()) < 40_000
    assert len(html_question(render_page(big_task(77)), item="x").encode()) <= MAX_QUESTION_BYTES


def test_too_large_a_page_is_refused_with_its_size():
    with pytest.raises(UsageError, match=r"the page takes \d+ bytes, Mechanical Turk allows 65535. Show fewer images per HIT"):
        html_question(render_page(big_task(400)), item="x")


def test_the_limit_counts_bytes_not_characters():
    overhead = len(html_question("", item="x").encode())
    assert len(html_question("é" * ((MAX_QUESTION_BYTES - overhead) // 2), item="x").encode()) >= MAX_QUESTION_BYTES - 1
    with pytest.raises(UsageError):
        html_question("é" * ((MAX_QUESTION_BYTES - overhead) // 2 + 1), item="x")


# XML 1.0 holds no other control characters, and every parser turns line ends into \n.
xml_text = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\t\n"), max_size=200)


@given(html=xml_text | st.just("a]]>b]]]]>c<![CDATA[d]]>") | st.text("]>[<!CDAT", max_size=30))
def test_html_questions_hold_any_document(html):
    html = html.replace("\ufffe", "").replace("\uffff", "")
    question = html_question(html, item="x", frame_height_px=450)
    root = ElementTree.fromstring(question)
    namespace = "{http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas/2011-11-11/HTMLQuestion.xsd}"
    assert [child.tag for child in root] == [f"{namespace}HTMLContent", f"{namespace}FrameHeight"]
    assert (root[0].text or "", root[1].text) == (html, "450")
    assert html_of_question(question) == html


def test_other_questions_hold_no_page():
    question = external_question("https://label.example/task?a=1&b=2")
    assert ElementTree.fromstring(question)[0].text == "https://label.example/task?a=1&b=2"
    assert html_of_question(question) is None
    assert html_of_question("not XML") is None
    assert html_of_question('<!DOCTYPE x [<!ENTITY y "z">]><HTMLQuestion><HTMLContent>&y;</HTMLContent></HTMLQuestion>') is None
    with pytest.raises(UsageError, match="over https"):
        external_question("http://label.example/task")


def test_the_fingerprint_tells_hits_apart_and_survives_publishing():
    task = example_task(1)
    found = question_fingerprint(html_question(render_page(task), item="x"))
    assert found == page_fingerprint(task.hit)
    others = [
        dataclasses.replace(task.hit, wnid="n02085936"),
        dataclasses.replace(task.hit, images_all=task.hit.images_all[::-1]),
        example_hit(2),
    ]
    assert len({found, *map(page_fingerprint, others)}) == 4
    assert page_fingerprint(dataclasses.replace(task.hit, hit_id="X", submitted=True)) == found
    assert question_fingerprint("<p>foreign</p>") is None


def test_the_policy_allows_exactly_the_pages_own_script_and_style():
    page = Elements(render_page(example_task(1)))
    policy = dict(part.split(" ", 1) for part in content_security_policy().split("; "))
    for kind, directive in (("script", "script-src"), ("style", "style-src")):
        digest = base64.b64encode(hashlib.sha256(page.inside[kind].encode()).digest()).decode()
        assert policy[directive] == f"'sha256-{digest}'"
    assert policy["default-src"] == "'none'"
    assert "unsafe" not in content_security_policy()
    assert not any(name == "style" for _, attributes in page.tags for name in attributes)


def test_paragraphs_follow_the_lines_of_a_text():
    settings = CrowdParameters(instructions="First rule.\n\n  Second rule.  \n")
    html = render_page(dataclasses.replace(example_task(1), settings=settings))
    assert re.search(r"<p>First rule\.</p>\s*<p>Second rule\.</p>", html)

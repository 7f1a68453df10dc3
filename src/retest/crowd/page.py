"""The task page: what an annotator sees, as one self-contained HTML document (method, section 4; issue: labelling).

The same page works inside Mechanical Turk (as HTMLQuestion) and on the study's own labelling server. It loads nothing
but the images. Field ``select-<i>`` is sent when image i of ``images_all`` is selected, so neither the page nor the
answer names an image. Every text is escaped; links and image URLs must be http(s).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from retest.crowd._xml import XmlError, parse_xml
from retest.crowd.base import HitTask
from retest.errors import UsageError
from retest.records import Hit

__all__ = [
    "MAX_QUESTION_BYTES",
    "MTURK_SUBMIT_BASES",
    "TaskPage",
    "content_security_policy",
    "external_question",
    "html_of_question",
    "html_question",
    "image_origins",
    "page_fingerprint",
    "question_fingerprint",
    "render_page",
    "task_page",
]

MAX_QUESTION_BYTES = 65_535
"""Mechanical Turk's limit on the Question of a HIT, UTF-8, white space included."""

MTURK_SUBMIT_BASES = ("https://www.mturk.com", "https://workersandbox.mturk.com")
"""Where Mechanical Turk takes answers: live and sandbox."""

_SCHEMAS = "http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas"
_IMAGE_ORIGIN = re.compile(r'<img src="(https?://[A-Za-z0-9.:\[\]-]+)/')
_FINGERPRINT = re.compile(r'data-page="([0-9a-f]{32})"')


@dataclass(frozen=True, slots=True)
class TaskPage:
    """Everything on the page; texts are plain, one string per paragraph."""

    uuid: str
    title: str
    terms: tuple[str, ...]
    gloss: str
    links: tuple[str, ...]
    instructions: tuple[str, ...]
    consent: tuple[str, ...]
    warning: tuple[str, ...]
    contact: str
    image_urls: tuple[str, ...]
    submit_bases: tuple[str, ...]
    fingerprint: str


def page_fingerprint(hit: Hit) -> str:
    """32 hex digits that change with the HIT's class, images or their order; says nothing about any of them."""
    return hashlib.sha256(json.dumps([hit.wnid, hit.images_all]).encode()).hexdigest()[:32]


def task_page(task: HitTask, *, submit_bases: tuple[str, ...] = MTURK_SUBMIT_BASES) -> TaskPage:
    """Collect what the page of a task shows.

    Args:
        task: the HIT with its class, image URLs and settings.
        submit_bases: addresses that take answers (``<base>/mturk/externalSubmit``). The first is the default; the
            page follows the query parameter ``turkSubmitTo`` only to the origins of these and to its own.

    Raises:
        UsageError: if the task has no image URLs, or a link, image URL or base is not http(s).
    """
    hit, info, settings = task.hit, task.info, task.settings
    if not task.image_urls:
        raise UsageError("the task has no image URLs", item=hit.uuid, remedy="Pass one opaque URL per image to HitTask")
    if not submit_bases:
        raise UsageError("no address takes the answers", item=hit.uuid, remedy="Pass submit_bases")
    for url in (*info.wikipedia_pages, *submit_bases):
        _check_url(url, hit.uuid, relative=False)
    for url in task.image_urls:
        _check_url(url, hit.uuid, relative=True)
    return TaskPage(
        uuid=hit.uuid,
        title=settings.title,
        terms=info.synset or (info.wnid,),
        gloss=info.gloss,
        links=info.wikipedia_pages,
        instructions=_paragraphs(settings.instructions),
        consent=_paragraphs(settings.consent),
        warning=_paragraphs(settings.warning),
        contact=settings.contact,
        image_urls=task.image_urls,
        submit_bases=tuple(base.rstrip("/") for base in submit_bases),
        fingerprint=page_fingerprint(hit),
    )


def render_page(task: HitTask, *, submit_bases: tuple[str, ...] = MTURK_SUBMIT_BASES) -> str:
    """Return the page of a task as an HTML document. See :func:`task_page` for arguments and errors."""
    page = task_page(task, submit_bases=submit_bases)
    return _template().render(page=page, style=Markup(_asset("task.css")), script=Markup(_asset("task.js")))  # noqa: S704 own files


def html_question(html: str, *, item: str, frame_height_px: int = 0) -> str:
    """Wrap a document as Mechanical Turk's HTMLQuestion; a height of 0 fills the window.

    Raises:
        UsageError: if the result is larger than :data:`MAX_QUESTION_BYTES`; ``item`` names the HIT in it.
    """
    # A CDATA section ends at the first "]]>": split it there.
    content = html.replace("]]>", "]]]]><![CDATA[>")
    xml = (
        f'<HTMLQuestion xmlns="{_SCHEMAS}/2011-11-11/HTMLQuestion.xsd">'
        f"<HTMLContent><![CDATA[{content}]]></HTMLContent><FrameHeight>{frame_height_px}</FrameHeight></HTMLQuestion>"
    )
    size = len(xml.encode())
    if size > MAX_QUESTION_BYTES:
        raise UsageError(
            f"the page takes {size} bytes, Mechanical Turk allows {MAX_QUESTION_BYTES}",
            item=item,
            remedy="Show fewer images per HIT, or use shorter image URLs or texts",
        )
    return xml


def external_question(url: str, *, frame_height_px: int = 0) -> str:
    """Point to a page elsewhere: Mechanical Turk's ExternalQuestion (https only, as Mechanical Turk demands).

    Raises:
        UsageError: if ``url`` is not https.
    """
    if urlsplit(url).scheme != "https":
        raise UsageError("an ExternalQuestion must be served over https", item=url, remedy="Use the https address of the server")
    return (
        f'<ExternalQuestion xmlns="{_SCHEMAS}/2006-07-14/ExternalQuestion.xsd">'
        f"<ExternalURL>{Markup.escape(url)}</ExternalURL><FrameHeight>{frame_height_px}</FrameHeight></ExternalQuestion>"
    )


def html_of_question(question: str) -> str | None:
    """The document inside an HTMLQuestion; None for other kinds of question."""
    try:
        root = parse_xml(question)
    except XmlError:
        return None
    return root.findtext("HTMLContent") if root.tag == "HTMLQuestion" else None


def image_origins(html: str) -> tuple[str, ...]:
    """Where a page's images come from ("https://host:port", sorted), besides the server that shows the page."""
    return tuple(sorted(set(_IMAGE_ORIGIN.findall(html))))


def question_fingerprint(question: str) -> str | None:
    """The :func:`page_fingerprint` inside a published page; None where the page is not one of ours."""
    match = _FINGERPRINT.search(question)
    return None if match is None else match.group(1)


def content_security_policy(*, image_sources: tuple[str, ...] = ("'self'",)) -> str:
    """A Content-Security-Policy under which the page works and nothing injected into it would.

    Only the page's own script and style run (by hash), images load from ``image_sources``, answers go to the server
    that shows the page.
    """
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_hash('task.js')}'",
            f"style-src '{_hash('task.css')}'",
            f"img-src {' '.join(image_sources)}",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )


def _paragraphs(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _check_url(url: str, uuid: str, *, relative: bool) -> None:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = None
    # Browsers drop tabs and line ends inside a URL and read "\\" as "/".
    strange = parts is None or re.search(r"[\x00-\x20\\]", url) is not None
    absolute = parts is not None and parts.scheme in ("http", "https") and bool(parts.netloc)
    local = relative and parts is not None and not parts.scheme and not parts.netloc and url != ""
    if strange or not (absolute or local):
        raise UsageError(f"{url!r} is not an http(s) address", item=uuid, remedy="The page links and loads nothing else")


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("retest.crowd", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("task.html")


@cache
def _asset(name: str) -> str:
    return (files("retest.crowd") / "templates" / name).read_text(encoding="utf-8")


def _hash(name: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(_asset(name).encode()).digest()).decode()

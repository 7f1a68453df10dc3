"""From a submitted form to the images selected, by way of Mechanical Turk's QuestionFormAnswers document."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from xml.sax.saxutils import escape

from retest.crowd._xml import XmlError, parse_xml
from retest.errors import CrowdError
from retest.records import Hit

__all__ = ["missing_images", "read_answers", "selected_images", "write_answers"]

_NAMESPACE = "http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas/2005-10-01/QuestionFormAnswers.xsd"
_SELECT = re.compile(r"select-(0|[1-9][0-9]{0,5})")
# Characters that XML 1.0 cannot hold, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_answers(fields: Iterable[tuple[str, str]]) -> str:
    """Turn form fields into a QuestionFormAnswers document, in order; characters that XML cannot hold become U+FFFD."""
    answers = "".join(
        f"<Answer><QuestionIdentifier>{_text(name)}</QuestionIdentifier><FreeText>{_text(value)}</FreeText></Answer>"
        for name, value in fields
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8" standalone="no"?><QuestionFormAnswers xmlns="{_NAMESPACE}">{answers}</QuestionFormAnswers>'
    )


def read_answers(document: str, *, item: str) -> dict[str, str]:
    """Read a QuestionFormAnswers document: field name -> text. Fields that occur twice are joined by "|", as MTurk does.

    Raises:
        CrowdError: if it is not such a document; ``item`` names the assignment in it.
    """
    try:
        root = parse_xml(document)
    except XmlError as error:
        raise CrowdError(f"the answer cannot be read ({error})", item=item, remedy="Look at the raw answer of this assignment") from None
    if root.tag != "QuestionFormAnswers":
        raise CrowdError(f"the answer is a {root.tag!r}", item=item, remedy="QuestionFormAnswers was expected")
    fields: dict[str, str] = {}
    for answer in root:
        parts = {child.tag: "".join(child.itertext()) for child in answer}
        name = parts.pop("QuestionIdentifier", "").strip()
        text = next(iter(parts.values()), "")
        fields[name] = f"{fields[name]}|{text}" if name in fields else text
    return fields


def selected_images(fields: Mapping[str, str], hit: Hit, *, item: str) -> tuple[str, ...]:
    """The images whose boxes were ticked, in the order shown.

    Raises:
        CrowdError: if the form belongs to another HIT, or selects an image that the HIT does not show.
    """
    if fields.get("hit", hit.uuid) != hit.uuid:
        raise CrowdError(f"the answer is for HIT {fields['hit']!r}, not for {hit.uuid!r}", item=item, remedy="Leave this answer out")
    if fields.get("shown", str(len(hit.images_all))).strip() != str(len(hit.images_all)):
        raise CrowdError(
            f"the page showed {fields['shown']!r} images, the HIT has {len(hit.images_all)}",
            item=item,
            remedy="The study's HIT is not the published one; run the check of study against crowd",
        )
    return tuple(hit.images_all[index] for index in _indices(fields, len(hit.images_all), item))


def missing_images(fields: Mapping[str, str], hit: Hit) -> tuple[str, ...]:
    """Images that did not load in the annotator's browser, as the page reports them, in the order shown."""
    given = {int(part) for part in fields.get("missing", "").split(",") if part.isascii() and part.isdigit()}
    return tuple(image for index, image in enumerate(hit.images_all) if index in given)


def _indices(fields: Mapping[str, str], count: int, item: str) -> list[int]:
    found = []
    for name in fields:
        if not name.startswith("select-"):
            continue
        match = _SELECT.fullmatch(name)
        if match is None or int(match.group(1)) >= count:
            raise CrowdError(f"the answer selects {name!r}, the HIT has {count} images", item=item, remedy="Leave this answer out")
        found.append(int(match.group(1)))
    return sorted(found)


def _text(value: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", value))

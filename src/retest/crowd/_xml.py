"""Read small XML documents from strangers: no document types, hence no entities to expand."""

from __future__ import annotations

from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat


class XmlError(ValueError):
    """The document is not well-formed, or declares a document type."""


def parse_xml(document: str) -> Element:
    """Parse a document to elements with local names (namespaces are dropped).

    Raises:
        XmlError: if it is not well-formed or declares a document type.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate(encoding="utf-8", namespace_separator="}")
    parser.buffer_text = True

    def refuse(*_: object) -> None:
        raise XmlError("it declares a document type")

    def start(name: str, attributes: dict[str, str]) -> None:
        builder.start(name.rpartition("}")[2], attributes)

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda name: builder.end(name.rpartition("}")[2])
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(document.encode(), True)
    except (expat.ExpatError, UnicodeEncodeError) as error:
        raise XmlError(str(error)) from None
    return builder.close()

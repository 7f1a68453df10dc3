"""One self-contained HTML page of a whole study.

The page loads nothing: style, script and images are inside it, and a content security policy forbids everything else, so that
even text that slipped past the escaping could not run. It works without its script; the script adds sorting, pointing and PNG.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib import resources
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from retest.report import theme
from retest.report.chart import Chart, marker
from retest.report.page import build_page
from retest.report.page_tables import PageTable, data_table
from retest.report.records import StudyReport
from retest.report.svg import element
from retest.report.wording import clean, count, decimal, number, plural, signed

_UNBROKEN = 12
_MOST_ROWS = 500


def render_html(report: StudyReport) -> str:
    """The report as one HTML document (UTF-8); equal records give equal text.

    Parts of the record that are None are absent. All texts are escaped; images were checked to be JPEG or PNG when their
    records were made.

    Args:
        report: what to show.
    """
    css, script = _css(), _asset("report.js")
    sources = f"img-src data:; style-src '{_digest(css)}'; script-src '{_digest(script)}'"
    policy = f"default-src 'none'; {sources}; base-uri 'none'; form-action 'none'"
    template = _environment().get_template("report.html.j2")
    return template.render(
        page=build_page(report),
        policy=policy,
        css=_trusted(css),
        script=_trusted(script),
        light=theme.LIGHT["paper"],
        dark=theme.DARK["paper"],
    )


def web_link(address: str) -> str | None:
    """The address when it is an http or https link to a host, else None (it may then be shown as text only)."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    return address if parts.scheme in ("http", "https") and parts.netloc else None


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("retest.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_cleaned,
    )
    formats = {"count": count, "decimal": decimal, "number": number, "signed": signed, "plural": plural}
    environment.filters.update(formats, web_link=web_link, marker=_marker, breakable=_breakable, bar=_bar, numbers=_numbers)
    return environment


def _cleaned(value: object) -> object:
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _marker(series: int) -> Markup:
    return element("svg", marker(series, 7.0, 7.0, 5.0), class_="chart key", viewBox="0 0 14 14", width=14, height=14, aria_hidden="true")


def _bar(share: float) -> Markup:
    # A drawing, because the page's policy allows no style attributes.
    bar = element("rect", width=f"{100 * share:.2f}%", height="100%", class_="fill")
    return element("svg", bar, class_="bar-cell", aria_hidden="true")


def _breakable(name: str) -> Markup:
    """A name that may be broken after the signs that join its parts, as in ``resnext101_32x4d``."""
    name = clean(name)
    if len(name) <= _UNBROKEN:
        return escape(name)
    return Markup("<wbr>").join(re.split(r"(?<=[_./-])(?=[^_./-])|(?<=[a-z0-9])(?=[A-Z])", name))


def _numbers(chart: Chart) -> PageTable | None:
    """The numbers behind a figure as a table; None where they are too many to be looked up on a page (the CSV has them)."""
    if len(chart.numbers.rows) > _MOST_ROWS:
        return None
    return data_table(f"{chart.slug}-numbers", chart.title, chart.numbers.header, chart.numbers.rows)


def _css() -> str:
    light, dark = theme.custom_properties(theme.LIGHT), theme.custom_properties(theme.DARK)
    schemes = (
        f":root{{color-scheme:light dark;--font:{theme.FONT};{light}}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
        "@media print{:root{color-scheme:light}}\n"
    )
    return f"{schemes}{_asset('report.css')}\n{theme.chart_css()}"


@cache
def _asset(name: str) -> str:
    return resources.files("retest.report").joinpath("templates", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}"


def _trusted(own: str) -> Markup:
    """Our own style sheet or script, which must reach the page unchanged."""
    return Markup(own)  # noqa: S704

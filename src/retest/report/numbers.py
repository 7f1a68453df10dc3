"""The numbers behind a figure or table, to be read by machines."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Numbers:
    """A rectangle of values under a header; ``notes`` are the notices that concern them and become a column of their own."""

    header: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    notes: tuple[str, ...] = ()

    @property
    def csv(self) -> str:
        """The values as CSV with full precision."""
        if not self.notes:
            return csv_text(self.header, self.rows)
        notice = "; ".join(self.notes)
        return csv_text((*self.header, "notice"), [(*row, notice) for row in self.rows])

    @property
    def csv_uri(self) -> str:
        """The CSV as a ``data:`` address."""
        return text_uri(self.csv, "text/csv")


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """CSV (RFC 4180, but lines end with a line feed); None becomes an empty field, floats keep full precision."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()


def text_uri(text: str, media_type: str) -> str:
    """A text as a ``data:`` address; characters that UTF-8 cannot hold (lone surrogates) become question marks."""
    return f"data:{media_type};charset=utf-8;base64,{base64.b64encode(text.encode('utf-8', 'replace')).decode('ascii')}"

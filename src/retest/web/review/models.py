"""Records of the JSON interface that several operations share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from retest.stages._review_images import ImageView
from retest.stages.review import MAX_CHANGES, Conflict, Decided, Decision
from retest.web.review.visit import image_url

__all__ = [
    "Answer",
    "Body",
    "ChangeBody",
    "ConflictAnswer",
    "ConflictItem",
    "DecideBody",
    "DecidedAnswer",
    "DecidedItem",
    "DecisionItem",
    "ImageItem",
    "Problem",
    "TakeBackBody",
]


class Answer(BaseModel):
    """Base of what operations return."""

    model_config = ConfigDict(frozen=True)


class Body(BaseModel):
    """Base of what operations take."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ImageItem(Answer):
    """An image: what it is, of which class, how often annotators selected it. ``url`` is that of a placeholder where none is stored."""

    id: str
    kind: str
    wnid: str | None
    stored: bool
    url: str
    full_url: str
    frequency: float | None
    num_assignments: int
    excluded: str | None

    @classmethod
    def of(cls, view: ImageView) -> ImageItem:
        return cls(
            id=view.id,
            kind=view.kind,
            wnid=view.wnid,
            stored=view.sha256 is not None,
            url=image_url(view.id, view.sha256),
            full_url=image_url(view.id, view.sha256, variant="full"),
            frequency=view.frequency,
            num_assignments=view.num_assignments,
            excluded=view.excluded,
        )


class Problem(Answer):
    """What went wrong, with which item, and the remedy."""

    problem: str
    item: str | None = None
    remedy: str = ""


class ConflictItem(Answer):
    """Somebody else has decided meanwhile: what you wished, and how the item stands now."""

    kind: str
    item: str
    wished: Any
    state: Any
    version: int
    user: str
    time: str

    @classmethod
    def of(cls, conflict: Conflict) -> ConflictItem:
        c = conflict
        return cls(kind=c.kind, item=c.item, wished=c.wished, state=c.state, version=c.version, user=c.user, time=c.time)


class ConflictAnswer(Problem):
    """Nothing was written; both sides of every conflict. ``rest`` are decisions that can be taken back without the items in conflict."""

    conflicts: list[ConflictItem]
    rest: list[int] = []


class ChangeBody(Body):
    """A wish: the item shall have the state ``after``. ``version`` is the latest decision that was seen, ``before`` the state."""

    kind: str = Field(max_length=100)
    item: str = Field(max_length=2000)
    after: Any
    version: int = Field(ge=0, lt=2**53)
    before: Any = None


class DecideBody(Body):
    """Changes that are written together or not at all."""

    changes: list[ChangeBody] = Field(min_length=1, max_length=MAX_CHANGES)


class TakeBackBody(Body):
    """Numbers of decisions to take back."""

    numbers: list[Annotated[int, Field(ge=1, lt=2**53)]] = Field(min_length=1, max_length=MAX_CHANGES)


class DecidedItem(Answer):
    """How an item stands now; ``no`` is the decision that was written, null where nothing had to change."""

    kind: str
    item: str
    state: Any
    version: int
    no: int | None

    @classmethod
    def of(cls, decided: Decided) -> DecidedItem:
        return cls(kind=decided.kind, item=decided.item, state=decided.state, version=decided.version, no=decided.no)


class DecidedAnswer(Answer):
    """How the items stand now, in the order of the request."""

    decided: list[DecidedItem]


class DecisionItem(Answer):
    """An entry of the history."""

    no: int
    time: str
    user: str
    kind: str
    item: str
    before: Any
    after: Any

    @classmethod
    def of(cls, decision: Decision) -> DecisionItem:
        d = decision
        return cls(no=d.no, time=d.time, user=d.user, kind=d.kind, item=d.item, before=d.before, after=d.after)

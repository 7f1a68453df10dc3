"""The labelling tasks of a study, the answers to them, and what follows: selection frequencies and annotators' quality."""

from __future__ import annotations

from retest.datasets._answers import all_frequencies, class_frequencies, counted
from retest.datasets._base import StudyView, looked_up, not_found
from retest.errors import NotFoundError
from retest.labeling import QualityParameters, WorkerQuality, judge_answers
from retest.records import VALID_STATUSES, Assignment, Hit, SelectionFrequency
from retest.study import Study


class MTurkData(StudyView):
    """HITs, assignments and annotators, whatever back end they come from (the published project's class of this name).

    Frequencies are counted from the raw answers when they are asked for (method, section 5): for image i and class w over the
    Submitted and Approved assignments of HITs of class w that show i. Annotators bear the names of the study: keyed hashes, or
    the names of simulated ones.

    Args:
        study: an open study.
        include_excluded_hits: list HITs that count nowhere as well (such as those of ignored files). They never count in a
            frequency, whatever is set here.
    """

    def __init__(self, study: Study, *, include_excluded_hits: bool = False) -> None:
        super().__init__(study)
        self.include_excluded_hits = include_excluded_hits

    def hit(self, uuid: str) -> Hit:
        """A HIT by its uuid, excluded or not.

        Raises:
            NotFoundError: the study has no such HIT.
        """
        with self._read() as tables:
            found = tables.hits.get([uuid])
        return looked_up(found, uuid, "the study has no HIT with this uuid", remedy="List them with hits_of_class(wnid)")

    def hits(self) -> list[Hit]:
        """All HITs, in the order in which they were added."""
        with self._read() as tables:
            return list(tables.hits.all(include_excluded=self.include_excluded_hits))

    def hits_of_image(self, image_id: str) -> list[Hit]:
        """The HITs that show an image, original or candidate, as image to label or as control."""
        with self._read() as tables:
            return tables.hits.of_image(image_id, include_excluded=self.include_excluded_hits)

    def hits_of_class(self, wnid: str) -> list[Hit]:
        """The HITs that ask for a class."""
        with self._read() as tables:
            return tables.hits.of_class(wnid, include_excluded=self.include_excluded_hits)

    def hits_of_worker(self, worker: str) -> list[Hit]:
        """The HITs that an annotator has answered, by uuid; rejected answers included."""
        with self._read() as tables:
            found = tables.hits.get({answer.hit_uuid for answer in tables.assignments.of_worker(worker)})
            dropped = {} if self.include_excluded_hits else tables.hits.excluded(found)
        return [hit for uuid, hit in sorted(found.items()) if uuid not in dropped]

    def hit_of_crowd(self, hit_id: str) -> Hit:
        """The HIT that the crowd back end (Mechanical Turk, for example) knows under ``hit_id``, excluded or not.

        Raises:
            NotFoundError: there is none.
        """
        with self._read() as tables:
            found = tables.hits.by_crowd_id(hit_id)
        if not found:
            raise NotFoundError("the study has no HIT with this id of a crowd back end", item=hit_id, remedy="Use hit(uuid) for a uuid")
        return found[0]

    def hit_counts(self) -> dict[str, int]:
        """wnid -> number of HITs."""
        with self._read() as tables:
            return tables.hits.count_by_class(include_excluded=self.include_excluded_hits)

    def hit_exclusion(self, uuid: str) -> str | None:
        """Why a HIT counts nowhere; None when it counts.

        Raises:
            NotFoundError: the study has no such HIT.
        """
        self.hit(uuid)
        with self._read() as tables:
            return tables.hits.excluded([uuid]).get(uuid)

    def excluded_hits(self) -> dict[str, str]:
        """uuid -> reason of every HIT that counts nowhere."""
        with self._read() as tables:
            return tables.hits.excluded()

    def assignments(self, uuid: str) -> list[Assignment]:
        """The answers to a HIT by id, rejected ones included.

        Raises:
            NotFoundError: the study has no such HIT.
        """
        self.hit(uuid)
        with self._read() as tables:
            return list(tables.assignments.of_hits([uuid]))

    def assignment(self, assignment_id: str) -> Assignment:
        """An answer by its id.

        Raises:
            NotFoundError: the study has no such answer.
        """
        with self._read() as tables:
            found = tables.assignments.get([assignment_id])
        return looked_up(found, assignment_id, "the study has no assignment with this id", remedy="List them with assignments(uuid)")

    def assignments_of_image(self, image_id: str) -> list[Assignment]:
        """The answers to every HIT that shows an image, by HIT and id; ``image_id in answer.selected`` says whether it was selected."""
        with self._read() as tables:
            hits = tables.hits.of_image(image_id, include_excluded=self.include_excluded_hits)
            return list(tables.assignments.of_hits([hit.uuid for hit in hits]))

    def selection_frequency(self, image_id: str, wnid: str) -> SelectionFrequency:
        """How often annotators selected an image for a class; an image that was never shown for it has no assignments and value 0."""
        return self.selection_frequencies(image_id).get(wnid, SelectionFrequency(image_id, wnid, 0, 0))

    def selection_frequencies(self, image_id: str) -> dict[str, SelectionFrequency]:
        """wnid -> frequency, for every class that an image was shown for (usually one; controls and re-used photos have more)."""
        with self._read() as tables:
            counter = counted(tables, tables.hits.of_image(image_id, include_excluded=False))
        return {found.wnid: found for found in counter.frequencies() if found.image_id == image_id}

    def class_frequencies(self, wnid: str) -> dict[str, SelectionFrequency]:
        """image id -> frequency for a class, for every image that was shown for it, controls included."""
        with self._read() as tables:
            return class_frequencies(tables, wnid)

    def all_frequencies(self) -> dict[tuple[str, str], SelectionFrequency]:
        """(image id, wnid) -> frequency, over all answers of the study: reads every HIT and every answer once."""
        with self._read() as tables:
            return all_frequencies(tables)

    def hit_frequencies(self, uuid: str) -> dict[str, SelectionFrequency]:
        """image id -> frequency within one HIT alone, in the order of ``images_all``; also for an excluded HIT.

        Raises:
            NotFoundError: the study has no such HIT.
        """
        hit = self.hit(uuid)
        with self._read() as tables:
            return {found.image_id: found for found in counted(tables, [hit]).hit_frequencies(uuid)}

    def num_valid_assignments(self, uuid: str) -> int:
        """How many answers to a HIT count (Submitted or Approved).

        Raises:
            NotFoundError: the study has no such HIT.
        """
        return sum(answer.status in VALID_STATUSES for answer in self.assignments(uuid))

    def workers(self) -> dict[str, int]:
        """Annotator -> number of valid answers, by name."""
        with self._read() as tables:
            return tables.assignments.counts_by_worker(VALID_STATUSES)

    def assignments_of_worker(self, worker: str) -> list[Assignment]:
        """The answers of an annotator by HIT and id, rejected ones included.

        Raises:
            NotFoundError: the study has no answer of this annotator.
        """
        with self._read() as tables:
            found = list(tables.assignments.of_worker(worker))
        if not found:
            raise not_found("the study has no answer of this annotator", worker, remedy="List them with workers()")
        return found

    def worker_quality(self, worker: str, *, parameters: QualityParameters | None = None) -> WorkerQuality | None:
        """The answers of an annotator, judged by controls, pace and agreement with others; None when none of them counts.

        Raises:
            NotFoundError: the study has no answer of this annotator.
        """
        uuids = {answer.hit_uuid for answer in self.assignments_of_worker(worker)}
        with self._read() as tables:
            hits = tables.hits.get(uuids).values()
            answers = tables.assignments.of_hits(uuids)
            report = judge_answers(hits, answers, parameters=parameters, excluded_hits=tables.hits.excluded(uuids).keys())
        return next((quality for quality in report.workers if quality.worker == worker), None)

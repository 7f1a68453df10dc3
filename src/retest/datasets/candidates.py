"""The candidates of a study: photos that may enter the new test set."""

from __future__ import annotations

from collections.abc import Iterable

from retest.datasets._base import StudyView, looked_up
from retest.records import Candidate, DuplicateOccurrence, Exclusion


class CandidateData(StudyView):
    """Candidates, what was found twice and what was excluded (the published project's class of this name).

    Candidates that an imported study knows by reference only (mentioned somewhere, described nowhere) have the source
    ``reference`` and no address. Excluded candidates are candidates: exclusions mark, they never delete.
    """

    def candidate(self, candidate_id: str) -> Candidate:
        """A candidate by id.

        Raises:
            NotFoundError: no candidate has this id.
        """
        found = self.get_candidates([candidate_id])
        return looked_up(found, candidate_id, "is not the id of a candidate", remedy="List them with candidates(wnid)")

    def get_candidates(self, candidate_ids: Iterable[str]) -> dict[str, Candidate]:
        """Those of these ids that are candidates."""
        with self._read() as tables:
            return tables.candidates.get(candidate_ids)

    def candidates(self, wnid: str | None = None, *, include_excluded: bool = True) -> list[Candidate]:
        """The candidates of a class (None: of all classes), by id."""
        with self._read() as tables:
            found = list(tables.candidates.all(wnid=wnid))
            if include_excluded:
                return found
            excluded = tables.exclusions.all() if wnid is None else tables.exclusions.get(one.id for one in found)
        return [one for one in found if one.id not in excluded]

    def candidate_ids(self, wnid: str | None = None, *, include_excluded: bool = True) -> list[str]:
        """Ids of :meth:`candidates`."""
        with self._read() as tables:
            found = tables.candidates.ids(wnid=wnid)
            excluded = {} if include_excluded else tables.exclusions.all() if wnid is None else tables.exclusions.get(found)
        return [one for one in found if one not in excluded]

    def counts(self) -> dict[str, int]:
        """wnid -> number of candidates, excluded ones and those known by reference included ("" where no class is known)."""
        with self._read() as tables:
            return tables.candidates.count_by_class()

    def search_keys(self, wnid: str) -> dict[str, int]:
        """Search term -> how many candidates of the class it has found; those known by reference have no term."""
        with self._read() as tables:
            return {key: count for key, count in tables.candidates.count_by_search_key(wnid).items() if key is not None}

    def occurrences(self, candidate_id: str) -> list[DuplicateOccurrence]:
        """Where the same photo was found again for the same class, in the order of the places.

        Raises:
            NotFoundError: no candidate has this id.
        """
        self.candidate(candidate_id)
        with self._read() as tables:
            return list(tables.candidates.all_occurrences(candidate_id=candidate_id))

    def same_photo(self, candidate_id: str) -> list[Candidate]:
        """The other candidates that show the same photo (found for other classes), by id.

        Raises:
            NotFoundError: no candidate has this id.
        """
        one = self.candidate(candidate_id)
        with self._read() as tables:
            ids = [other for _, _, other in tables.candidates.by_photo(one.source, [one.photo_id]) if other != candidate_id]
            return sorted(tables.candidates.get(ids).values(), key=lambda other: other.id)

    def exclusion(self, candidate_id: str) -> Exclusion | None:
        """Why a candidate is left out; None when it is not.

        Raises:
            NotFoundError: no candidate has this id.
        """
        self.candidate(candidate_id)
        with self._read() as tables:
            return tables.exclusions.get([candidate_id]).get(candidate_id)

    def exclusions(self, reason: str | None = None) -> list[Exclusion]:
        """All exclusions, or those with a reason, by candidate id."""
        with self._read() as tables:
            return list(tables.exclusions.all().values() if reason is None else tables.exclusions.of_reason(reason))

    def exclusion_reasons(self) -> dict[str, int]:
        """Reason -> how many candidates were excluded for it."""
        with self._read() as tables:
            return tables.exclusions.counts()

    def __contains__(self, candidate_id: object) -> bool:
        return isinstance(candidate_id, str) and bool(self.get_candidates([candidate_id]))

    def count(self) -> int:
        """Number of candidates, as :meth:`counts` over all classes."""
        with self._read() as tables:
            return tables.candidates.count()

"""Where candidates come from: one seam, :class:`Source`, and its implementations.

Local sources are here; those that use the network live in modules of their own (``flickr``, ``openverse``, ``commons``,
``download``), so that importing this package pulls in no HTTP client.
"""

from retest.sources.base import FetchingSource, FoundPhoto, Page, Query, Source
from retest.sources.folder import FolderSource
from retest.sources.identity import Identified, candidate_id, identify, photo_ids_by_source, second_candidate_id
from retest.sources.opening import SOURCE_KINDS, open_source, read_hand_terms
from retest.sources.published import published_record
from retest.sources.search import SearchParameters, class_queries, class_terms
from retest.sources.table import TableSource
from retest.sources.wordnet import with_parents

__all__ = [
    "SOURCE_KINDS",
    "FetchingSource",
    "FolderSource",
    "FoundPhoto",
    "Identified",
    "Page",
    "Query",
    "SearchParameters",
    "Source",
    "TableSource",
    "candidate_id",
    "class_queries",
    "class_terms",
    "identify",
    "open_source",
    "photo_ids_by_source",
    "published_record",
    "read_hand_terms",
    "second_candidate_id",
    "with_parents",
]

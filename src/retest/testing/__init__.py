"""Shipped fakes, conformance suites and the synthetic-study factory.

Whoever writes a source, a crowd or a blob store of their own subclasses the suite of that seam in their tests:
``retest.testing.sources.SourceContract``, ``retest.testing.crowd.CrowdContract``, ``retest.testing.blobs.BlobStoreContract``.
"""

"""Shipped fakes, conformance suites and the synthetic-study factory."""

"""Benchmarks as data."""

"""Benchmarks: what rtflow costs, beside a named peer in the same run."""

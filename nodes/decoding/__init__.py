"""Decoding: examples, estimators, the units they see, and how often they were right."""

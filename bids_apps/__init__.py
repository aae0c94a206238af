"""BIDS Apps as nodes."""

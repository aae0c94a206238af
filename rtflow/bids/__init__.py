"""BIDS: volumes with their metadata, and the data sets that hold them."""

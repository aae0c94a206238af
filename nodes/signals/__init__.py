"""Signals of regions: which voxels, what they have in common, and how they go together."""

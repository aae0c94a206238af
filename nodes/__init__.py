"""Nipype interfaces for real-time fMRI."""

"""DICOM: which volume an object is, and what it holds."""

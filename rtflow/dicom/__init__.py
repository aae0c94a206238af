"""DICOM objects of fMRI series: which series and volume is this, what are its voxels and its metadata."""

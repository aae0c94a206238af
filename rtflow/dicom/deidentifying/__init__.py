"""The parts of `rtflow.dicom.deidentify`: what is kept, and how the rest is taken out."""

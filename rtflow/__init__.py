"""rtflow: a Nipype workflow for every volume that the scanner writes."""

__version__ = "0.1.0"

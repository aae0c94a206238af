"""rtflow: a Nipype workflow for every volume that the scanner writes."""

import os

__version__ = "0.1.0"

# Nipype asks the network for a newer version when its first interface is made; a scanner room has none.
os.environ.setdefault("NIPYPE_NO_ET", "1")
os.environ.setdefault("NO_ET", "1")

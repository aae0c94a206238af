"""Whether the port of a run or a server answers: exit status 0 or 1. RTFLOW_HEALTH is another URL to ask."""

import os
import ssl
import sys
import urllib.request

# It asks its own machine, and sends nothing: whose certificate answers does not matter.
UNVERIFIED = ssl._create_unverified_context()
URL = os.environ.get("RTFLOW_HEALTH", "https://127.0.0.1:8443/api/health")

try:
    urllib.request.urlopen(URL, timeout=4, context=UNVERIFIED).close()
except OSError as error:
    sys.exit(f"{URL}: {error}")

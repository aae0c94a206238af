"""HTML for the page, with ``aria-*`` and ``data-*``, of which Dash's own types know nothing."""

from typing import Any

import dash.html

html: Any = dash.html

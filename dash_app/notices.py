"""What is said in a corner of the page, to whoever asked."""

import hashlib

import dash


def notify(says: str, color: str = "green") -> None:
    """Say something on the page that asked, within a callback; what went wrong stays until it is closed."""
    notice = {
        "action": "show",
        "id": "notice-" + hashlib.sha256(says.encode()).hexdigest()[:16],  # what is on view is not said twice
        "message": says,
        "color": color,
        "autoClose": 8000 if color == "green" else False,
    }
    dash.set_props("notices", {"sendNotifications": [notice]})

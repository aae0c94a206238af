"""What is said in a corner of the page, to whoever asked."""

import dash


def notify(says: str, color: str = "green") -> None:
    """Say something on the page that asked, for as long as it takes to read it; within a callback."""
    notice = {
        "action": "show",
        "message": says,
        "color": color,
        "autoClose": 8000 if color == "green" else 20000,
    }
    dash.set_props("notices", {"sendNotifications": [notice]})

"""The dashboard: a page for whoever looks after a scan.

It is a process of its own that speaks to the engine over the network only, as every onlooker and operator
does: to kill it never touches a run. `rtflow.dash_app.web` has the port, `rtflow.dash_app.page` the page.
"""

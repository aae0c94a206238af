"""The header, and the tabs: each module has what it looks like and what its callbacks do."""

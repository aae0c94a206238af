"""``python -m rtflow`` is ``rtflow``."""

from rtflow.cli.main import main

main()

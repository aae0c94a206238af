"""A run that was cut off, made of one that was not."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rtflow.journal import Recording


def cut(run_dir: Path, folder: Path, last: Callable[[Any], bool]) -> Path:
    """A copy of a run that was cut off behind the first document that ``last`` holds for."""
    copy = folder / "cut"
    shutil.copytree(run_dir, copy)
    documents = Recording(run_dir).documents
    keep = next(number for number, document in enumerate(documents, start=1) if last(document))
    path = copy / "journal" / "documents.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:keep]))
    return copy

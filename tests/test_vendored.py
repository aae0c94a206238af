"""What pages bring along that is not ours: as its package has it, with its licence beside it."""

from __future__ import annotations

import hashlib
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
VENDORED = runpy.run_path(str(ROOT / ".ci" / "vendor"))["VENDORED"]

#: Who made it, and by which licence.
KNOWN = {
    "jspsych": ("Copyright (c) 2014-2018 Joshua R. de Leeuw", "The MIT License (MIT)"),
    "@niivue/niivue": ("Copyright (c) 2021, Niivue", "BSD 2-Clause License"),
}


@pytest.mark.parametrize("package", VENDORED, ids=str)
def test_what_is_vendored_is_what_its_package_has_and_its_licence_stands_beside_it(package: Any) -> None:
    folder = ROOT / package.folder
    for _, name, digest in package.files:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, "run: make vendor"
    assert {path.name for path in folder.iterdir()} == {"LICENSE", *(name for _, name, _ in package.files)}
    licence = (folder / "LICENSE").read_text(encoding="utf-8")
    assert f"{package.name.rpartition('/')[2]} {package.version}" in licence.replace("jsPsych", "jspsych")
    for words in KNOWN[package.name]:
        assert words in licence
    assert f'"{package.folder}/LICENSE"' in (ROOT / "setup.py").read_text(encoding="utf-8")

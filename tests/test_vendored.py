"""What pages bring along that is not ours: as its package has it, with its licence beside it."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
VENDOR = runpy.run_path(str(ROOT / ".ci" / "vendor"))

#: Who made it, and by which licence.
KNOWN = {
    "jspsych": ("Copyright (c) 2014-2018 Joshua R. de Leeuw", "The MIT License (MIT)"),
    "@novnc/novnc": ("Mozilla Public License Version 2.0", "Copyright (C) 2014-2016 by Vitaly Puzrin"),
    "@niivue/niivue": ("Copyright (c) 2021, Niivue", "BSD 2-Clause License"),
    "axe-core": ("Deque Systems, Inc.", "Mozilla Public License, version 2.0"),
}


@pytest.mark.parametrize("package", VENDOR["VENDORED"], ids=str)
def test_what_is_vendored_is_what_its_package_has_and_its_licence_stands_beside_it(package: Any) -> None:
    folder = ROOT / package.folder
    ours = {folder / "LICENSE"}
    for _, name, digest in package.files:
        files = [path for path in (folder / name).rglob("*") if path.is_file()] or [folder / name]
        found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
        assert VENDOR["digest"](found) == digest, "run: make vendor"
        ours.update(files)
    assert {path for path in folder.rglob("*") if path.is_file()} == ours
    licence = (folder / "LICENSE").read_text(encoding="utf-8")
    assert f"{package.name.rpartition('/')[2]} {package.version}" in licence.replace("jsPsych", "jspsych")
    for words in KNOWN[package.name]:
        assert words in licence
    # What is for tests only is not installed.
    assert package.folder.startswith("tests/") or f'"{package.folder}/LICENSE"' in (
        ROOT / "setup.py"
    ).read_text(encoding="utf-8")

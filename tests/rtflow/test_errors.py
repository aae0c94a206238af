"""An error in a line says where the experimenter's own code stands."""

from __future__ import annotations

import pytest

from rtflow.errors import UsageError, in_words
from rtflow.stream.worker import import_file


def raised(call) -> BaseException:
    with pytest.raises(Exception, match=r"valeu|no such") as caught:
        call()
    return caught.value


def test_the_line_of_the_own_file_is_named(tmp_path) -> None:
    path = tmp_path / "average.py"
    path.write_text("import json\n\n\ndef broken(inputs):\n    return inputs.valeu\n")
    module = import_file("average_for_the_test", str(path))
    error = raised(lambda: module.broken(object()))
    assert in_words(error).startswith(
        "AttributeError: 'object' object has no attribute 'valeu' (average.py line 5)"
    )


def test_the_innermost_own_line_is_named_where_a_package_raised(tmp_path) -> None:
    path = tmp_path / "reads.py"
    path.write_text("import numpy as np\n\n\ndef broken():\n    return np.load('no such file')\n")
    module = import_file("reads_for_the_test", str(path))
    assert in_words(raised(module.broken)).endswith("(reads.py line 5)")


def test_an_error_of_ours_needs_no_line() -> None:
    def refuse() -> None:
        raise UsageError("no such thing; take another")

    assert in_words(raised(refuse)) == "UsageError: no such thing; take another"

"""Options out of Boutiques descriptors."""

from __future__ import annotations

import json

import pytest

from rtflow.bids_apps.boutiques import from_boutiques
from rtflow.bids_apps.descriptor import Option
from rtflow.bids_apps.found import Found, Spelled, named, together
from rtflow.errors import SettingsError

DESCRIPTOR = {
    "name": "example",
    "tool-version": "2.1",
    "command-line": "mkdir -p [OUTPUT_DIR]; run [BIDS_DIR] [OUTPUT_DIR] [LEVEL] [LABEL] [N]",
    "schema-version": "0.5",
    "inputs": [
        {"id": "bids_dir", "type": "File", "value-key": "[BIDS_DIR]"},
        {"id": "output_dir_name", "type": "String", "value-key": "[OUTPUT_DIR]"},
        {"id": "analysis_level", "type": "String", "value-choices": ["participant", "group"]},
        {
            "id": "participant_label",
            "type": "String",
            "list": True,
            "optional": True,
            "command-line-flag": "--participant_label",
            "description": "Whom,\n  as labels",
        },
        {"id": "n", "type": "Number", "integer": True, "command-line-flag": "--n-cpus", "default-value": 2},
        {"id": "f", "type": "Number", "command-line-flag": "-f", "optional": True, "default-value": 0.5},
        {"id": "lic", "type": "File", "command-line-flag": "--licence", "optional": True},
        {"id": "v", "type": "Flag", "command-line-flag": "-v", "default-value": False, "name": "Say more"},
        {
            "id": "space",
            "type": "String",
            "value-choices": ["a", "b"],
            "command-line-flag": "--space",
            "optional": True,
        },
        {"id": "config", "type": "File"},
        {"id": "eq", "type": "String", "command-line-flag": "--eq", "command-line-flag-separator": "="},
        {"id": "odd", "type": "String", "command-line-flag": "+odd"},
        {"id": "help", "type": "Flag", "command-line-flag": "--help", "optional": True},
    ],
}


def test_a_descriptor() -> None:
    found = from_boutiques(json.dumps(DESCRIPTOR), "app.json")
    label = Option(flag="--participant_label", kind="list", help="Whom, as labels", origin="boutiques")
    assert named(found.options) == {
        "participant_label": label,
        "n_cpus": Option(flag="--n-cpus", kind="whole", default=2, required=True, origin="boutiques"),
        "f": Option(flag="-f", kind="number", default=0.5, origin="boutiques"),
        "licence": Option(flag="--licence", kind="path", origin="boutiques"),
        "v": Option(flag="-v", kind="switch", help="Say more", origin="boutiques"),
        "space": Option(flag="--space", kind="choice", choices=("a", "b"), origin="boutiques"),
    }
    assert found.levels == ("participant", "group")
    assert found.version == "2.1"
    assert found.left_out == (
        "config: it has no flag",
        "eq: its value is written in a way of its own",
        "odd: '+odd' is no flag",
    )


def test_its_origin_is_told() -> None:
    found = from_boutiques(json.dumps(DESCRIPTOR), "it", origin="bids-exec-spec")
    assert {spelled.option.origin for spelled in found.options} == {"bids-exec-spec"}


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"inputs": {}}', '{"inputs": [1]}', "[" * 100000])
def test_what_is_no_descriptor(text: str) -> None:
    with pytest.raises(SettingsError, match="a Boutiques descriptor"):
        from_boutiques(text, "app.json")


def test_the_first_that_knows_an_option_is_believed() -> None:
    first = Option(flag="--a_b", origin="boutiques")
    again = Option(flag="--a-b", kind="whole", origin="help")
    other = Option(flag="--c", origin="help")
    found = together(
        [
            Found((Spelled(first, ("--a_b",)),), left_out=("x",)),
            Found(
                (Spelled(again, ("--a-b", "--a_b")), Spelled(other, ("-c", "--c"))),
                ("group",),
                "1",
                left_out=("x", "y"),
            ),
        ]
    )
    assert [spelled.option for spelled in found.options] == [first, other]
    assert (found.levels, found.version, found.left_out) == (("group",), "1", ("x", "y"))

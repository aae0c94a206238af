"""What may stand in the settings of a source."""

import msgspec
import pytest

from rtflow.source_settings import Accession, Address, AeTitle, AgentName, Network


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Accession, "ds002338"),
        (Address, "10.0.0.1:104"),
        (AeTitle, "SCANNER"),
        (AgentName, "scanner"),
        (Network, "10.0.0.0/8"),
    ],
)
def test_a_line_break_behind_it_is_refused(kind, text) -> None:
    assert msgspec.convert(text, kind) == text
    with pytest.raises(msgspec.ValidationError, match="matching regex"):
        msgspec.convert(text + "\n", kind)

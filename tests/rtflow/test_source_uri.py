"""Source URIs: what they mean, what is refused, and that they say all that a source is."""

import string
from dataclasses import dataclass
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect

from rtflow.errors import SettingsError
from rtflow.source_settings import (
    AnySource,
    BidsSource,
    FolderSource,
    JournalSource,
    OpenNeuroSource,
    SimulateSource,
)
from rtflow.source_uri import format_source, parse_source


def values(type_: inspect.Type, *, filled: bool = False) -> st.SearchStrategy:
    """Any value of a setting's type."""
    match type_:
        case inspect.Metadata(inner):
            return values(inner, filled=filled)
        case inspect.UnionType(types):
            return st.one_of([values(one, filled=filled) for one in types])
        case inspect.NoneType():
            return st.none()
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType(ge=ge, le=le):
            return st.integers(min_value=ge, max_value=le or 2**53)
        case inspect.FloatType(gt=gt, ge=ge, lt=lt):
            low = gt if gt is not None else ge
            return st.floats(
                min_value=low,
                max_value=lt,
                exclude_min=gt is not None,
                exclude_max=lt is not None,
                allow_nan=False,
                allow_infinity=False,
            )
        case inspect.LiteralType(one_of):
            return st.sampled_from(one_of)
        case inspect.StrType(pattern=str(pattern)):
            return st.from_regex(pattern, fullmatch=True, alphabet=st.characters(codec="ascii"))
        case inspect.StrType():
            return st.text(st.characters(codec="utf-8"), min_size=int(filled))
        case inspect.VarTupleType(item):
            return st.lists(values(item), max_size=3).map(tuple)
        case inspect.TupleType(items):
            return st.tuples(*[values(one) for one in items])
    raise AssertionError(f"no strategy for {type_}: a source option of a new type")


def sources() -> st.SearchStrategy[AnySource]:
    """Any source with any options."""
    made = []
    for kind in get_args(AnySource):
        fields = inspect.type_info(kind).fields
        made.append(
            st.builds(kind, **{field.name: values(field.type, filled=field.required) for field in fields})
        )
    return st.one_of(made)


@given(sources())
def test_a_uri_says_all_that_a_source_is(source: AnySource) -> None:
    assert parse_source(format_source(source)) == source


@given(sources())
def test_a_uri_is_printable_ascii(source: AnySource) -> None:
    assert set(format_source(source)) <= set(string.printable) - set(string.whitespace)


KINDS = st.sampled_from(["simulate:", "folder:", "journal:", ""])
PIECES = st.sampled_from(
    [*"?&=%:/.,aé ", "%20", "%zz", "%ff", "tr", "volumes", "pattern", "speed", "1", "max"]
)


@given(KINDS, st.lists(PIECES, max_size=12).map("".join))
def test_whatever_is_typed_is_a_source_or_refused(kind: str, rest: str) -> None:
    try:
        source = parse_source(kind + rest)
    except SettingsError:
        return
    assert kind == f"{msgspec.to_builtins(source)['kind']}:"
    assert parse_source(format_source(source)) == source


@dataclass
class Case:
    uri: str
    source: AnySource


@pytest.mark.parametrize(
    "case",
    [
        Case("simulate:", SimulateSource()),
        Case("simulate:?tr=1&volumes=100", SimulateSource(tr=1.0, volumes=100)),
        Case("simulate:?speed=max&shape=32,32,18", SimulateSource(speed="max", shape=(32, 32, 18))),
        Case("folder:/data/in", FolderSource(path="/data/in")),
        Case("folder:in?pattern=00?.dcm&volumes=10", FolderSource(path="in", pattern="00?.dcm", volumes=10)),
        Case("folder:a%3Fb%20c?existing=false&idle=3", FolderSource(path="a?b c", existing=False, idle=3.0)),
        Case("folder:a+b?pattern=c+d=e", FolderSource(path="a+b", pattern="c+d=e")),
        Case("folder:a?idle=none", FolderSource(path="a", idle=None)),
        Case(r"folder:C:\data", FolderSource(path=r"C:\data")),
        Case("journal:out/runs/x", JournalSource(path="out/runs/x")),
        Case("journal:x?speed=2", JournalSource(path="x", speed=2.0)),
        Case("bids:/data?subject=01&run=01", BidsSource(path="/data", subject="01", run="01")),
        Case("openneuro:ds002338?task=1dNF", OpenNeuroSource(dataset="ds002338", task="1dNF")),
    ],
    ids=lambda case: case.uri,
)
def test_what_a_uri_means(case: Case) -> None:
    assert parse_source(case.uri) == case.source


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("fodler:/data", "did you mean 'folder:'?"),
        ("/data/in", "did you mean 'folder:/data/in'?"),
        ("nonsense:x", "known are simulate:, folder:, dicom:, agent:, bids:, openneuro:, journal:"),
        ("incoming", "journal:; if it is a folder, write 'folder:incoming'"),
        ("folder:", "write folder:DIR"),
        ("folder:?pattern=x", "write folder:DIR"),
        ("simulate:/data", "has no use for '/data'"),
        ("folder:a?patern=x", "did you mean 'pattern'?"),
        ("folder:a?path=b", "no option 'path'"),
        ("folder:a?kind=simulate", "no option 'kind'"),
        ("simulate:?zzz=1", "known are volumes, drop, tr,"),
        ("simulate:?tr=fast", "expected a number above 0, got 'fast'"),
        ("simulate:?tr=0", "expected a number above 0, got '0'"),
        ("simulate:?tr=nan", "expected a number above 0, got 'nan'"),
        ("simulate:?volumes=1.5", "expected a whole number of at least 1 or none, got '1.5'"),
        ("simulate:?shape=1,2", "expected a list of 3, each a whole number of at least 1, got '1,2'"),
        ("simulate:?speed=quick", "expected a number above 0 or 'max', got 'quick'"),
        ("folder:a?existing=yes", "expected true or false, got 'yes'"),
        ("simulate:?tr", "write tr=VALUE once"),
        ("simulate:?tr=1&tr=2", "write tr=VALUE once"),
        ("folder:%ff", "write % itself as %25"),
    ],
)
def test_what_a_uri_may_not_say(uri: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_source(uri)
    assert says in str(caught.value)
    assert uri in str(caught.value)
    assert "\n" not in str(caught.value)


def test_defaults_are_within_their_own_bounds() -> None:
    for kind, needed in ((SimulateSource, {}), (FolderSource, {"path": "x"}), (JournalSource, {"path": "x"})):
        default = kind(**needed)
        assert msgspec.convert(msgspec.to_builtins(default), kind) == default

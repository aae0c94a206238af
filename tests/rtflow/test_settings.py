"""Settings: what TOML and overrides make of them, and how a mistake in them is told."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtflow.errors import SettingsError
from rtflow.setting_types import LocalPath
from rtflow.settings import (
    BidsSettings,
    RunSettings,
    load_settings,
    settings_from_builtins,
    settings_to_builtins,
)
from rtflow.source_settings import FolderSource, SimulateSource


class Mask(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    file: LocalPath = ""
    erode: float = 0.0


class Settings(RunSettings, kw_only=True):
    lag: float = 4.0
    words: list[str] = msgspec.field(default_factory=list)
    pair: tuple[str, str] = ("scene", "face")
    level: int | str = 0
    free: dict[str, float] = msgspec.field(default_factory=lambda: {"a": 1.0})
    mask: Mask = Mask(erode=2.0)
    bids: BidsSettings = BidsSettings(task="own")


class Needy(RunSettings, kw_only=True):
    name: str


Load = Callable[..., Settings]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Settings from the text of a TOML file and overrides."""

    def load_(toml: str | bytes | None = None, *overrides: str) -> Settings:
        if toml is None:
            return load_settings(Settings, None, overrides)
        file = tmp_path / "here.toml"
        file.write_bytes(toml if isinstance(toml, bytes) else toml.encode())
        return load_settings(Settings, file, overrides)

    return load_


def refused(load: Load, toml: str | bytes | None, *overrides: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(toml, *overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_defaults_stand_where_nothing_is_said(load: Load) -> None:
    assert load() == Settings()
    assert load("") == Settings()


def test_a_file_fills_and_an_override_wins(load: Load) -> None:
    settings = load("lag = 5\n[bids]\nsubject = '02'\n[source]\nkind = 'simulate'\ntr = 1.5", "lag=6.5")
    assert settings.lag == 6.5
    assert settings.bids == BidsSettings(subject="02", task="own")
    assert settings.source == SimulateSource(tr=1.5)


def test_a_later_override_wins(load: Load) -> None:
    assert load(None, "lag=1", "lag=2").lag == 2.0


def test_a_table_keeps_the_defaults_that_the_workflow_gave_it(load: Load) -> None:
    assert load("[mask]\nfile = '/m.nii'").mask == Mask(file="/m.nii", erode=2.0)
    assert load(None, "free.b=2").free == {"a": 1.0, "b": 2.0}


@pytest.mark.parametrize(
    ("override", "name", "value"),
    [
        ("lag=3", "lag", 3.0),
        ("level=3", "level", 3),
        ("level=high", "level", "high"),
        ("pair=['a', 'b']", "pair", ("a", "b")),
        ("pair=a, b", "pair", ("a", "b")),
        ("words=[]", "words", []),
        ("words=one", "words", ["one"]),
        ("limits={missing=3}", "limits", Settings().limits.__class__(missing=3)),
        ("deadline=none", "deadline", None),
        ("deadline=0.5", "deadline", 0.5),
    ],
)
def test_an_override_is_toml_or_text(load: Load, override: str, name: str, value: object) -> None:
    assert getattr(load(None, override), name) == value


def test_text_stays_text_even_where_it_looks_like_a_number(load: Load) -> None:
    assert load(None, "bids.subject=12").bids.subject == "12"
    assert load(None, "bids.subject=01").bids.subject == "01"
    assert load(None, "bids.task='rest'").bids.task == "rest"
    assert load(None, "bids.session=").bids.session == ""
    assert load(None, "bids.run=02").bids.run == 2


def test_none_is_said_by_a_word(load: Load) -> None:
    assert load("[limits]\nmissing = 'none'").limits.missing is None
    assert load(None, "limits.missing=none").limits.missing is None
    assert load("[bids]\ntask = 'none'").bids.task == "none"


def test_a_source_option_merges_into_the_source_that_stands(load: Load) -> None:
    assert load(None, "source.activation=0").source == SimulateSource(activation=0.0)
    assert load("source = 'simulate:?tr=1'", "source.activation=0").source == SimulateSource(
        tr=1.0, activation=0.0
    )
    assert load("[source]\ntr = 1").source == SimulateSource(tr=1.0)
    assert load(None, "source=simulate:?tr=1", "source.seed=4").source == SimulateSource(tr=1.0, seed=4)


def test_another_source_takes_the_place_of_the_one_that_stands(load: Load) -> None:
    toml = "[source]\nkind = 'folder'\npath = '/in'\npattern = '*.IMA'"
    assert load(toml).source == FolderSource(path="/in", pattern="*.IMA")
    assert load(toml, "source.volumes=3").source == FolderSource(path="/in", pattern="*.IMA", volumes=3)
    assert load(toml, "source=folder:/other").source == FolderSource(path="/other")
    assert load(toml, "source=simulate:").source == SimulateSource()
    assert load(toml, "source.kind=simulate").source == SimulateSource()
    assert load("[source]\ntr = 1", "source={kind='folder', path='/a'}").source == FolderSource(path="/a")


def test_relative_paths_count_from_where_they_are_written(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert load("source = 'folder:in'").source == FolderSource(path=str(tmp_path / "in"))
    assert load("[source]\nkind = 'folder'\npath = 'in'").source == FolderSource(path=str(tmp_path / "in"))
    assert load("[mask]\nfile = 'm.nii'").mask.file == str(tmp_path / "m.nii")
    assert load(None, "source=folder:in").source == FolderSource(path=str(elsewhere / "in"))
    assert load(None, "mask.file=~/m.nii").mask.file == str(tmp_path / "home" / "m.nii")
    assert load("[mask]\nfile = '/m.nii'").mask.file == "/m.nii"
    assert load("[mask]\nfile = ''").mask.file == ""
    assert load("[bids]\ntask = 'in'").bids.task == "in"


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("sorce = 'simulate:'", "unknown setting 'sorce'; did you mean 'source'?"),
        ("[bids]\nsubjct = '1'", "unknown setting 'bids.subjct'; did you mean 'bids.subject'?"),
        (
            "[source]\nactvation = 1",
            "unknown setting 'source.actvation' of a source of kind 'simulate'; "
            "did you mean 'source.activation'?",
        ),
        ("activation = 0", "unknown setting 'activation'; did you mean 'source.activation'?"),
        ("[bids]\nzzz = 1", "unknown setting 'bids.zzz'; known are bids.subject, bids.session,"),
        ("[source]\nkind = 'foldr'", "unknown source.kind 'foldr'; did you mean 'folder'?"),
        (
            "[source]\nkind = 3",
            "unknown source.kind '3'; known are simulate, folder, dicom, agent, bids,",
        ),
        ("source = 'foldr:in'", "did you mean 'folder:'?"),
        ("[source]\nkind = 'folder'", "setting 'source.path' has no value"),
        ("lag = '4'", 'lag: expected a number, got "4"'),
        ("lag = true", "lag: expected a number, got true"),
        ("lag = inf", "lag: expected a number, got inf"),
        ("lag = 2020-01-01", 'lag: expected a number, got "2020-01-01"'),
        ("dummy_volumes = 1.5", "dummy_volumes: expected a whole number of at least 0, got 1.5"),
        ("deadline = 0", "deadline: expected a number above 0 or none, got 0"),
        ("words = ['a', 1]", 'words: expected a list, each text, got ["a",1]'),
        ("pair = ['a']", 'pair: expected a list of 2, each text, got ["a"]'),
        ("bids = 'x'", 'bids: expected a table, got "x"'),
        ("source = 3", "source: expected a table, got 3"),
        ("[source]\nshape = [1, 2, 'x']", "source.shape: expected a list of 3, each a whole number"),
        ("[bids]\nsubject = 1", "bids.subject: expected text of letters and digits only, got 1"),
        ("lag = [", "is not valid TOML"),
        ("lag = 1\nlag = 2", "is not valid TOML"),
        (b"lag = '\xff'", "is not UTF-8 text"),
    ],
)
def test_a_mistake_in_a_file_names_the_key_and_the_file(load: Load, toml: str | bytes, says: str) -> None:
    message = refused(load, toml)
    assert says in message
    assert "here.toml" in message


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("lag", "expected NAME=VALUE"),
        ("=3", "expected NAME=VALUE"),
        ("bids..run=3", "expected NAME=VALUE"),
        ("lagg=3", "did you mean 'lag'?"),
        ("lag=slow", 'lag: expected a number, got "slow"'),
        ("lag.deep=3", "lag: expected a number, got"),
        ("bids=3", "bids: expected a table, got 3"),
        ("source=nowhere", "is of no known kind"),
        ("source.kind=simulat", "did you mean 'simulate'?"),
        ("limits.late=-1", "limits.late: expected a whole number of at least 0 or none, got -1"),
    ],
)
def test_a_mistake_in_an_override_names_the_override(load: Load, override: str, says: str) -> None:
    message = refused(load, "lag = 3", override)
    assert says in message
    assert message.startswith(f"--set {override}: ")


def test_an_option_of_another_kind_of_source_is_refused(load: Load) -> None:
    message = refused(load, None, "source=folder:/in", "source.speed=2")
    assert "unknown setting 'source.speed' of a source of kind 'folder'" in message
    assert "did you mean 'source.speed'" not in message


def test_an_override_cannot_bring_in_a_second_one(load: Load) -> None:
    assert "printable" in refused(load, None, "lag=1\nseed=3")


def test_a_setting_without_default_must_be_given(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"setting 'name' has no value; .* --set name=VALUE"):
        load_settings(Needy)
    assert load_settings(Needy, None, ["name=5"]).name == "5"


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml does not exist"):
        load_settings(Settings, tmp_path / "none.toml")
    with pytest.raises(SettingsError, match="directory"):
        load_settings(Settings, tmp_path)


def test_a_byte_order_mark_is_no_mistake(load: Load) -> None:
    assert load("lag = 3".encode("utf-8-sig")).lag == 3.0


def test_a_type_that_no_file_can_give_is_told() -> None:
    class Odd(RunSettings, kw_only=True):
        where: "Missing" = None  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(SettingsError, match=r"Odd cannot be filled from a file: .*Missing"):
        load_settings(Odd)


def test_recorded_settings_of_another_shape_are_refused() -> None:
    recorded = settings_to_builtins(Settings()) | {"old": 1}
    with pytest.raises(SettingsError, match="the recorded settings: unknown setting 'old'"):
        settings_from_builtins(Settings, recorded)


@given(
    st.builds(
        Settings,
        lag=st.floats(allow_nan=False, allow_infinity=False),
        words=st.lists(st.text(st.characters(codec="utf-8"))),
        level=st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
        free=st.dictionaries(
            st.text(st.characters(codec="utf-8")), st.floats(allow_nan=False, allow_infinity=False)
        ),
        deadline=st.none() | st.floats(min_value=1e-3, max_value=1e3),
        source=st.builds(SimulateSource, tr=st.floats(min_value=0.1, max_value=10.0))
        | st.builds(FolderSource, path=st.just("in"), idle=st.none() | st.floats(0, 100)),
    )
)
def test_settings_come_back_from_the_journal(settings: Settings) -> None:
    recorded = json.loads(json.dumps(settings_to_builtins(settings)))
    assert settings_from_builtins(Settings, recorded) == settings


def test_the_schema_of_the_settings_has_every_setting() -> None:
    schema = msgspec.json.schema(Settings)
    properties = schema["$defs"]["Settings"]["properties"]
    assert {"source", "lag", "mask", "limits"} <= set(properties)
    assert schema["$defs"]["Mask"]["properties"]["file"]["format"] == "path"
    assert json.dumps(schema)

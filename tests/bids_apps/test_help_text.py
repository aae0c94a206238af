"""Options out of ``--help``: as fMRIPrep and MRIQC write it, by hand, by argparse and by click."""

from __future__ import annotations

import argparse
import string
from pathlib import Path
from typing import Annotated, Any, Literal

import click
import pytest
import typer
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from rtflow.bids_apps.found import Found, named
from rtflow.bids_apps.help_text import from_help

LIKE_FMRIPREP = """\
usage: prep [-h] [--skip_bids_validation]
            [--participant-label PARTICIPANT_LABEL [PARTICIPANT_LABEL ...]]
            [--bids-filter-file FILE] [--nprocs NPROCS] [--mem MEMORY_MB]
            [--output-spaces [OUTPUT_SPACES ...]]
            [--bold2anat-init {auto,t1w,header}] [--bold2anat-dof {6,9,12}]
            [--dummy-scans DUMMY_SCANS] [--fd-spike-threshold NUMBER]
            [--msm | --no-msm] [--fs-license-file FILE] [-w WORK_DIR]
            [--clean-workdir] [-v] [--version] [--level {minimal,full}]
            bids_dir output_dir {participant}

Prepares images of a session. It has been this way
since long, and --nothing here is an option.

positional arguments:
  bids_dir              the folder of the data set
  output_dir            where results go
  {participant}         the stage to run; there is one

options:
  -h, --help            show this help message and exit
  --version             show program's version number and exit

Options to choose data:
  Which images are taken.

  --skip_bids_validation, --skip-bids-validation
                        believe that the data set is as it should be
                        (default: False)
  --participant-label PARTICIPANT_LABEL [PARTICIPANT_LABEL ...], --participant_label PARTICIPANT_LABEL [PARTICIPANT_LABEL ...]
                        labels of participants, with a space between; the
                        --nprocs below is of no concern (default: None)
  --bids-filter-file FILE
                        a JSON file that says what to take

Options of speed:
  --nprocs NPROCS, --nthreads NPROCS, --n_cpus NPROCS
                        how many processors, at
                          most (default: 4)
  --mem MEMORY_MB, --mem_mb MEMORY_MB
                        megabytes
  --level {minimal,full}
                        how much is made (default: full)

Options of images:
  --output-spaces [OUTPUT_SPACES ...]
                        spaces of results:
                        * the first
                        - the second
  --bold2anat-init {auto,t1w,header}
                        where to begin (default: auto)
  --bold2anat-dof {6,9,12}
                        degrees of freedom (default: 6)
  --dummy-scans DUMMY_SCANS
                        volumes to leave out (default: 0)
  --fd-spike-threshold NUMBER
                        millimetres (default: 0.5)
  --msm, --no-msm       align surfaces (default: True)
  --fs-license-file FILE
                        the licence of FreeSurfer
  -w WORK_DIR, --work-dir WORK_DIR
                        where to keep what is made on the way
                        (default: /tmp/work)
  --clean-workdir       remove it first
  -v, --verbose         say more; -vv says much more

For example:
  --elsewhere X         is no option
"""  # noqa: E501

LIKE_MRIQC = """\
usage: qc [-h] [--version] [-v] --species {human,rat}
          [--participant-label [PARTICIPANT_LABEL ...]] [-m [{T1w,bold} ...]]
          [--fft-spikes-detector] [--fd_thres FD_THRES] [--deoblique]
          [--ants-float | --ants-double] [--email EMAIL]
          bids_dir output_dir {participant,group} [{participant,group} ...]

Quality of images

positional arguments:
  bids_dir              The data set.
  output_dir            The results.
  {participant,group}   Level of the analysis. (default: [participant])

optional arguments:
  -h, --help            show this help message and exit
  --version             show program's version number and exit
  -v, --verbose         Say more. (default: 0)
  --species {human,rat}
                        Of what. (default: human)

Options for filtering BIDS queries:
  --participant-label [PARTICIPANT_LABEL ...], --participant_label [PARTICIPANT_LABEL ...]
                        Whom (sub- may be left out). (default: None)
  -m [{T1w,bold} ...], --modalities [{T1w,bold} ...]
                        What (default: ['T1w', 'bold'])

Functional:
  --fft-spikes-detector
                        Look for spikes. (default: False)
  --fd_thres FD_THRES   Millimetres. (default: 0.2)
  --deoblique           Turn them. (default: False)
  --ants-float          Less exact. (default: False)
  --ants-double         More exact. (default: False)
  --email EMAIL         Whom to tell. (default: )
"""

BY_HAND = """\
Usage: mean BIDS_DIR OUT_DIR participant|group [options]

OPTIONS
   -p, --participant_label=LABEL   whom
       --skip_bids_validator       believe the data set
   -n NUMBER                       how many
   -v                              say more
"""


def said(found: Found) -> dict[str, tuple[Any, ...]]:
    return {
        name: (one.flag, one.kind, one.choices, one.default) for name, one in named(found.options).items()
    }


def test_a_help_like_fmripreps() -> None:
    found = from_help(LIKE_FMRIPREP)
    assert found.levels == ("participant",)
    assert found.left_out == ()
    assert said(found) == {
        "skip_bids_validation": ("--skip_bids_validation", "switch", (), None),
        "participant_label": ("--participant-label", "list", (), None),
        "bids_filter_file": ("--bids-filter-file", "path", (), None),
        "nprocs": ("--nprocs", "number", (), 4),
        "mem": ("--mem", "text", (), None),
        "level_": ("--level", "choice", ("minimal", "full"), "full"),
        "output_spaces": ("--output-spaces", "list", (), None),
        "bold2anat_init": ("--bold2anat-init", "choice", ("auto", "t1w", "header"), "auto"),
        "bold2anat_dof": ("--bold2anat-dof", "choice", ("6", "9", "12"), "6"),
        "dummy_scans": ("--dummy-scans", "number", (), 0),
        "fd_spike_threshold": ("--fd-spike-threshold", "number", (), 0.5),
        "msm": ("--msm", "switch", (), None),
        "no_msm": ("--no-msm", "switch", (), None),
        "fs_license_file": ("--fs-license-file", "path", (), None),
        "work_dir": ("--work-dir", "text", (), "/tmp/work"),
        "clean_workdir": ("--clean-workdir", "switch", (), None),
        "verbose": ("--verbose", "switch", (), None),
    }
    options = named(found.options)
    assert options["nprocs"].help == "how many processors, at most"
    assert options["output_spaces"].help == "spaces of results: * the first - the second"
    assert options["participant_label"].help.endswith("the --nprocs below is of no concern")
    assert {one.origin for one in options.values()} == {"help"}
    assert not any(one.required for one in options.values())


def test_a_help_like_mriqcs() -> None:
    found = from_help(LIKE_MRIQC)
    assert found.levels == ("participant", "group")
    assert said(found) == {
        "verbose": ("--verbose", "switch", (), None),
        "species": ("--species", "choice", ("human", "rat"), "human"),
        "participant_label": ("--participant-label", "list", (), None),
        "modalities": ("--modalities", "list", ("T1w", "bold"), ("T1w", "bold")),
        "fft_spikes_detector": ("--fft-spikes-detector", "switch", (), None),
        "fd_thres": ("--fd_thres", "number", (), 0.2),
        "deoblique": ("--deoblique", "switch", (), None),
        "ants_float": ("--ants-float", "switch", (), None),
        "ants_double": ("--ants-double", "switch", (), None),
        "email": ("--email", "text", (), None),
    }
    assert [name for name, one in named(found.options).items() if one.required] == ["species"]
    assert named(found.options)["participant_label"].help == "Whom (sub- may be left out)."


def test_a_help_written_by_hand() -> None:
    assert said(from_help(BY_HAND)) == {
        "participant_label": ("--participant_label", "text", (), None),
        "skip_bids_validator": ("--skip_bids_validator", "switch", (), None),
        "n": ("-n", "number", (), None),
        "v": ("-v", "switch", (), None),
    }


@pytest.mark.parametrize(
    "text", ["", "\n", "Segmentation fault", "usage: app BIDS OUT\n\n  -- \n  - x", "\x1b[1m"]
)
def test_a_text_without_options(text: str) -> None:
    assert from_help(text) == Found()


def test_colours_and_tabs_are_seen_through() -> None:
    text = "usage: app\n\noptions:\n  \x1b[1m--mask\x1b[0m \x1b[32mFILE\x1b[0m\twhere it is\n"
    assert said(from_help(text)) == {"mask": ("--mask", "path", (), None)}


def test_a_line_that_only_looks_like_an_option_is_told() -> None:
    text = "usage: app [-h] [--real]\n\noptions:\n  -h, --help\n  --real  it is\n  --unreal X  it is not\n"
    found = from_help(text)
    assert list(named(found.options)) == ["real"]
    assert found.left_out == ("--unreal: the usage of the app does not have it",)


def test_click() -> None:
    @click.command()
    @click.argument("bids_dir")
    @click.argument("output_dir")
    @click.argument("analysis_level", type=click.Choice(["participant", "group"]))
    @click.option("-p", "--participant-label", help="Whom.")
    @click.option("--cpus", type=int, default=3, show_default=True, help="How many.")
    @click.option("--fraction", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="How much.")
    @click.option("--space", type=click.Choice(["native", "MNI"]), required=True, help="Where [or not].")
    @click.option("--licence", type=click.Path(), envvar="LICENCE", show_envvar=True, help="Which licence.")
    @click.option("--box", nargs=3, type=int, help="Three numbers.")
    @click.option("--shout/--no-shout", " /-S", help="Loud or not.")
    @click.option("-v", "--verbose", count=True, help="A long text that is broken into several lines. " * 4)
    @click.option("--sure", type=bool, help="Whether.")
    @click.option("--when", type=click.DateTime(), help="A day.")
    @click.version_option("1.0")
    def app(**given: Any) -> None:
        """An app."""
        del given

    found = from_help(CliRunner().invoke(app, ["--help"]).output)
    assert said(found) == {
        "participant_label": ("--participant-label", "text", (), None),
        "cpus": ("--cpus", "whole", (), 3),
        "fraction": ("--fraction", "number", (), 0.5),
        "space": ("--space", "choice", ("native", "MNI"), None),
        "licence": ("--licence", "path", (), None),
        "box": ("--box", "list", (), None),
        "shout": ("--shout", "switch", (), None),
        "no_shout": ("--no-shout", "switch", (), None),
        "verbose": ("--verbose", "switch", (), None),
        "sure": ("--sure", "choice", ("true", "false"), None),
        "when": ("--when", "text", (), None),
    }
    options = named(found.options)
    assert [name for name, one in options.items() if one.required] == ["space"]
    assert options["space"].help == "Where [or not]."
    assert options["fraction"].help == "How much."
    assert options["licence"].help == "Which licence."
    assert options["verbose"].help == " ".join(["A long text that is broken into several lines."] * 4)
    assert found.levels == ("participant", "group")


LIKE_OLD_TYPER = """
 Usage: prep [OPTIONS] BIDS_DIR OUTPUT_DIR ANALYSIS_LEVEL:{participant|group}

 Prepares images.

╭─ Arguments ─────────────────────────────────────────────────────────────────────────────────╮
│ *    bids_dir            PATH                               The data set. [required]        │
│ *    output_dir          PATH                               [required]                      │
│ *    analysis_level      ANALYSIS_LEVEL:{participant|group}  [required]                     │
╰─────────────────────────────────────────────────────────────────────────────────────────────╯
╭─ Options ───────────────────────────────────────────────────────────────────────────────────╮
│    --participant-label,--participant_label  -p      TEXT                   Whom, with or    │
│                                                                            without sub-.    │
│ *  --space                                          [native|MNI]           Where.           │
│                                                                            [default: None]  │
│                                                                            [required]       │
│    --fraction                                       FLOAT RANGE            How much.        │
│                                                     [0<=x<=1]              [default: 0.5]   │
│    --quick                                                                 Fast.            │
│    --help                                                                  Show this        │
│                                                                            message.         │
╰─────────────────────────────────────────────────────────────────────────────────────────────╯
+- Speed ---------------+
| --fast        Faster. |
+-----------------------+
"""


def test_a_help_in_boxes() -> None:
    found = from_help(LIKE_OLD_TYPER)
    assert found.levels == ("participant", "group")
    assert said(found) == {
        "participant_label": ("--participant-label", "text", (), None),
        "space": ("--space", "choice", ("native", "MNI"), None),
        "fraction": ("--fraction", "number", (), 0.5),
        "quick": ("--quick", "switch", (), None),
        "fast": ("--fast", "switch", (), None),
    }
    options = named(found.options)
    assert [name for name, one in options.items() if one.required] == ["space"]
    assert options["participant_label"].help == "Whom, with or without sub-."


def test_typer(monkeypatch: pytest.MonkeyPatch) -> None:
    made = typer.Typer()

    @made.command()
    def app(
        bids_dir: Annotated[Path, typer.Argument(help="The data set.")],
        output_dir: Path,
        level: Annotated[Literal["participant", "group"], typer.Argument(help="Of the analysis.")],
        space: Annotated[Literal["native", "MNI"], typer.Option(help="Where.")],
        participant_label: Annotated[list[str], typer.Option("--participant-label", "-p", help="Whom.")],
        cpus: Annotated[int, typer.Option(help="How many, " * 30 + "or one.")] = 3,
        fraction: Annotated[float, typer.Option(min=0, max=1, help="How much.")] = 0.5,
        licence: Annotated[Path | None, typer.Option(envvar="LICENCE", help="Which licence.")] = None,
        box: Annotated[tuple[int, int, int], typer.Option(help="Three numbers.")] = (1, 2, 3),
        shout: Annotated[bool, typer.Option("--shout/--no-shout", "-s/-S", help="Loud or not.")] = False,
        quick: Annotated[bool, typer.Option("--quick", rich_help_panel="Speed")] = False,
    ) -> None:
        """An app."""

    monkeypatch.setenv("COLUMNS", "1000")  # as apps are asked
    found = from_help(CliRunner().invoke(typer.main.get_command(made), ["--help"]).output)
    assert said(found) == {
        "space": ("--space", "choice", ("native", "MNI"), None),
        "participant_label": ("--participant-label", "list", (), None),
        "cpus": ("--cpus", "whole", (), 3),
        "fraction": ("--fraction", "number", (), 0.5),
        "licence": ("--licence", "path", (), None),
        "box": ("--box", "list", (), (1, 2, 3)),
        "shout": ("--shout", "switch", (), None),
        "no_shout": ("--no-shout", "switch", (), None),
        "quick": ("--quick", "switch", (), None),
    }
    options = named(found.options)
    assert [name for name, one in options.items() if one.required] == ["space", "participant_label"]
    assert [name for name, one in options.items() if one.repeated] == ["participant_label"]
    assert options["cpus"].help == "How many, " * 30 + "or one."
    assert options["licence"].help == "Which licence."
    assert found.levels == ("participant", "group")


WORD = st.text(string.ascii_lowercase, min_size=2, max_size=9).filter(
    lambda word: word not in ("help", "version")
)
FLAG = st.lists(WORD, min_size=1, max_size=3).flatmap(
    lambda words: st.sampled_from("-_").map(lambda joint: f"--{joint.join(words)}")
)
HELP = st.lists(
    st.text(string.ascii_letters + string.digits + ".,;:-'*", min_size=1, max_size=12), max_size=30
).map(" ".join)
NARGS = st.sampled_from([None, "?", "*", "+", 2, 3])


@st.composite
def parsers(draw: st.DrawFn) -> tuple[argparse.ArgumentParser, dict[str, tuple[str, tuple[str, ...], bool]]]:
    """A parser, and for each flag what should be found: kind, choices, and whether it is required."""
    formatter = draw(
        st.sampled_from(
            [
                argparse.HelpFormatter,
                argparse.ArgumentDefaultsHelpFormatter,
                argparse.MetavarTypeHelpFormatter,
                argparse.RawTextHelpFormatter,
            ]
        )
    )
    parser = argparse.ArgumentParser("app", formatter_class=formatter, description=draw(HELP))
    parser.add_argument("bids_dir", type=str, help=draw(HELP))
    parser.add_argument("output_dir", type=str)
    parser.add_argument("analysis_level", type=str, choices=["participant", "group"])
    flags = draw(st.lists(FLAG, unique_by=lambda flag: flag.replace("_", "-"), max_size=8))
    expected: dict[str, tuple[str, tuple[str, ...], bool]] = {}
    group: Any = parser
    for flag in flags:
        if draw(st.integers(0, 3)) == 0:
            group = parser.add_argument_group(draw(WORD), draw(st.one_of(st.none(), WORD)))
        names = [flag, flag.replace("-", "_").replace("__", "--", 1)] if draw(st.booleans()) else [flag]
        common: dict[str, Any] = {"help": draw(st.one_of(st.none(), HELP)), "dest": flag.lstrip("-")}
        required = draw(st.booleans())
        if draw(st.booleans()):
            group.add_argument(*dict.fromkeys(names), action="store_true", **common)
            expected[flag] = ("switch", (), False)
            continue
        nargs = draw(NARGS)
        choices = draw(st.one_of(st.none(), st.lists(WORD, min_size=1, max_size=4, unique=True)))
        metavar = None if choices else draw(st.sampled_from([None, "LABEL", "N", "VALUE"]))
        group.add_argument(
            *dict.fromkeys(names),
            nargs=nargs,
            choices=choices,
            metavar=metavar,
            type=str,
            required=required,
            **common,
        )
        several = nargs not in (None, "?")
        kind = "list" if several else "choice" if choices else "text"
        expected[flag] = (kind, tuple(choices or ()), required)
    return parser, expected


@given(parsers(), st.sampled_from([60, 80, 200, 10000]))
@settings(max_examples=150, deadline=None)
def test_argparse(
    made: tuple[argparse.ArgumentParser, dict[str, tuple[str, tuple[str, ...], bool]]], width: int
) -> None:
    parser, expected = made
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        found = from_help(parser.format_help())
    options = {spelled.option.flag: spelled.option for spelled in found.options}
    paths = {flag for flag, one in options.items() if one.kind == "path"}
    assert all(flag.endswith(("file", "dir", "path", "folder")) for flag in paths)
    kinds = {flag: (one.kind, one.choices, one.required) for flag, one in options.items()}
    assert {flag: kind for flag, kind in kinds.items() if flag not in paths} == {
        flag: kind for flag, kind in expected.items() if flag not in paths
    }
    assert found.levels == ("participant", "group")

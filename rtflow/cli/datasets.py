"""Runs of a data set as a command names them: which are meant, and what there is to choose from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import typer

from rtflow.errors import SourceError, UsageError

if TYPE_CHECKING:
    from rtflow.bids.finding import RunImages
    from rtflow.source_settings import BidsSource, OpenNeuroSource

    Recorded = BidsSource | OpenNeuroSource

_ACCESSION = re.compile(r"ds[0-9]{6}")


def source_of(what: str, entities: dict[str, str], endpoint: str) -> Recorded:
    """The table of the source that was named."""
    import msgspec

    from rtflow.bids.entities import check_entities
    from rtflow.source_settings import BidsSource, OpenNeuroSource

    check_entities(entities)
    if _ACCESSION.fullmatch(what) and not Path(what).exists():
        return msgspec.convert({"dataset": what, "endpoint": endpoint, **entities}, OpenNeuroSource)
    root = Path(what)
    if root.is_file():
        raise UsageError(
            f"{what} is a file; give the folder of its data set, and choose a run by --subject, --task, --run"
        )
    if not root.is_dir():
        raise UsageError(
            f"{what} does not exist; give a data set of OpenNeuro (dsNNNNNN), "
            "or the folder of a BIDS data set or of a recorded run"
        )
    if endpoint:
        raise UsageError(f"--endpoint is for data sets of OpenNeuro, and {what} is a folder; leave it out")
    if not (root / "dataset_description.json").is_file() and not any(root.glob("sub-*")):
        inner = [f"{root / name}" for name in ("bids", "runs") if (root / name).is_dir()]
        raise UsageError(
            f"{what} is neither a BIDS data set nor a recorded run; "
            + (f"did you mean {' or a folder in '.join(inner)}?" if inner else "give the folder of one")
        )
    return msgspec.convert({"path": what, **entities}, BidsSource)


def runs_of(spec: Recorded, *, anew: bool = False) -> list[RunImages]:
    """The runs of a data set that have the entities asked for: one at least."""
    from rtflow.bids.finding import choose_run, fitting, runs_in
    from rtflow.source_settings import BidsSource

    runs: list[RunImages] = (
        runs_in(Path(spec.path)) if isinstance(spec, BidsSource) else _runs_at_openneuro(spec, anew=anew)
    )
    found = fitting(runs, spec.entities)
    if not found:
        try:
            choose_run(runs, spec.entities, called(spec))  # says what there is
        except SourceError as error:
            raise SourceError(f"{error}{_not_to_choose(runs, spec.entities)}") from None
    return found


def _not_to_choose(runs: Sequence[RunImages], wanted: Mapping[str, str]) -> str:
    """What was asked for and is the same in all runs: no choice tells it, and it may be the mistake."""
    first = runs[0].entities if runs else {}
    names = {name for run in runs for name in run.entities}
    varies = {name for run in runs for name in names if run.entities.get(name) != first.get(name)}
    if not varies:
        return ""  # of the one run that there is, all was told
    return "".join(f"; {name} {first[name]}" for name in wanted if name in first and name not in varies)


def _runs_at_openneuro(spec: OpenNeuroSource, *, anew: bool) -> list[RunImages]:
    """The runs of a data set of OpenNeuro, as it was listed last (or now)."""
    from rich.console import Console

    from rtflow.openneuro.bucket import Bucket, NoNetworkError
    from rtflow.openneuro.cache import Cache
    from rtflow.openneuro.run_files import listed
    from rtflow.openneuro.run_files import runs_of as runs_among

    cache, subject = Cache(spec.cache), spec.subject
    known = cache.listing(spec.dataset, subject)
    if known is None or anew:
        with Console(stderr=True).status(f"looking what {spec.dataset} holds ..."):
            try:
                known = listed(spec.dataset, subject, cache, Bucket(spec.endpoint), anew=True)
            except NoNetworkError as error:
                if known is None:
                    raise
                typer.echo(f"rtflow: {error}; what follows was listed earlier", err=True)
    return runs_among(known)


def called(spec: Recorded) -> str:
    """What the data set is called in messages."""
    return str(getattr(spec, "dataset", "")) or f"data set {getattr(spec, 'path', '')}"


def require_apart(spec: Recorded, place: Path) -> None:
    """Refuse a place for what a replay records that is, holds or lies in the data set that is replayed.

    Raises
    ------
    UsageError
        Saying which of the three it is.
    """
    from rtflow.source_settings import BidsSource

    if isinstance(spec, BidsSource):
        root = Path(spec.path)
    else:
        from rtflow.openneuro.cache import Cache

        root = Cache(spec.cache).folder(spec.dataset)
    root, written = root.expanduser().resolve(), place.expanduser().resolve()
    if written == root:
        how = "is"
    elif written.is_relative_to(root):
        how = "lies in"
    elif root.is_relative_to(written):
        how = "holds"
    else:
        return
    raise UsageError(
        f"{written} {how} the data set that is replayed, {root}: a copy of the run would be recorded into "
        "the study, and what its session keeps would be replaced; give a folder apart from it by --out"
    )


def tell_runs(runs: Sequence[RunImages], *, json: bool, err: bool = False) -> None:
    """Print runs: as a table, or as one JSON array."""
    if json:
        import msgspec

        told = [
            {"entities": dict(run.entities), "images": [str(image) for image in run.images]} for run in runs
        ]
        typer.echo(msgspec.json.encode(told).decode())
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    names = list(dict.fromkeys(name for run in runs for name in run.entities))
    table = Table(*names, box=box.SIMPLE_HEAD, pad_edge=False)
    for run in runs:
        table.add_row(*(run.entities.get(name, "") for name in names))
    Console(stderr=err).print(table)


def events_file(spec: Recorded, run: RunImages) -> Path:
    """The file of events of a run: the one whose name says most, as BIDS inherits."""
    from rtflow.source_settings import BidsSource

    if isinstance(spec, BidsSource):
        found = _events_here(spec, run)
    else:
        from rtflow.openneuro.cache import Cache
        from rtflow.openneuro.run_files import fetched_events

        cache = Cache(spec.cache)
        items = cache.listing(spec.dataset, spec.subject) or []
        found = fetched_events(run, items, cache, spec.endpoint)
    if found is None:
        raise UsageError(f"{called(spec)} has no events of {run}; leave out --events")
    return found


def has_events(spec: Recorded, run: RunImages) -> bool:
    """Whether the data set has events of a run; nobody far away is asked."""
    from rtflow.source_settings import BidsSource

    if isinstance(spec, BidsSource):
        return _events_here(spec, run) is not None
    from rtflow.bids.finding import beside
    from rtflow.openneuro.cache import Cache

    items = Cache(spec.cache).listing(spec.dataset, spec.subject) or []
    paths = [PurePosixPath(item.path) for item in items]
    return bool(beside(paths, run.images[0], "events", ".tsv"))


def _events_here(spec: BidsSource, run: RunImages) -> Path | None:
    from rtflow.bids.finding import events_of

    return events_of(Path(spec.path).expanduser().absolute(), run)


def names_of(run: RunImages) -> list[str]:
    """Settings that call the run what its data set calls it."""
    labels = {name: run.entities.get(name, "") for name in ("subject", "session", "task")}
    return [f'bids.{name}="{label}"' for name, label in labels.items()] + [
        f"bids.run={int(run.entities.get('run', 1))}"
    ]

"""Which runs are in a BIDS data set, by the names of its files alone: of a folder, or of a store far away."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rtflow.bids.entities import matches, parse_name
from rtflow.bids.fields import OF_ONE_IMAGE
from rtflow.errors import SourceError

_EXTENSIONS = (".nii", ".nii.gz")


@dataclass(frozen=True)
class RunImages:
    """The images of one run.

    Parameters
    ----------
    entities
        BIDS entities by their long names, without echo and part.
    images
        Paths from the root of the data set, one for each echo, in their order.
    """

    entities: Mapping[str, str]
    images: tuple[PurePosixPath, ...]

    def __str__(self) -> str:
        return "_".join(
            word for word in self.images[0].name.split("_")[:-1] if word.partition("-")[0] not in OF_ONE_IMAGE
        )


def find_runs(paths: Iterable[PurePosixPath]) -> list[RunImages]:
    """The functional runs among the files of a data set, sorted by name.

    An image that is there as ``.nii`` and as ``.nii.gz`` counts once, as the former; phase images are left
    out.

    Parameters
    ----------
    paths
        From the root of the data set.

    Examples
    --------
    >>> paths = ["sub-1/func/sub-1_task-a_run-01_bold.nii.gz", "sub-1/anat/sub-1_T1w.nii.gz", "README"]
    >>> [(str(run), run.entities["run"]) for run in find_runs(map(PurePosixPath, paths))]
    [('sub-1_task-a_run-01', '01')]
    """
    found: dict[tuple[tuple[str, str], ...], dict[int, PurePosixPath]] = {}
    for path in sorted(paths, key=lambda path: (str(path.parent), path.name)):
        folders = path.parts[:-1]
        if not 2 <= len(folders) <= 3 or folders[-1] != "func" or not folders[0].startswith("sub-"):
            continue
        entities, suffix, extension = parse_name(path.name)
        if suffix != "bold" or extension not in _EXTENSIONS or entities.get("part", "mag") != "mag":
            continue
        run = tuple((name, label) for name, label in entities.items() if name not in OF_ONE_IMAGE)
        echo = entities.get("echo", "")
        found.setdefault(run, {}).setdefault(int(echo) if echo.isdigit() else 0, path)
    return [
        RunImages(dict(run), tuple(images[echo] for echo in sorted(images))) for run, images in found.items()
    ]


def runs_in(root: Path) -> list[RunImages]:
    """The functional runs in the folder of a data set, sorted by name; derivatives are no part of it."""
    return find_runs(PurePosixPath(path.relative_to(root).as_posix()) for path in _bold_files(root))


def fitting(runs: Iterable[RunImages], wanted: Mapping[str, str]) -> list[RunImages]:
    """The runs that have the wanted entities, whatever else they have."""
    return [run for run in runs if matches(run.entities, wanted)]


def choose_run(runs: Iterable[RunImages], wanted: Mapping[str, str], where: str) -> RunImages:
    """The one run that is meant.

    Parameters
    ----------
    runs
        Those that there are.
    wanted
        BIDS entities by their long names.
    where
        What the data set is called, for the message.

    Raises
    ------
    SourceError
        If none or several fit; the message says what there is to choose from.
    """
    runs = list(runs)
    if not runs:
        raise SourceError(
            f"{where} holds no functional run (sub-LABEL/[ses-LABEL/]func/*_bold.nii or .nii.gz); "
            "give the root of a BIDS data set"
        )
    left = fitting(runs, wanted)
    if len(left) == 1:
        return left[0]
    asked = ", ".join(f"{name} {label}" for name, label in wanted.items())
    if not left:
        raise SourceError(f"{where} holds no run of {asked}; it has {_choices(runs)}")
    what = f"{len(left)} runs of {asked}" if asked else f"{len(left)} runs"
    raise SourceError(f"{where} holds {what}; choose one by {_choices(left)}")


def beside(
    paths: Iterable[PurePosixPath], image: PurePosixPath, suffix: str, extension: str
) -> list[PurePosixPath]:
    """The files that say something of an image by the rule of inheritance, the most general one first.

    Such a file lies in the folder of the image or above it, and its name has no entity that the image's has
    not.

    Parameters
    ----------
    paths
        Files of the data set, from its root.
    image
        Path of the image, from there too.
    suffix, extension
        Of the files that are looked for: ``bold`` and ``.json``, or ``events`` and ``.tsv``.

    Examples
    --------
    >>> paths = [PurePosixPath("task-a_events.tsv"), PurePosixPath("task-b_events.tsv")]
    >>> image = PurePosixPath("sub-1/func/sub-1_task-a_bold.nii")
    >>> [str(path) for path in beside(paths, image, "events", ".tsv")]
    ['task-a_events.tsv']
    """
    of_image = parse_name(image.name)[0].items()
    found = []
    for path in paths:
        entities, its_suffix, its_extension = parse_name(path.name)
        if (its_suffix, its_extension) != (suffix, extension) or path.parent not in image.parents:
            continue
        if entities.items() <= of_image:
            found.append((len(path.parts), len(entities), path))
    return [path for *_, path in sorted(found)]


def events_of(root: Path, run: RunImages) -> Path | None:
    """The events.tsv of a run in the folder of a data set, the closest one by inheritance; None without."""
    image = run.images[0]
    paths = [
        PurePosixPath(path.relative_to(root).as_posix())
        for folder in image.parents
        for path in (root / folder).glob("*_events.tsv")
    ]
    found = beside(paths, image, "events", ".tsv")
    return root / found[-1] if found else None


def _choices(runs: list[RunImages]) -> str:
    """The labels that tell runs apart (or the only ones), entity by entity."""
    names = dict.fromkeys(name for run in runs for name in run.entities)
    labels = {name: list(dict.fromkeys(run.entities.get(name, "none") for run in runs)) for name in names}
    apart = {name: found for name, found in labels.items() if len(found) > 1} or labels
    said = []
    for name, found in apart.items():
        shown = ", ".join(sorted(found)[:12]) + (", ..." if len(found) > 12 else "")
        said.append(f"{name} {shown}")
    return "; ".join(said)


def _bold_files(root: Path) -> Iterator[Path]:
    for pattern in ("sub-*/func/sub-*_bold.nii*", "sub-*/ses-*/func/sub-*_bold.nii*"):
        yield from root.glob(pattern)

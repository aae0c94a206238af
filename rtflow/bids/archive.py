"""A BIDS data set in a folder: what is in it, by entities, and runs that grow in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rtflow.bids.dataset import add_participant, ignore, of_run, prepare_dataset, write_json
from rtflow.bids.entities import ENTITIES, bids_name, matches, parse_name, unknown_entity
from rtflow.bids.fields import OF_ONE_IMAGE, require_complete
from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.run import BidsRun
from rtflow.bids.run_file import RunFile, compress
from rtflow.bids.seconds import in_seconds, warn_of
from rtflow.bids.volumes import metadata_for, open_volumes
from rtflow.errors import ArchiveError, NoMatchError, OutputError, SeveralMatchError

_IMAGES = ("nii", "nii.gz")


class BidsArchive:
    """A data set: images and events are found by entities, runs are read, and new ones grow in place.

    Make one by `open` or `create`. Nothing is written but by `append` and `append_run`: an existing data set
    stays as it is, byte for byte.

    Entities are given by their long names (``subject="01", task="faces", run=1``); indices are compared as
    numbers, so that run 1 is run ``01``. Derivatives are no part of the data set.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()  # as pybids gives paths
        self._layout: Any = None
        self._open: dict[Path, RunFile] = {}
        self._listed: dict[Path, int] = {}

    @classmethod
    def open(cls, root: Path | str) -> Self:
        """A data set that is there.

        Raises
        ------
        ArchiveError
            If the folder does not exist, or has no ``dataset_description.json`` that says so: a data set that
            cannot be read is never taken for an empty one.
        """
        root = Path(root)
        description = root / "dataset_description.json"
        if not root.is_dir():
            raise ArchiveError(f"{root} is no folder; give the root of a BIDS data set, or create one")
        try:
            content = json.loads(description.read_text(encoding="utf-8-sig"))
        except FileNotFoundError:
            raise ArchiveError(
                f"{root} has no dataset_description.json, so it is no BIDS data set; give the root of one"
            ) from None
        except (OSError, ValueError) as error:
            raise ArchiveError(f"{description} cannot be read ({error}); mend it first") from None
        if not isinstance(content, dict) or not {"Name", "BIDSVersion"} <= content.keys():
            raise ArchiveError(
                f"{description} should be a JSON object with Name and BIDSVersion; mend it first"
            )
        return cls(root)

    @classmethod
    def create(cls, root: Path | str, name: str = "Runs recorded by rtflow") -> Self:
        """A data set in a folder, a new one unless one is there; its README and description are kept.

        Raises
        ------
        OutputError
            If the folder cannot be written, or holds a data set that is damaged or not of raw data.
        """
        prepare_dataset(Path(root), name)
        return cls.open(root)

    @property
    def description(self) -> dict[str, Any]:
        """What ``dataset_description.json`` says."""
        return dict(json.loads((self.root / "dataset_description.json").read_text(encoding="utf-8-sig")))

    @property
    def readme(self) -> str:
        """The README, whatever its ending; empty if there is none."""
        found = sorted(self.root.glob("README*"))
        return found[0].read_text(encoding="utf-8", errors="replace") if found else ""

    def subjects(self, **entities: object) -> list[str]:
        """Labels of the subjects, of those images that have the entities."""
        return self._labels("subject", entities)

    def sessions(self, **entities: object) -> list[str]:
        """Labels of the sessions."""
        return self._labels("session", entities)

    def tasks(self, **entities: object) -> list[str]:
        """Labels of the tasks."""
        return self._labels("task", entities)

    def runs(self, **entities: object) -> list[str]:
        """Indices of the runs, as they are written."""
        return self._labels("run", entities)

    def images(self, *, suffix: str = "", exact: bool = False, **entities: object) -> list[Path]:
        """The images that have these entities, sorted by name; there may be none.

        Parameters
        ----------
        suffix
            ``bold``, ``T1w``, ...; empty for any.
        exact
            Whether they must have no other entities than these.
        """
        return self._fitting(_IMAGES, suffix, entities, exact)

    def image(self, *, suffix: str = "", exact: bool = False, **entities: object) -> Path:
        """The one image that has these entities.

        Raises
        ------
        NoMatchError
            If there is none.
        SeveralMatchError
            If there are several; the message says by what they differ.
        """
        return self._only(suffix, entities, suffix or "image", exact)

    def events(self, *, exact: bool = False, **entities: object) -> list[Path]:
        """The events files that have these entities, sorted by name; there may be none."""
        return self._fitting(("tsv",), "events", entities, exact)

    def metadata(self, image: Path) -> dict[str, Any]:
        """Metadata of an image of this data set, by the rule of inheritance.

        Raises
        ------
        ArchiveError
            If the image is not of this data set.
        VolumeError
            If a sidecar cannot be read.
        """
        if not image.is_relative_to(self.root):
            raise ArchiveError(f"{image} is not in the data set {self.root}; open that one")
        return metadata_for(self.root, image)

    def get_volume(self, number: int, **entities: object) -> BidsIncremental:
        """One volume of the one functional image that has these entities; no other volume is read.

        Parameters
        ----------
        number
            From 1. Of a compressed image, what lies before it must be unpacked.

        Raises
        ------
        NoMatchError, SeveralMatchError
            As `image`.
        VolumeError
            If there is no such volume, or the image is damaged.
        """
        return next(self._volumes(self._only("bold", entities, "run"), (number,)))

    def get_run(self, **entities: object) -> BidsRun:
        """The one functional run that has these entities, with all its echoes.

        Volumes that are listed as ``MissingVolumes`` are left out of it.

        Raises
        ------
        NoMatchError, SeveralMatchError
            If there is no such run, or several.
        VolumeError
            If an image is damaged.
        """
        images = self._fitting(_IMAGES, "bold", entities)
        if len({_run_of(path) for path in images}) != 1:
            raise self._refusal(images, "run", entities)
        echoes = [list(self._volumes(path, None)) for path in images]
        numbered = sorted(
            (volume.volume, at, volume) for at, volumes in enumerate(echoes) for volume in volumes
        )
        return BidsRun(volume for *_, volume in numbered)

    def append(self, incremental: BidsIncremental) -> Path:
        """Add a volume to its run, which its entities name; the run begins with its first volume.

        The run is one ``.nii`` that grows in place: its header is right after every volume, and a volume
        costs the same however many there are. Volumes that are left out are zeros, listed as
        ``MissingVolumes``.

        Returns
        -------
        Path
            The image.

        Raises
        ------
        UsageError
            If a field is missing that BIDS wants of a run.
        VolumeError
            If the volume is not like the first one of its run, or not after the last one: what is there is
            never written over.
        OutputError
            If the file cannot be written, or the run is compressed already.
        """
        path = self.root / incremental.path()
        file = self._open.get(path) or self._begin(path, incremental)
        file.append(incremental)
        if file.present == 1:
            ignore(self.root, path, unfinished=False)
        if len(file.missing) != self._listed[path]:
            about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            write_json(path.with_suffix(".json"), about | {"MissingVolumes": file.missing})
            self._listed[path] = len(file.missing)
        return path

    def append_run(self, run: BidsRun) -> list[Path]:
        """Add a run, all its volumes and echoes, and close it.

        Raises
        ------
        UsageError, VolumeError, OutputError
            As `append`; and if a file of that name is there already, before anything is written.
        """
        for path in dict.fromkeys(self.root / one.path() for one in run):
            if taken := [there for there in (path, path.with_suffix(".nii.gz")) if there.exists()]:
                raise OutputError(f"{taken[0]} is there already and stays; give the run another index")
        paths = list(dict.fromkeys(self.append(one) for one in run))
        for path in paths:
            self._open.pop(path).close()
        return paths

    def close(self, *, compress_runs: bool = False) -> list[Path]:
        """Close all runs that are open.

        Parameters
        ----------
        compress_runs
            Whether they become ``.nii.gz``.

        Returns
        -------
        list
            Their images.
        """
        paths = []
        while self._open:
            path, file = self._open.popitem()
            file.close()
            paths.append(compress(path) if compress_runs else path)
        self._layout = None
        return sorted(paths)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"BidsArchive({str(self.root)!r})"

    def _begin(self, path: Path, incremental: BidsIncremental) -> RunFile:
        require_complete(incremental.entities, incremental.metadata, "bold", f"volume {incremental.volume}")
        if (packed := path.with_suffix(".nii.gz")).exists():
            raise OutputError(f"{packed} is compressed, which ends a run; give the volume another run index")
        if path.exists():
            first = next(self._volumes(path, (1,)))
            missing = self.metadata(path).get("MissingVolumes", ())
            file = RunFile.reopen(path, first, missing)
            ignore(self.root, path, unfinished=False)  # a crash may have left it so
        else:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(
                    f"{path.parent}: {error.strerror or error}; choose another folder"
                ) from None
            file = RunFile(path, incremental)
            ignore(self.root, path)
            about = of_run(incremental.metadata, incremental.entities)
            write_json(path.with_suffix(".json"), about)
            add_participant(self.root, incremental.entities["subject"])
            self._layout = None
        self._open[path] = file
        self._listed[path] = len(file.missing)
        return file

    def _volumes(self, image: Path, numbers: Iterable[int] | None) -> Iterator[BidsIncremental]:
        """Volumes of an image; None for all that are not listed as missing."""
        entities, suffix, _ = parse_name(image.name)
        metadata = self.metadata(image)
        missing = set(metadata.pop("MissingVolumes", ()))
        with open_volumes(image) as reader:
            if reader.tr is not None:
                metadata.setdefault("RepetitionTime", reader.tr)
            metadata, changes = in_seconds(metadata)
            warn_of(changes, stacklevel=3)
            if numbers is None:
                numbers = (n for n in range(1, reader.volumes + 1) if n not in missing)
            for number in numbers:
                yield BidsIncremental(
                    reader.read(number),
                    reader.affine,
                    volume=number,
                    metadata=metadata,
                    entities=entities,
                    slope=reader.slope,
                    intercept=reader.intercept,
                    suffix=suffix,
                )

    def _fitting(
        self, extensions: Iterable[str], suffix: str, entities: Mapping[str, object], exact: bool = False
    ) -> list[Path]:
        for name in entities:
            if name not in ENTITIES:
                raise unknown_entity(name)
        if self._layout is None:
            self._layout = _index(self.root)
        found = map(Path, self._layout.get(extension=list(extensions), return_type="filename"))
        named = ((path, *parse_name(path.name)[:2]) for path in found)
        return sorted(
            path
            for path, its, its_suffix in named
            if suffix in ("", its_suffix) and matches(its, entities, exact)
        )

    def _only(self, suffix: str, entities: Mapping[str, object], what: str, exact: bool = False) -> Path:
        found = self._fitting(_IMAGES, suffix, entities, exact)
        if len(found) != 1:
            raise self._refusal(found, what, entities)
        return found[0]

    def _labels(self, entity: str, entities: Mapping[str, object]) -> list[str]:
        images = self._fitting(_IMAGES, "", entities)
        return sorted({label for path in images if (label := parse_name(path.name)[0].get(entity))})

    def _refusal(self, found: list[Path], what: str, entities: Mapping[str, object]) -> ArchiveError:
        asked = ", ".join(f"{name} {label}" for name, label in entities.items()) or "any entities"
        if not found:
            there = _listed(self._fitting(_IMAGES, "", {})) or "no images"
            return NoMatchError(f"{self.root} holds no {what} of {asked}; it has {there}")
        return SeveralMatchError(
            f"{self.root}: {len(found)} files fit {what} of {asked}: {_listed(found)}; give more entities"
        )


def _index(root: Path) -> Any:
    from bids.layout import BIDSLayout, BIDSLayoutIndexer

    # What is there counts, not what a list of names expects; and metadata are read when they are asked for.
    indexer = BIDSLayoutIndexer(validate=False, index_metadata=False)
    return BIDSLayout(root, validate=False, derivatives=False, indexer=indexer)


def _run_of(path: Path) -> str:
    entities = parse_name(path.name)[0]
    return bids_name({name: label for name, label in entities.items() if name not in OF_ONE_IMAGE})


def _listed(paths: list[Path]) -> str:
    return ", ".join(path.name for path in paths[:8]) + (", ..." if len(paths) > 8 else "")

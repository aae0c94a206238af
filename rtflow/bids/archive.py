"""A BIDS data set in a folder: what is in it, by entities, and runs that grow in it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rtflow.bids.agreement import metadata_differences
from rtflow.bids.catalog import IMAGES, Catalog
from rtflow.bids.dataset import (
    add_participant,
    of_run,
    prepare_dataset,
    read_description,
    taken,
    write_json,
)
from rtflow.bids.fields import require_complete
from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.run import BidsRun
from rtflow.bids.run_file import RunFile, compress
from rtflow.bids.unfinished import claim, ignore, put_in_order
from rtflow.bids.volumes import incrementals, metadata_for, missing_volumes, read_sidecar
from rtflow.errors import ArchiveError, NoMatchError, OutputError, VolumeError


class BidsArchive:
    """A data set: images and events are found by entities, runs are read, and new ones grow in place.

    Make one by `open` or `create`. Nothing is written but by `append` and `append_run`: an existing data set
    stays as it is, byte for byte.

    Entities are given by their long names (``subject="01", task="faces", run=1``); indices are compared as
    numbers, so that run 1 is run ``01``. Derivatives are no part of the data set.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()  # as pybids gives paths
        self._catalog = Catalog(self.root)
        self._open: dict[Path, RunFile] = {}
        self._about: dict[Path, dict[str, Any]] = {}
        self._listed: dict[Path, int] = {}
        self._in_order = False

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
        if not root.is_dir():
            raise ArchiveError(f"{root} is no folder; give the root of a BIDS data set, or create one")
        read_description(root)
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
        return read_description(self.root)

    @property
    def readme(self) -> str:
        """The README, whatever its ending; empty if there is none."""
        found = sorted(self.root.glob("README*"))
        return found[0].read_text(encoding="utf-8", errors="replace") if found else ""

    def subjects(self, **entities: object) -> list[str]:
        """Labels of the subjects, of those images that have the entities."""
        return self._catalog.labels("subject", entities)

    def sessions(self, **entities: object) -> list[str]:
        """Labels of the sessions."""
        return self._catalog.labels("session", entities)

    def tasks(self, **entities: object) -> list[str]:
        """Labels of the tasks."""
        return self._catalog.labels("task", entities)

    def runs(self, **entities: object) -> list[str]:
        """Indices of the runs, as they are written."""
        return self._catalog.labels("run", entities)

    def images(self, *, suffix: str = "", exact: bool = False, **entities: object) -> list[Path]:
        """The images that have these entities, sorted by name; there may be none.

        Parameters
        ----------
        suffix
            ``bold``, ``T1w``, ...; empty for any.
        exact
            Whether they must have no other entities than these.
        """
        return self._catalog.fitting(IMAGES, suffix, entities, exact)

    def image(self, *, suffix: str = "", exact: bool = False, **entities: object) -> Path:
        """The one image that has these entities.

        Raises
        ------
        NoMatchError
            If there is none.
        SeveralMatchError
            If there are several; the message says by what they differ.
        """
        return self._catalog.only(suffix, entities, suffix or "image", exact)

    def events(self, *, exact: bool = False, **entities: object) -> list[Path]:
        """The events files that have these entities, sorted by name; there may be none."""
        return self._catalog.fitting(("tsv",), "events", entities, exact)

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
            As `image`; and if the volume never came: the image holds zeros in its place.
        VolumeError
            If there is no such volume, or the image is damaged.
        """
        image = self._catalog.only("bold", entities, "run")
        if number in missing_volumes(self.metadata(image), image.name):
            raise NoMatchError(
                f"volume {number} of {image.name} never came (MissingVolumes): zeros stand in its place; "
                "ask for another"
            )
        return next(incrementals(self.root, image, (number,)))

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
        echoes = [list(incrementals(self.root, path)) for path in self._catalog.run(entities)]
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
            If the volume is not like the first one of its run, in header or metadata, or not after the last
            one: what is there is never written over.
        OutputError
            If the file cannot be written, the run is compressed already, another program is writing it, or
            the data set has a run whose name differs in upper and lower case alone.
        """
        path = self.root / incremental.path()
        file = self._open.get(path) or self._begin(path, incremental)
        self._require_alike(path, incremental)
        try:
            file.append(incremental)
        except OutputError:
            if not file.volumes:  # nothing of it is there, or another program has begun it
                del self._open[path]
                put_in_order(self.root)
            raise
        if file.present == 1:
            ignore(self.root, path, unfinished=False)
        if len(file.missing) != self._listed[path]:
            sidecar = path.with_suffix(".json")
            said = read_sidecar(sidecar) if sidecar.exists() else {}
            write_json(sidecar, said | {"MissingVolumes": file.missing})
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
            if there := [one for one in taken(path) if one != path.with_suffix(".json")]:
                raise OutputError(f"{there[-1]} is there already and stays; give the run another index")
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
        self._catalog.forget()
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
        if not self._in_order:
            put_in_order(self.root)
            self._in_order = True
        sidecar = path.with_suffix(".json")
        there = taken(path)
        if others := [one for one in there if one not in (path, sidecar)]:
            ended = others[-1] == path.with_suffix(".nii.gz")
            why = "compressed, which ends a run" if ended else "there, and BIDS takes both names for one"
            raise OutputError(f"{others[-1]} is {why}; give the volume another run index")
        if path in there:
            file = self._reopen(path)
            ignore(self.root, path, unfinished=False)  # a crash may have left it so
        else:
            file = RunFile(path, incremental)
            self._about[path] = self._new_sidecar(sidecar, incremental)
            self._require_alike(path, incremental)
            if not claim(self.root, path, "{}\n"):
                ignore(self.root, path)
            write_json(sidecar, self._about[path])
            add_participant(self.root, incremental.entities["subject"])
            self._catalog.forget()
        self._open[path] = file
        self._listed[path] = len(file.missing)
        return file

    def _reopen(self, path: Path) -> RunFile:
        first = next(incrementals(self.root, path, (1,)))
        self._about[path] = of_run(first.metadata, first.entities)
        return RunFile.reopen(path, first, missing_volumes(self.metadata(path), path.name))

    def _new_sidecar(self, sidecar: Path, incremental: BidsIncremental) -> dict[str, Any]:
        about = of_run(incremental.metadata, incremental.entities)
        if not sidecar.exists():
            return about
        # Somebody knew something of the run before it began, or a crash left it: what it says stays.
        said = read_sidecar(sidecar)
        said.pop("MissingVolumes", None)
        if "RunUID" in said:
            raise OutputError(
                f"{sidecar} is of run {said['RunUID']}, which may go on; give another run index"
            )
        return about | said

    def _require_alike(self, path: Path, incremental: BidsIncremental) -> None:
        # What one of them does not tell is no difference: runs of other programs tell less, or more.
        found = incremental.metadata
        both = {name: value for name, value in self._about[path].items() if name in found}
        if differences := metadata_differences({name: found[name] for name in both}, both):
            raise VolumeError(
                f"volume {incremental.volume} is of another run: {'; '.join(differences)}; "
                "append it to a run of its own"
            )

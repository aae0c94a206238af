"""Which files are in the folder of a data set, by entities, as pybids finds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rtflow.bids.entities import ENTITIES, INDICES, bids_name, matches, parse_name, unknown_entity
from rtflow.bids.fields import OF_ONE_IMAGE
from rtflow.errors import ArchiveError, NoMatchError, SeveralMatchError

IMAGES = ("nii", "nii.gz")


class Catalog:
    """The files of a data set, listed when they are asked for first; derivatives are no part of it.

    Parameters
    ----------
    root
        The data set, absolute.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._layout: Any = None

    def forget(self) -> None:
        """List the files anew when they are asked for next."""
        self._layout = None

    def fitting(
        self, extensions: Iterable[str], suffix: str, entities: Mapping[str, object], exact: bool = False
    ) -> list[Path]:
        """Files that have these entities (and no others, if ``exact``), sorted by name."""
        for name in entities:
            if name not in ENTITIES:
                raise unknown_entity(name)
        if self._layout is None:
            self._layout = _index(self._root)
        found = map(Path, self._layout.get(extension=list(extensions), return_type="filename"))
        named = ((path, *parse_name(path.name)[:2]) for path in found)
        return sorted(
            path
            for path, its, its_suffix in named
            if suffix in ("", its_suffix) and matches(its, entities, exact)
        )

    def only(self, suffix: str, entities: Mapping[str, object], what: str, exact: bool = False) -> Path:
        """The one image that has these entities; else a NoMatchError or a SeveralMatchError."""
        found = _once(self.fitting(IMAGES, suffix, entities, exact))
        if len(found) != 1:
            raise self._refusal(found, what, entities)
        return found[0]

    def run(self, entities: Mapping[str, object]) -> list[Path]:
        """The images of the one functional run that has these entities; else an error as of `only`."""
        images = _once(self.fitting(IMAGES, "bold", entities))
        if len({_run_of(path) for path in images}) != 1:
            raise self._refusal(images, "run", entities)
        return images

    def labels(self, entity: str, entities: Mapping[str, object]) -> list[str]:
        """The labels of an entity, sorted, of those images that have the entities."""
        images = self.fitting(IMAGES, "", entities)
        found = {label for path in images if (label := parse_name(path.name)[0].get(entity))}
        by_number = entity in INDICES and all(label.isdigit() for label in found)
        return sorted(found, key=lambda label: (int(label) if by_number else 0, label))

    def _refusal(self, found: list[Path], what: str, entities: Mapping[str, object]) -> ArchiveError:
        asked = ", ".join(f"{name} {label}" for name, label in entities.items()) or "any entities"
        if not found:
            there = _listed(self.fitting(IMAGES, "", {})) or "no images"
            return NoMatchError(f"{self._root} holds no {what} of {asked}; it has {there}")
        return SeveralMatchError(
            f"{self._root}: {len(found)} files fit {what} of {asked}: {_listed(found)}; give more entities"
        )


def _index(root: Path) -> Any:
    from bids.layout import BIDSLayout, BIDSLayoutIndexer

    # What is there counts, not what a list of names expects; and metadata are read when they are asked for.
    indexer = BIDSLayoutIndexer(validate=False, index_metadata=False)
    return BIDSLayout(root, validate=False, derivatives=False, indexer=indexer)


def _once(paths: list[Path]) -> list[Path]:
    """An image that is there as ``.nii`` and as ``.nii.gz`` counts once, as the former."""
    return [path for path in paths if path.suffix != ".gz" or path.with_suffix("") not in paths]


def _run_of(path: Path) -> str:
    entities = parse_name(path.name)[0]
    return bids_name({name: label for name, label in entities.items() if name not in OF_ONE_IMAGE})


def _listed(paths: list[Path]) -> str:
    return ", ".join(path.name for path in paths[:8]) + (", ..." if len(paths) > 8 else "")

"""What was done to the objects of a simulated scan, for a test to know what must come of it."""

from __future__ import annotations

import json
from pathlib import Path

from rtflow.documents import now
from rtflow.errors import OutputError
from rtflow.sources.simulation.faults import Action, Fault, Schedule
from rtflow.sources.simulation.scanner import Scanner, ScanObject
from rtflow.sources.simulation.takes import folder_name

_COLUMNS = ("time", "file", "series", "volume", "bytes", "of", "what")


def copy_name(name: str) -> str:
    """The name of a copy of a file.

    >>> copy_name("001_000005_000001.dcm"), copy_name("i005000039.MRDC.39")
    ('001_000005_000001_copy.dcm', 'i005000039.MRDC.39_copy')
    """
    stem = name.removesuffix(".dcm")
    return f"{stem}_copy{name[len(stem) :]}"


class Account:
    """Keeps the account of a delivery, and writes it with the truth of the scan.

    Parameters
    ----------
    scanner
        Whose objects they are.
    folder
        Where to; None for nowhere.
    """

    def __init__(self, scanner: Scanner, folder: Path | None) -> None:
        self._scanner, self._folder = scanner, folder
        self._files: dict[int, tuple[str, int]] = {}
        self._there: dict[int, int] = {}
        self._done: list[Action] = []
        self._rows: list[str] = []
        self._count = 0
        self._told = False

    def made(self, number: int, item: ScanObject) -> None:
        """An object was made."""
        self._files[number] = (f"{item.folder}/{item.name}", len(item.data))

    def have(self, action: Action) -> int:
        """How many bytes of an action's file came before: some, if it was cut off."""
        return 0 if action.object is None or action.copy else self._there.get(action.object, 0)

    def did(self, action: Action, item: ScanObject, name: str, size: int, *, taken: bool) -> None:
        """An action was done, or (if not ``taken``) could not be."""
        self._count += 1
        what = action.stray or "image"
        if action.copy:
            what = "copy"
        elif action.share < 1.0:
            what = "cut"
        elif self.have(action):
            what = "completed"
        if taken:
            self._done.append(action)
            if action.object is not None and not action.copy:
                self._there[action.object] = size
            row = (f"{now():.6f}", f"{item.folder}/{name}", item.series.number, item.volume)
            self._rows.append("\t".join(map(str, (*row, size, len(item.data), what))))
        # Not before there are images: a folder of which they are expected would seem to hold other things.
        if item.volume and not self._told:
            self._tell_truth()

    def close(self) -> None:
        """Write what is not written yet."""
        if self._folder is None:
            return
        if not self._told:
            self._tell_truth()
        try:
            table = "\n".join(["\t".join(_COLUMNS), *self._rows])
            (self._folder / "objects.tsv").write_text(table + "\n", encoding="utf-8")
            text = json.dumps(self._facts(), indent=2)
            (self._folder / "faults.json").write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise OutputError(
                f"truth cannot be written to {self._folder} ({error.strerror or error}); give another folder"
            ) from None

    def _tell_truth(self) -> None:
        self._told = True
        if self._folder is None:
            return
        self._scanner.truth().write(self._folder)
        stopped = self._scanner.truth_of_stopped()
        if stopped is not None:
            stopped.write(self._folder / "stopped")

    def _facts(self) -> dict[str, object]:
        scanner = self._scanner
        protocol = scanner.protocol
        numbers = {role.scan: role.series.number for role in scanner.series if role.role == "magnitude"}
        return {
            "vendor": protocol.vendor,
            "volumes": scanner.volumes,
            "series": [
                {
                    "number": role.series.number,
                    "role": role.role,
                    "scan": role.scan,
                    "folder": folder_name(role.series),
                    "seed": role.seed,
                }
                for role in scanner.series
            ],
            "complete": self._count == len(scanner.schedule.actions),
            "missing": scanner.missing(Schedule(tuple(self._done))),
            "faults": [
                self._fact(fault, numbers[fault.scan])
                for fault in scanner.schedule.faults
                # Of a delivery that was ended: no more than was made.
                if all(number in self._files for number in fault.objects)
            ],
        }

    def _fact(self, fault: Fault, series: int) -> dict[str, object]:
        files = [self._files[number] for number in fault.objects]
        fact: dict[str, object] = {
            "fault": fault.fault,
            "series": series,
            "volume": fault.volume,
            "files": [name for name, _ in files],
        }
        if fault.fault in ("delay", "duplicate", "truncate"):
            fact["seconds"] = fault.seconds
        if fault.fault == "duplicate":
            fact["copies"] = [copy_name(name) for name, _ in files]
        if fault.share is not None:
            fact["bytes"] = [int(fault.share * size) for _, size in files]
        if fault.stray:
            fact["stray"] = fault.stray
        return fact

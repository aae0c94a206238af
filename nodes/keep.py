"""What a run has saved, as one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, traits

from rtflow.errors import OutputError, SessionError
from rtflow.items import bundle
from rtflow.session import Session
from rtflow.stream.interface import RunContext, StreamInterface


class KeepItemsInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `KeepItems`."""

    volumes = traits.List(
        traits.Any(), desc="anything that the run gave: says that the node comes at its end"
    )
    names = traits.List(traits.Str(), mandatory=True, desc="names of session items that this run has saved")
    file = traits.Str("", usedefault=True, desc="file to put them into as well; empty for the session only")


class KeepItemsOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `KeepItems`."""

    kept = traits.Int(desc="number of items")


class KeepItems(StreamInterface):
    """At the end of a run that ended well, put what it has saved into one file.

    ``FILE/NAME`` is then the name of an item, for whatever loads one (``Mask(load="FILE/mask")``), in any
    session on any machine: a decoder is of no use without the reference and the mask that it was trained
    with.

    For the end of the run: ``JoinNode(KeepItems(names=[...], file=FILE), joinsource="scanner",
    joinfield=["volumes"], name="keep")``. A run that failed or was cut short does not come to it, and leaves
    no file. In a replay nothing is written outside of its own folder.

    Raises
    ------
    SessionError
        If the run has not saved all of them.
    OutputError
        If the file cannot be written.
    """

    input_spec = KeepItemsInput
    output_spec = KeepItemsOutput
    at_end = True

    def needed_items(self) -> list[str]:
        """What is to be kept."""
        return list(self.inputs.names)

    def start_run(self, context: RunContext) -> None:
        """Remember which run it is."""
        self._session = Session(context)
        self._replaying = context.replaying
        self._run_dir = context.run_dir

    def _run_interface(self, runtime: Any) -> Any:
        items, file = self.inputs.names, self.inputs.file
        self._session.release()
        saved = self._session.saved()
        if lacking := [name for name in items if name not in saved]:
            raise SessionError(
                f"the run has left no {' and no '.join(lacking)}, and what is there is of no use "
                "without; check the events and the training trials, and do the run again"
            )
        if file and not self._replaying:
            try:
                bundle([saved[name] for name in items], Path(file))
            except (OutputError, OSError) as error:
                raise OutputError(
                    f"{error}; what the run has saved is in {self._run_dir / 'saved'}, which stands for that "
                    f"file wherever one is loaded; or run again with --source journal:{self._run_dir}"
                ) from None
        self._results = {"kept": len(items)}
        return runtime

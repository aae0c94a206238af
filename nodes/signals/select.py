"""The region that a localizer finds: voxels of its map, kept for the runs after it."""

from __future__ import annotations

from typing import Any

from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, traits

from rtflow.bids.masked import Mask
from rtflow.errors import RunError
from rtflow.items import Item, read_item
from rtflow.nodes.signals.selection import Selection, millilitres, select
from rtflow.session import Session
from rtflow.stream.interface import RunContext, StreamInterface


class SelectVoxelsInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `SelectVoxels`."""

    volumes = traits.List(
        traits.Any(), desc="anything that the run gave: says that the node comes at its end"
    )
    maps = traits.Str(mandatory=True, desc="session item with the map that this run has saved: of GLM")
    stat = traits.Str("t", usedefault=True, desc="which map of it")
    within = traits.Str(
        "",
        usedefault=True,
        desc="session item with a mask that this run has saved: where to look; default all",
    )
    best = traits.Range(
        low=0, value=0, usedefault=True, desc="so many voxels, the best; 0: all that there are"
    )
    threshold = traits.Float(3.1, usedefault=True, desc="value that a voxel reaches at least, above 0")
    cluster = traits.Range(low=1, value=1, usedefault=True, desc="voxels of the smallest piece that counts")
    least = traits.Range(low=1, value=10, usedefault=True, desc="fewest voxels that make a region")
    save = traits.Str(mandatory=True, desc="session item to keep the region under")


class SelectVoxelsOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `SelectVoxels`."""

    voxels = traits.Int(desc="how many were selected")
    clusters = traits.Int(desc="how many pieces they form")
    lowest = traits.Float(desc="smallest value of the map within")
    highest = traits.Float(desc="largest value of the map within")
    size = traits.Float(desc="ml")


class SelectVoxels(StreamInterface):
    """At the end of a run, select voxels of its map, and keep them for the session.

    The item is a mask on the grid of the map, and with the identity of its reference: ``Mask(load=NAME)`` of
    a later run takes it, if that run aligns its volumes with the same reference. It is also written as a
    NIfTI mask among the derivatives of the run. How many voxels there are stands at the end of the run's
    summary.

    For the end of the run: ``JoinNode(SelectVoxels(maps="glm", within="mask", save="localizer", best=100),
    joinsource="scanner", joinfield=["volumes"], name="select")``, with ``GLM(save="glm")`` and
    ``Mask(save="mask")`` before it. A run that failed or was cut short does not come to it, and leaves no
    region.

    Raises
    ------
    SessionError
        If the map is on another grid than the mask.
    RunError
        If there is no map or no mask, or too few voxels were found. The run has failed then.
    """

    input_spec = SelectVoxelsInput
    output_spec = SelectVoxelsOutput
    at_end = True

    def needed_items(self) -> list[str]:
        """The map, and the mask to look in."""
        return [name for name in (self.inputs.maps, self.inputs.within) if name]

    def start_run(self, context: RunContext) -> None:
        """Remember which run it is."""
        self._session = Session(context)

    def _run_interface(self, runtime: Any) -> Any:
        inputs = self.inputs
        item = self._item(inputs.maps, inputs.stat)
        within = None
        if inputs.within:
            mask = self._item(inputs.within, "data")
            assert mask.grid is not None
            item.require(mask.grid, inputs.maps)
            within = mask.arrays["data"]
        values = item.arrays[inputs.stat]
        found = select(
            values, best=inputs.best, threshold=inputs.threshold, cluster=inputs.cluster, within=within
        )
        if found.voxels < inputs.least:
            top = float((values if within is None else values[within]).max(initial=0.0))
            raise RunError(
                f"{self._says(found)}, expected {inputs.least} at least (the largest {inputs.stat} there is "
                f"{top:.3g}); no region was kept: look at motion and design, lower the threshold, or do the "
                "run again"
            )
        facts = {name: getattr(inputs, name) for name in ("stat", "best", "threshold", "cluster")}
        self._session.save(
            inputs.save,
            {"data": found.data, inputs.stat: values},
            item.grid,
            voxels=found.voxels,
            clusters=found.clusters,
            of=dict(item.facts),
            **facts,
        )
        assert item.grid is not None
        self._results = {
            "voxels": found.voxels,
            "clusters": found.clusters,
            "lowest": found.lowest,
            "highest": found.highest,
            "size": found.voxels * millilitres(Mask(found.data, item.grid)),
        }
        return runtime

    def _item(self, name: str, array: str) -> Item:
        """What this run has saved under a name."""
        path = self._session.saved().get(name)
        item = None if path is None else read_item(path)
        if item is None or item.grid is None or array not in item.arrays:
            raise RunError(
                f"the run has left no {array} in {name!r}, so there is nothing to select from: too few "
                "volumes, or no trial of the contrast in them; look at the design, and do the run again"
            )
        return item

    def _says(self, found: Selection) -> str:
        inputs = self.inputs
        how = [f"the best {inputs.best}"] if inputs.best else []
        how += [f"{inputs.stat} of {inputs.threshold:g} or more"] if inputs.threshold > 0 else []
        how += [f"pieces of {inputs.cluster} or more"] if inputs.cluster > 1 else []
        values = f", {inputs.stat} {found.lowest:.3g} to {found.highest:.3g}" if found.voxels else ""
        pieces = "piece" if found.clusters == 1 else "pieces"
        return f"{found.voxels} voxels selected ({', '.join(how)}) in {found.clusters} {pieces}{values}"

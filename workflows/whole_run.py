"""A whole run as one ordinary Nipype node: for stock plugins, clusters, and graphs over many runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    Directory,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)


class WholeRunInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `WholeRun`."""

    workflow_file = File(exists=True, mandatory=True, desc="the workflow file, with build(settings)")
    settings_file = File(exists=True, desc="TOML; default the one of the same name beside it, if any")
    settings = traits.List(traits.Str, desc="overrides, as for 'rtflow run --set': NAME=VALUE")
    session_dir = Directory(desc="session whose items the run takes and leaves; default one of its own")


class WholeRunOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `WholeRun`."""

    run_dir = Directory(desc="folder of the run")
    bids_dir = Directory(desc="raw data set of the run")
    values = traits.Dict(desc="what the nodes at the end of the run gave, as node.field")
    counts = traits.Dict(desc="number of volumes of each status")


class WholeRun(SimpleInterface):  # type: ignore[misc]
    """Stream a whole run, from its source to its end, within one call.

    Stock Nipype calls each node with fresh copies, so a graph whose nodes keep state cannot be iterated over
    volumes by it. This node can stand in any stock workflow, and be iterated over runs:

    >>> from nipype import Node
    >>> from rtflow.workflows import template
    >>> run = Node(WholeRun(workflow_file=template.__file__, settings=["source.speed=max"]), name="run")
    >>> run.iterables = ("settings", [["source.seed=1"], ["source.seed=2"]])

    Raises
    ------
    RtflowError
        As `rtflow.engine.run`.
    """

    input_spec = WholeRunInput
    output_spec = WholeRunOutput

    def _run_interface(self, runtime: Any) -> Any:
        from rtflow.engine import run
        from rtflow.settings import load_settings
        from rtflow.workflow_file import load_workflow

        inputs = self.inputs
        workflow = load_workflow(Path(inputs.workflow_file))
        beside = workflow.path.with_suffix(".toml")
        file = Path(inputs.settings_file) if isdefined(inputs.settings_file) else beside
        overrides = inputs.settings if isdefined(inputs.settings) else []
        stop = run(
            workflow,
            load_settings(workflow.settings_type, file if file.exists() else None, overrides),
            Path(runtime.cwd) / "rtflow-out",
            session=Path(inputs.session_dir) if isdefined(inputs.session_dir) else None,
        )
        self._results = {
            "run_dir": stop.outputs["run"],
            "bids_dir": stop.outputs["bids"],
            "values": dict(stop.values),
            "counts": dict(stop.counts),
        }
        return runtime

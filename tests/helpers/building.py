"""The graph of a workflow of the project, for a small simulated head."""

from pathlib import Path

from nipype import Workflow

from rtflow.settings import load_settings
from rtflow.workflow_file import build_workflow, load_workflow

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"

#: The fewest voxels that motion correction and masks work on as on real heads; there is no waiting.
SHAPE, VOXEL = (24, 28, 20), 7.0
TINY = (f"source.shape={list(SHAPE)}", f"source.voxel={VOXEL}", "source.speed=max")


def build(name: str, *overrides: str, small: tuple[str, ...] = TINY) -> Workflow:
    """The graph of a workflow, with its own TOML and what overrides that."""
    workflow = load_workflow(WORKFLOWS / f"{name}.py")
    settings = load_settings(workflow.settings_type, workflow.path.with_suffix(".toml"), [*small, *overrides])
    return build_workflow(workflow, settings)

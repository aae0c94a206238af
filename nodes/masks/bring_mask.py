"""The mask of a run, from another image or another day."""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, isdefined, traits

from rtflow.bids import masked
from rtflow.bids.entities import parse_name
from rtflow.bids.grid import Grid, identify
from rtflow.bids.incremental import BidsIncremental
from rtflow.documents import Event
from rtflow.errors import RtflowError, RunError, UsageError, VolumeError
from rtflow.nodes.images.brain import COVERAGE, read_volume
from rtflow.nodes.masks.bring_job import Bringer, Loaded, Outcome
from rtflow.nodes.masks.job import FmriprepRun, Job, job_of_fmriprep, job_with_image
from rtflow.session import Session
from rtflow.stream.interface import RunContext, StreamInterface
from rtflow.stream.process import Worker

# Seconds after which a registration hangs; it takes about ten.
_LIMIT = 300.0


class BringMaskInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `BringMask`."""

    reference = traits.Any(
        mandatory=True, desc="the reference of Realign: a BidsIncremental; or the path of an image"
    )
    incremental = traits.Any(
        desc="the volume, for its repetition time and participant; not where the reference is a path"
    )
    file = traits.Str(mandatory=True, desc="a mask, a map of probabilities, or of labels")
    labels = traits.List(traits.Int, desc="which values of the file belong; default: all but 0")
    threshold = traits.Range(
        low=0.0,
        high=1.0,
        value=0.5,
        exclude_low=True,
        usedefault=True,
        desc="least mean probability within a voxel of the reference",
    )
    image = traits.Str("", usedefault=True, desc="image of the same head that the mask lies in")
    contrast = traits.Enum(
        "auto", "T1w", "bold", usedefault=True, desc="of the image; auto: by the suffix of its name"
    )
    brain = traits.Str("", usedefault=True, desc="mask of the brain in the image, if there is one")
    transforms = traits.List(
        traits.Str, desc="files of ITK that take the mask from its space to the image, in that order"
    )
    fmriprep = traits.Str("", usedefault=True, desc="fMRIPrep's folder, in place of image and transforms")
    space = traits.Str("", usedefault=True, desc="of the mask; default: what its name says (space-)")
    subject = traits.Str("", usedefault=True, desc="label; default: what the name of the mask says (sub-)")
    session = traits.Str("", usedefault=True, desc="label of the earlier session")
    task = traits.Str("", usedefault=True, desc="label of the earlier run's task")
    run = traits.Str("", usedefault=True, desc="label of the earlier run")
    through = traits.Enum(
        "auto", "boldref", "T1w", usedefault=True, desc="image of fMRIPrep to register with"
    )
    registration = traits.Enum(
        "auto",
        "ants",
        "simpleitk",
        usedefault=True,
        desc="what registers a T1w image; auto: ANTs where it is installed, else SimpleITK",
    )
    other_subject = traits.Bool(
        False, usedefault=True, desc="whether names may say another participant than the volumes"
    )
    hold = traits.Range(
        low=0.0,
        value=30.0,
        usedefault=True,
        desc="seconds of the run, from the first volume that comes, after which the mask is given",
    )
    save = traits.Str("", usedefault=True, desc="session item to keep the mask under")


class BringMaskOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `BringMask`."""

    mask = traits.Any(desc="a Mask on the grid of the reference")
    transform = traits.Any(desc="4x4, RAS mm, reference to the image that it was registered with")
    overlay = traits.Str(desc="path of the picture; at set-up only")
    says = traits.Str(desc="what was done, in words; at set-up only")


@dataclass
class _State:
    """The first reference seen, the volume it came with, and of whom; the outcome, once it was due."""

    reference: BidsIncremental | None = None
    first: int = 0
    subject: str = ""
    mask: masked.Mask | None = None
    outcome: Outcome | None = None


class BringMask(StreamInterface):
    """Bring a mask from the space of another image, or of another day, to the reference of this run.

    The mask lies in ``image`` (a T1w image, or an echo-planar one of an earlier session), or ``transforms``
    take it there; or ``fmriprep`` names the derivatives of an earlier session, where both are found by name.
    That image is registered with the reference (`motion.alignment.align`), from up to about 20 mm and
    15 degrees away; a T1w image by ANTs where it is installed (`motion.ants.installed`), else by SimpleITK.
    Which it was stands in the event, and a replay takes the same.

    Files whose names say another participant than the volumes are refused, unless ``other_subject`` is set.

    In the stream that is done in a worker process, from the first volume on that has a reference. The mask
    is withheld, and with it all feedback, until the first volume that begins ``hold`` seconds after that
    one. When it comes is so a matter of the volumes' numbers and not of the machine, and a replay is the
    same; if it is not ready by then, that volume waits, and may be late. A registration that fails is told
    at once, as an event ``mask_not_brought``; every volume from then on fails that would have had the mask.

    Where ``reference`` is the path of an image (that Realign has, too), the node runs once, at set-up.
    Paths must be absolute then.

    A picture of the mask on the reference is written to ``RUN_DIR/overlays`` and told as an event
    ``mask_brought``: look at it before the feedback begins. At set-up it is written beside the node's own
    folder, in which Nipype keeps no file that nobody takes.

    Raises
    ------
    UsageError
        At the start of the run, if a file is missing or is something else, or the inputs contradict each
        other, or ANTs is set and not installed; the errors of archives if fMRIPrep's outputs are missing or
        not unique.
    VolumeError
        If the registration cannot be trusted, or the files are another participant's; as GridError if nothing
        of the mask is on the reference, or most of it outside the brain.
    """

    input_spec = BringMaskInput
    output_spec = BringMaskOutput
    # What fMRIPrep's folder holds is not among the inputs that Nipype's cache compares.
    _always_run = True

    @property
    def stateful(self) -> bool:  # type: ignore[override]
        """Not at set-up."""
        return not isinstance(self.inputs.reference, str | Path)

    def start_run(self, context: RunContext) -> None:
        """Find the files, and start the process, which reads them."""
        self._session = Session(context)
        self._context = context
        self._state = _State()
        self._done = threading.Event()
        self._answer: Outcome | Exception | None = None
        self._over = False
        self._thread: threading.Thread | None = None
        self._job = job = job_of(self.inputs)
        picture = context.run_dir / "overlays" / f"{job.name}.png"
        self._folder = context.run_dir / "work" / "bring_mask" / job.name
        bringer = Bringer(job=job, picture=str(picture), folder=str(self._folder))
        self._worker = Worker("bring_mask", bringer, context, self._folder, {})
        try:
            self._worker.wait_ready()
        except RunError as error:
            self._worker.kill()
            # What was wrong with a file is said as such, and not as the end of a process.
            raise UsageError(_plain(error)) from None

    def end_run(self) -> None:
        """End the process, whatever it is doing."""
        self._over = True
        self._done.set()
        self._worker.kill()
        if self._thread is not None:
            self._thread.join()

    def snapshot(self) -> _State:
        """The reference, and the mask if it has been given."""
        return self._state

    def restore(self, state: _State) -> None:
        """Go on from there; a registration that was under way is begun anew."""
        self._state = state
        if state.reference is not None and state.mask is None:
            self._begin(state.reference)

    def _begin(self, reference: BidsIncremental) -> None:
        foreign = "" if self.inputs.other_subject else self._job.foreign_to(self._state.subject)
        if foreign:
            self._refuse(foreign)
            self._finish()
            return
        self._thread = threading.Thread(target=self._register, args=(reference,), daemon=True)
        self._thread.start()

    def _register(self, reference: BidsIncremental) -> None:
        inputs = {"data": reference.data, "grid": reference.grid}
        try:
            limit = None if self._context.replaying else _LIMIT
            self._answer = self._worker.call(reference.volume, inputs, limit)[0]["outcome"]
        except Exception as error:  # told to whoever waits for it
            self._refuse(_plain(error))
        self._finish()

    def _refuse(self, why: str) -> None:
        self._answer = VolumeError(why)
        if not self._over:
            says = f"mask {Path(self.inputs.file).name} was not brought to the reference: {why}"
            self._context.emit(Event(name="mask_not_brought", data={"says": says}))

    def _finish(self) -> None:
        self._worker.kill()  # a warp is a gigabyte
        shutil.rmtree(self._folder, ignore_errors=True)  # of a registration that was killed
        self._done.set()

    def _run_interface(self, runtime: Any) -> Any:
        if not self.stateful:
            self._results = self._at_set_up(Path(runtime.cwd).parent)
            return runtime
        state = self._state
        if state.reference is None:
            state.reference, state.first = self.inputs.reference, self.volume
            state.subject = self._at_hand().entities.get("subject", "")
            self._begin(state.reference)
        if state.mask is None and not self._due():
            return runtime
        if state.mask is None:
            self._take(state.reference)
        assert state.outcome is not None
        if state.outcome.covered < COVERAGE:
            self.doubt(f"mask: only {state.outcome.covered:.1%} of it lies in the field of view")
        self._results = {"mask": state.mask, "transform": state.outcome.transform}
        return runtime

    def _due(self) -> bool:
        """Whether the volume at hand begins ``hold`` seconds after the first one, or later."""
        # A microsecond's grace: n * TR is not exact.
        elapsed = (self.volume - self._state.first) * self._at_hand().tr
        return bool(elapsed >= self.inputs.hold - 1e-6)

    def _at_hand(self) -> BidsIncremental:
        """The volume at hand, or the reference where that is not connected."""
        incremental = self.inputs.incremental
        at_hand: BidsIncremental = incremental if isdefined(incremental) else self.inputs.reference
        return at_hand

    def _take(self, reference: BidsIncremental) -> None:
        """Wait for the outcome, and keep it."""
        self._done.wait()
        if self._over:
            raise VolumeError("the run ended before the mask was brought to the reference")
        if not isinstance(self._answer, Outcome):
            raise VolumeError(str(self._answer))
        outcome = self._answer
        mask = masked.Mask(outcome.data, reference.grid)
        if self.inputs.save:
            self._session.save(
                self.inputs.save,
                {"data": mask.data, "transform": outcome.transform},
                mask.grid,
                file=Path(self.inputs.file).name,
            )
        self._state.mask, self._state.outcome = mask, outcome

    def _at_set_up(self, folder: Path) -> dict[str, Any]:
        inputs = self.inputs
        if inputs.save:
            raise UsageError(
                "BringMask cannot save a mask at set-up, where there is no run yet; bring it in each "
                "run, or connect the reference of Realign"
            )
        for path in (inputs.reference, inputs.file, inputs.image, inputs.brain, inputs.fmriprep):
            if path and not Path(path).is_absolute():
                raise UsageError(f"path {path} is not absolute, as paths must be at set-up; give all of it")
        job = job_of(inputs)
        subject = parse_name(Path(inputs.reference).name)[0].get("subject", "")
        if not inputs.other_subject and (foreign := job.foreign_to(subject)):
            raise UsageError(foreign)
        loaded = Loaded.of(job)
        data, affine = read_volume(inputs.reference, "reference")
        grid = Grid.of(data.shape, affine, identify(data, affine))
        picture = folder / f"{job.name}.png"
        outcome = loaded.bring(data, grid, picture, job.registers_by(folder))
        return {
            "mask": masked.Mask(outcome.data, grid),
            "transform": outcome.transform,
            "overlay": str(picture),
            "says": outcome.says,
        }


def job_of(inputs: Any) -> Job:
    """What the inputs of `BringMask` ask for.

    Raises
    ------
    UsageError
        If they contradict each other, or a file is missing.
    """
    return replace(_job_of(inputs), registration=inputs.registration)


def _job_of(inputs: Any) -> Job:
    labels = tuple(inputs.labels) if isdefined(inputs.labels) else ()
    transforms = tuple(inputs.transforms) if isdefined(inputs.transforms) else ()
    if not inputs.file:
        raise UsageError("BringMask was given no mask; give the path of an image as file=PATH")
    if bool(inputs.image) == bool(inputs.fmriprep):
        raise UsageError(
            "BringMask takes the image that the mask lies in from image=PATH or from fmriprep=FOLDER: give "
            "one of the two"
        )
    if not Path(inputs.file).is_file():
        raise UsageError(f"mask {inputs.file} does not exist; give the path of an image")
    if inputs.fmriprep:
        if transforms:
            raise UsageError(
                "BringMask finds its transforms in fmriprep: leave transforms out, or give image"
            )
        of = FmriprepRun(
            inputs.fmriprep, inputs.subject, inputs.session, inputs.task, inputs.run, inputs.through
        )
        return job_of_fmriprep(inputs.file, inputs.space, of, labels=labels, threshold=inputs.threshold)
    return job_with_image(
        inputs.file,
        inputs.image,
        contrast=inputs.contrast,
        brain=inputs.brain,
        transforms=transforms,
        labels=labels,
        threshold=inputs.threshold,
    )


def _plain(error: BaseException) -> str:
    """The message of an error that crossed a process, without what was put before it on its way."""
    text = str(error).removeprefix("bring_mask: its worker process did not start: ")
    for kind in RtflowError.__subclasses__() + VolumeError.__subclasses__() + UsageError.__subclasses__():
        text = text.removeprefix(f"{kind.__name__}: ")
    return text

"""``simulate:``: a scanner, a head and what it does, as a source of volumes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtflow.design import block_design
from rtflow.documents import Event, Frame, Part, now
from rtflow.errors import SourceError
from rtflow.source_settings import SimulateSource
from rtflow.source_uri import format_source
from rtflow.sources.base import Pacer
from rtflow.sources.simulation.protocol import echo_times
from rtflow.trials import Design

if TYPE_CHECKING:
    from rtflow.sources.simulation.plan import Plan
    from rtflow.sources.simulation.scan import Scan
    from rtflow.sources.simulation.truth import Truth

CONDITIONS = ("scene", "face")

# Volumes of the template experiment: dummies, blocks with the rest after each, and all together.
_OPENING, _BLOCK, _REST, _BLOCKS = 10, 25, 4, 8
_VOLUMES = _OPENING + _BLOCKS * (_BLOCK + _REST)
_LAST = 8.0
"""Seconds to go on scanning after the last trial, for its response to be seen."""


def default_design(tr: float, volumes: int | None = None) -> Design:
    """The template experiment: eight blocks of scenes and faces in turn.

    Parameters
    ----------
    tr
        Repetition time, seconds.
    volumes
        Length of the run; the experiment is shortened or stretched to it. Default 242: ten volumes
        before the first block, 25 for each block and 4 for the rest after it.

    Raises
    ------
    SourceError
        If so few volumes leave no room for eight blocks and the rest between them.

    >>> default_design(2.0) == default_design(2.0, volumes=242)
    True
    >>> default_design(1.0, volumes=100).trials[0]
    Trial(onset=4.0, duration=10.0, trial_type='scene')
    """
    length = _VOLUMES if volumes is None else volumes
    opening = round(length * _OPENING / _VOLUMES)
    turn = (length - opening) // _BLOCKS
    rest = max(round(turn * _REST / (_BLOCK + _REST)), 1)
    if turn - rest < 1:
        raise SourceError(
            f"simulate: {length} volumes are too few for the default design of {_BLOCKS} blocks; "
            f"ask for {2 * _BLOCKS + 1} or more, or give a design"
        )
    return block_design(
        CONDITIONS, blocks=_BLOCKS, block=(turn - rest) * tr, rest=rest * tr, opening=opening * tr
    )


class SimulatorSource:
    """One run of a simulated scanner.

    The volumes are a function of the settings and the design, whatever the speed and however often the
    frames are asked for.

    Parameters
    ----------
    spec
        What is simulated.
    design
        What the participant is asked to do; default `default_design`.

    Raises
    ------
    SourceError
        If the field of view, the number of volumes or the echoes make no run.
    """

    def __init__(self, spec: SimulateSource, design: Design | None = None) -> None:
        self._spec = spec
        self._design = default_design(spec.tr, spec.volumes) if design is None else design
        if spec.volumes is None:
            # A hundredth of a volume's grace: durations are multiples of TR in most designs.
            self._volumes = int(np.ceil((self._design.duration + _LAST) / spec.tr - 0.01))
        else:
            self._volumes = spec.volumes
        if self._volumes < 1:
            raise SourceError(f"simulate: {self._volumes} volumes make no run; ask for 1 or more")
        if min(spec.shape) < 2 or min(spec.shape) * spec.voxel < 60.0:
            raise SourceError(
                f"simulate: {spec.shape} voxels of {spec.voxel:g} mm hold too little of a head; "
                "the field of view must be 60 mm or more along each axis"
            )
        self._echo_times = echo_times(spec.echoes)
        if self._echo_times[-1] >= spec.tr:
            raise SourceError(
                f"simulate: the last of {spec.echoes} echoes, at {self._echo_times[-1]:g} s, comes after the "
                f"TR of {spec.tr:g} s; ask for fewer echoes, or a longer TR"
            )
        if max(spec.shape) > 256:
            raise SourceError(f"simulate: shape {spec.shape} is too large; at most 256 voxels along an axis")

    @property
    def tr(self) -> float:
        """Repetition time in seconds."""
        return self._spec.tr

    @property
    def volumes(self) -> int:
        """Number of volumes of the run."""
        return self._volumes

    @property
    def design(self) -> Design:
        """What the participant is asked to do."""
        return self._design

    @property
    def uri(self) -> str:
        """The settings as a URI; the design is not part of it."""
        return format_source(self._spec)

    @cached_property
    def _plan(self) -> Plan:
        from rtflow.sources.simulation.plan import make_plan

        return make_plan(self._spec, self._design, self._volumes)

    @cached_property
    def _scan(self) -> Scan:
        from rtflow.sources.simulation.scan import Scan

        return Scan(self._spec, self._plan, echo_times=self._echo_times)

    def truth(self) -> Truth:
        """What really happens in the run."""
        from rtflow.sources.simulation.truth import Truth

        return Truth.of(self._spec, self._plan, self._scan)

    def begin(self, run_dir: Path, emit: Callable[[Event], None]) -> None:
        """Nothing comes from here but volumes."""

    def end(self) -> None:
        """Nothing is open but while frames are asked for."""

    def frames(self, stopping: threading.Event) -> Iterator[Frame]:
        """Volumes as the scanner delivers them: a NIfTI file and its sidecar for each echo.

        The clock starts with the first one asked for, once the head is made. Volume n is acquired from
        (n - 1) * TR on and there when its schedule says, both divided by the speed; the schedule
        is absolute, so waiting makes no error that grows. A volume that nobody fetched in time was there
        in time all the same, and says so in ``received``.
        """
        scan, plan, spec = self._scan, self._plan, self._spec
        if spec.truth:
            self.truth().write(Path(spec.truth))
        header = nifti_header(spec.shape, scan.affine, spec.tr)
        pacer = Pacer(spec.speed)
        images = scan.images()
        start = now()
        pacer.wait(0.0, stopping)
        for number in range(1, self._volumes + 1):
            asked = now()
            if stopping.is_set():
                return
            parts = self._parts(number, header, next(images))
            due = float(plan.arrivals[number - 1])
            if not pacer.wait(due, stopping):
                return
            if spec.speed == "max":
                yield Frame(number, received=now(), parts=parts, acquired=asked)
                continue
            acquired = start + float(plan.times[number - 1]) / spec.speed
            on_time = start + due / spec.speed
            yield Frame(
                number, received=on_time if on_time <= asked else now(), parts=parts, acquired=acquired
            )

    def _parts(self, number: int, header: bytes, images: Sequence[NDArray[np.int16]]) -> tuple[Part, ...]:
        parts: list[Part] = []
        for echo, (image, time) in enumerate(zip(images, self._echo_times, strict=True), start=1):
            name = f"volume-{number:04d}" + (f"_echo-{echo}" if len(images) > 1 else "")
            about = sidecar(self._spec, number, time)
            parts += [
                Part(f"{name}.nii", "application/x-nifti", header + nifti_data(image)),
                Part(f"{name}.json", "application/json", about),
            ]
        return tuple(parts)


def nifti_header(shape: tuple[int, int, int], affine: NDArray[Any], tr: float) -> bytes:
    """All of a NIfTI-1 file of 16-bit integers that comes before its voxels: 352 bytes."""
    import nibabel as nib

    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(shape)
    header.set_qform(affine, code="scanner")
    header.set_sform(affine, code="scanner")
    header.set_xyzt_units("mm", "sec")
    header["pixdim"][4] = tr
    header["magic"] = b"n+1"
    header["vox_offset"] = 352
    header["scl_slope"], header["scl_inter"] = 1.0, 0.0
    return bytes(header.binaryblock) + bytes(4)


def nifti_data(image: NDArray[np.int16]) -> bytes:
    """The voxels of an image of shape (k, j, i) as they stand in a NIfTI file."""
    return image.astype(np.int16, order="C", copy=False).tobytes()


def sidecar(spec: SimulateSource, number: int, echo_time: float) -> bytes:
    """BIDS metadata of an echo (s) of volume ``number`` (from 1), as JSON: the same bytes in every run."""
    seconds = 36000.0 + (number - 1) * spec.tr
    hours, rest = divmod(seconds, 3600.0)
    minutes, left = divmod(rest, 60.0)
    fields = {
        "Modality": "MR",
        "Manufacturer": "rtflow simulator",
        "MagneticFieldStrength": 3,
        "MRAcquisitionType": "2D",
        "RepetitionTime": spec.tr,
        "EchoTime": echo_time,
        "FlipAngle": 77,
        "PhaseEncodingDirection": "j-",
        "SliceThickness": spec.voxel,
        # All slices at once: the simulated head does nothing between the slices of a volume.
        "SliceTiming": [0.0] * spec.shape[2],
        "AcquisitionTime": f"{int(hours) % 24:02d}:{int(minutes):02d}:{left:09.6f}",
        "AcquisitionNumber": number,
        "ImageType": ["DERIVED", "PRIMARY", "FMRI", "NONE"],
    }
    return json.dumps(fields).encode()

#!/usr/bin/env python3
"""A small BIDS App: the brain mask of each functional image, and the mean in it for every volume.

``run.py BIDS_DIR OUTPUT_DIR participant`` makes both for whole images. ``run.py --worker`` serves volume
after volume: it reads a line of JSON, ``{"volume": 1, "bids_dir": ..., "out_dir": ...}``, where the data set
holds the one image of that volume, and answers ``{"volume": 1, "outputs": {"mean": ..., "voxels": ...}}``.
"""

import argparse
import json
import sys
from pathlib import Path

import nibabel
import numpy as np

NAME, VERSION = "example-app", "1.0"

# Draft 27 of the BIDS extension proposals.
INVALID_BIDS, UNKNOWN_LEVEL, NO_MATCH = 16, 17, 18


class Refused(Exception):
    """What was asked for cannot be done; the second argument is the exit status."""


def parser():
    """The command line."""
    made = argparse.ArgumentParser(
        prog=NAME, description="Brain mask of each functional image, and the mean in it for every volume"
    )
    made.add_argument("bids_dir", type=Path, nargs="?", help="The BIDS data set")
    made.add_argument("output_dir", type=Path, nargs="?", help="Where the results are written")
    made.add_argument("analysis_level", nargs="?", help="Level of the analysis: participant")
    made.add_argument(
        "--participant_label", nargs="+", metavar="LABEL", help='Labels without "sub-"; default all'
    )
    made.add_argument("--task", help="Only the images of this task")
    made.add_argument(
        "--threshold",
        type=float,
        default=0.5,
        help="Share of the brightest value that is brain (default: 0.5)",
    )
    made.add_argument(
        "--space", choices=["native", "centred"], default="native", help="Means as they are, or around zero"
    )
    made.add_argument("--mask", type=Path, metavar="FILE", help="A mask to use in place of the image's own")
    made.add_argument("--skip_bids_validator", action="store_true", help="Do not look at the data set first")
    made.add_argument("--worker", action="store_true", help="Serve volumes, one line of JSON each")
    made.add_argument("-v", "--version", action="version", version=f"{NAME} {VERSION}")
    return made


def brain(mean, threshold):
    """Voxels that are brighter than a share of the 98th percentile.

    Parameters
    ----------
    mean : array (i, j, k)
        Mean image.
    threshold : float
        That share, above 0 and below 1.
    """
    return mean > threshold * np.percentile(mean, 98)


class Inside:
    """The voxels of a mask.

    Parameters
    ----------
    mask : array of bool (i, j, k)
        Where.
    """

    def __init__(self, mask):
        self.mask = mask
        # Images are read in Fortran order, and walked through in it. Numbers of voxels, looked up once
        # for all volumes, take a tenth of the time of a mask.
        self.voxels = np.flatnonzero(mask.ravel(order="F"))

    def means(self, data):
        """Mean of each volume; NaN where the mask is empty.

        Parameters
        ----------
        data : array (i, j, k) or (i, j, k, volumes)
            Values.
        """
        if data.shape[:3] != self.mask.shape:
            raise ValueError(f"the mask is of {self.mask.shape} voxels, the image of {data.shape[:3]}")
        volumes = data.reshape((self.mask.size, -1), order="F").T
        if not self.voxels.size:
            return np.full(len(volumes), np.nan)
        return volumes.take(self.voxels, axis=1).mean(axis=1, dtype=np.float64)


def given_mask(path):
    """The mask of a file, or None."""
    return None if path is None else Inside(np.asarray(nibabel.load(path).dataobj) != 0)


def images(folder, task):
    """Functional images of a participant, in order."""
    found = sorted(folder.glob("**/func/*_bold.nii*"))
    return [path for path in found if not task or f"_task-{task}_" in path.name]


def participants(bids_dir, labels):
    """Folders of the participants; refused where there is none, or one is missing."""
    if labels:
        folders = [bids_dir / f"sub-{label.removeprefix('sub-')}" for label in labels]
    else:
        folders = sorted(path for path in bids_dir.glob("sub-*") if path.is_dir())
    missing = [path.name for path in folders if not path.is_dir()]
    if missing or not folders:
        raise Refused(f"{bids_dir} has no {' and no '.join(missing) or 'participant'}", NO_MATCH)
    return folders


def run(asked):
    """Make masks and means of whole images."""
    if asked.analysis_level != "participant":
        raise Refused(f"unknown level {asked.analysis_level!r}; known is participant", UNKNOWN_LEVEL)
    if not asked.skip_bids_validator and not (asked.bids_dir / "dataset_description.json").is_file():
        raise Refused(f"{asked.bids_dir} has no dataset_description.json: it is not BIDS", INVALID_BIDS)
    mask = given_mask(asked.mask)
    done = 0
    for folder in participants(asked.bids_dir, asked.participant_label):
        for path in images(folder, asked.task):
            image = nibabel.load(path)
            data = np.asarray(image.dataobj, dtype=np.float32)
            data = data if data.ndim == 4 else data[..., np.newaxis]
            used = Inside(brain(data.mean(axis=3), asked.threshold)) if mask is None else mask
            values = used.means(data)
            if asked.space == "centred":
                values = values - values.mean()
            target = asked.output_dir / path.relative_to(asked.bids_dir).parent
            target.mkdir(parents=True, exist_ok=True)
            stem = path.name.partition(".")[0].removesuffix("_bold")
            made = nibabel.Nifti1Image(used.mask.astype(np.uint8), image.affine)
            nibabel.save(made, target / f"{stem}_desc-brain_mask.nii.gz")
            rows = "".join(f"{value:.17g}\n" for value in values)
            (target / f"{stem}_desc-mean_timeseries.tsv").write_text(f"mean\n{rows}")
            print(f"{path.name}: {used.voxels.size} voxels, {len(values)} volumes", flush=True)
            done += 1
    if not done:
        raise Refused(f"no functional image{f' of task {asked.task}' if asked.task else ''}", NO_MATCH)
    described = {
        "Name": "Brain masks and means",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": NAME, "Version": VERSION}],
    }
    (asked.output_dir / "dataset_description.json").write_text(json.dumps(described, indent=2))


def serve(asked):
    """Answer volume after volume until stdin ends, each by itself: another worker may take over."""
    mask = given_mask(asked.mask)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        volume = None
        try:
            request = json.loads(line)
            volume = request["volume"]
            found = images(Path(request["bids_dir"]), asked.task)
            if len(found) != 1:
                raise ValueError(f"expected one functional image, found {len(found)}")
            data = np.asarray(nibabel.load(found[0]).dataobj, dtype=np.float32)
            data = data.reshape(data.shape[:3])  # of one volume
            used = Inside(brain(data, asked.threshold)) if mask is None else mask
            outputs = {"mean": float(used.means(data)[0]), "voxels": used.voxels.size}
            answer = {"volume": volume, "outputs": outputs}
        except Exception as error:  # one volume fails, the next one may do
            answer = {"volume": volume, "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


def main():
    """The command; its exit status."""
    made = parser()
    asked = made.parse_args()
    try:
        if asked.worker:
            serve(asked)
        elif asked.analysis_level is None:
            made.error("expected bids_dir output_dir analysis_level")
        else:
            run(asked)
    except Refused as refused:
        print(f"{NAME}: {refused.args[0]}", file=sys.stderr)
        return refused.args[1]
    return 0


if __name__ == "__main__":
    sys.exit(main())

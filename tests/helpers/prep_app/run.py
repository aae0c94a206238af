#!/usr/bin/env python3
"""A BIDS App with the command line of fMRIPrep in small: groups, spelling, a licence it insists on."""

import argparse
import json
import os
import sys
from pathlib import Path


def parser():
    made = argparse.ArgumentParser(
        prog="prep-app",
        description="prep-app: Preprocessing workflows v2.0",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    made.add_argument(
        "bids_dir", type=Path, help="The root folder of a BIDS valid dataset (with sub-XXXXX folders)"
    )
    made.add_argument("output_dir", type=Path, help="The output path for the outcomes of preprocessing")
    made.add_argument("analysis_level", choices=["participant"], help="Processing stage to be run")
    bids = made.add_argument_group("Options for filtering BIDS queries")
    bids.add_argument("--skip_bids_validation", "--skip-bids-validation", action="store_true", default=False)
    bids.add_argument(
        "--participant-label",
        "--participant_label",
        nargs="+",
        type=lambda label: label.removeprefix("sub-"),
        help="A list of participant identifiers (the sub- prefix can be removed)",
    )
    bids.add_argument("-t", "--task-id", help="Select a specific task to be processed")
    performance = made.add_argument_group("Options to handle performance")
    performance.add_argument("--nprocs", "--nthreads", type=int, metavar="NPROCS", help="Number of threads")
    performance.add_argument("--mem-mb", dest="memory", metavar="MEMORY_MB", type=int, help="Memory limit")
    performance.add_argument("--low-mem", action="store_true", help="Attempt to reduce memory usage")
    workflow = made.add_argument_group("Workflow configuration")
    workflow.add_argument("--ignore", nargs="+", choices=["fieldmaps", "slicetiming", "sbref"], default=[])
    workflow.add_argument("--output-spaces", nargs="*", metavar="SPACE", help="Spaces")
    workflow.add_argument("--bold2t1w-dof", choices=[6, 9, 12], type=int, default=6, help="DoF")
    workflow.add_argument("--fd-spike-threshold", type=float, default=0.5, help="Flag a frame, in mm")
    surfaces = made.add_argument_group("Specific options for FreeSurfer preprocessing")
    surfaces.add_argument("--fs-license-file", metavar="FILE", type=Path, help="License key file")
    surfaces.add_argument("-w", "--work-dir", type=Path, default=Path("work"), help="Intermediate results")
    made.add_argument("--version", action="version", version="prep-app v2.0")
    return made


def main():
    asked = parser().parse_args()
    licence = asked.fs_license_file or Path("/opt/freesurfer/license.txt")
    if not licence.is_file():
        print(f"ERROR: a valid license file is required: {licence}", file=sys.stderr)
        return 1
    labels = asked.participant_label or [path.name[4:] for path in sorted(asked.bids_dir.glob("sub-*"))]
    for label in labels:
        if not (asked.bids_dir / f"sub-{label}").is_dir():
            print(f"ERROR: participant {label} not found", file=sys.stderr)
            return 1
        made = asked.output_dir / f"sub-{label}"
        made.mkdir(parents=True, exist_ok=True)
        seen = {
            "arguments": sys.argv[1:],
            "licence": licence.read_text(),
            "environment": dict(os.environ),
            "user": [os.getuid(), os.getgid()],
        }
        (made / f"sub-{label}_seen.json").write_text(json.dumps(seen))
        (asked.output_dir / f"sub-{label}.html").write_text("<p>report</p>")
    return 0


if __name__ == "__main__":
    sys.exit(main())

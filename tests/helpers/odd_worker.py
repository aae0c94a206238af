"""A worker that does as it is told, well or not: ``odd_worker.py --at 3:hang 5:exit ...``.

With ``--gate FOLDER``, the first is ready at once, each that starts after it when ``FOLDER/open`` is there.
"""

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

asked_for: list[int] = []


def answer(request: dict, what: str) -> dict:
    volume = request["volume"]
    out = Path(request["out_dir"])
    image = next(Path(request["bids_dir"]).glob("sub-*/func/*_bold.nii"))
    match what:
        case "hang":
            time.sleep(1000)
        case "exit":
            print("told to go", file=sys.stderr, flush=True)
            os._exit(3)
        case "error":
            return {"volume": volume, "error": "it is\nnot good"}
        case "other":
            return {"volume": volume + 1, "outputs": {}}
        case "nothing":
            return {"volume": volume}
        case "text":
            return {"volume": volume, "outputs": {"number": "seven"}}
        case "less":
            return {"volume": volume, "outputs": {"words": "less"}}
        case "chatter":
            print("a library says\nnull\n[1]\n{", flush=True)
        case "flood":
            print("x" * (3 << 20), flush=True)
        case "babble":
            while True:
                print("working on it", flush=True)
        case "outside":
            return {"volume": volume, "outputs": {"picture": "/etc/passwd"}}
        case "link":
            (out / "link.nii").symlink_to(image)
            return {"volume": volume, "outputs": {"picture": "link.nii"}}
        case "folder":
            out.rmdir()
            out.symlink_to(image.parent)
            return {"volume": volume, "outputs": {"picture": image.name}}
        case "pipe":
            os.mkfifo(out / "pipe.nii")
            return {"volume": volume, "outputs": {"picture": "pipe.nii"}}
    shutil.copy(image, out / "picture.nii")
    outputs = {"number": volume * 10, "pid": os.getpid(), "picture": "picture.nii", "more": [volume]}
    outputs["words"] = " ".join(map(str, asked_for))
    return {"volume": volume, "outputs": outputs}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--at", nargs="*", default=[])
    parser.add_argument("--unready", choices=["exit", "hang"])
    parser.add_argument("--gate", type=Path)
    asked = parser.parse_args()
    what = dict(one.split(":") for one in asked.at)
    if asked.unready == "exit":
        sys.exit("no licence")
    if asked.unready == "hang":
        time.sleep(1000)
    if asked.gate:
        (asked.gate / str(os.getpid())).touch()
        while len(list(asked.gate.glob("[0-9]*"))) > 1 and not (asked.gate / "open").exists():
            time.sleep(0.01)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        asked_for.append(request["volume"])
        print(json.dumps(answer(request, what.get(str(request["volume"]), ""))), flush=True)


main()

"""``rtflow package``: a pipeline as an image that others can run, and that proves itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtflow.cli import options
from rtflow.errors import UsageError

if TYPE_CHECKING:
    from rtflow.packaging.making import Wanted

EXAMPLES = (
    "Examples: [cyan]rtflow package mine.py[/cyan], "
    "[cyan]rtflow package mine.py --build --export mine.tar[/cyan], "
    "[cyan]rtflow package --self-test mine-package[/cyan]"
)

DIFFERENT = 4


def command(
    workflow: Annotated[
        Path | None,
        typer.Argument(
            help="A Python file with build(settings), or the name of a workflow that comes with rtflow."
        ),
    ] = None,
    config: options.Config = None,
    set_: options.Set = None,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the package; default WORKFLOW-package. A package that is there is made anew.",
        ),
    ] = None,
    include: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="A further file or folder that the workflow reads, to stand beside it; may be repeated.",
        ),
    ] = None,
    test_set: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="One setting of the self-test alone; may be repeated."),
    ] = None,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Ask no index of packages: make wheels of what is installed here."),
    ] = False,
    base: Annotated[
        str,
        typer.Option(
            metavar="IMAGE",
            help="Image with the same Python to begin with, best by its digest; default Python's own.",
        ),
    ] = "",
    build: Annotated[
        bool, typer.Option("--build", help="Build the image, and run its self-test in it, hardened.")
    ] = False,
    tag: Annotated[str, typer.Option(metavar="NAME", help="Of the image; default localhost/WORKFLOW.")] = "",
    runtime: Annotated[
        str, typer.Option(metavar="podman|docker", help="What builds; default the first that works.")
    ] = "",
    export: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.tar",
            help="Write the built image as one file, for a disk or a colleague: podman an OCI archive, "
            "docker an archive of its own form.",
        ),
    ] = None,
    self_test: Annotated[
        Path | None,
        typer.Option(
            "--self-test", metavar="DIR", help="Compare a package with its manifest, and replay its run."
        ),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Package a workflow: its files, its packages by hash, a Containerfile, and a run that proves it.

    Only files that the workflow is made of go in, and each is looked at: keys, tokens and participant data
    are refused, with file and line.
    """
    from rtflow.cli.output import PythonLog, stdout_to_stderr

    told = _Told(json=json, quiet=quiet)
    log = PythonLog()
    try:
        with stdout_to_stderr(json):
            if self_test is not None:
                if workflow is not None or build or export:
                    raise UsageError("--self-test is of a package that was made; leave out the rest")
                passed = _self_test(self_test, told)
            elif workflow is None:
                raise UsageError(
                    "no workflow was given; try 'rtflow package template', or make your own by "
                    "'rtflow new DIR'"
                )
            elif export and not build:
                raise UsageError("--export writes the image that --build builds; give both")
            else:
                wanted = _wanted(
                    workflow,
                    config,
                    set_,
                    include=include,
                    base=base,
                    tag=tag,
                    test_set=test_set,
                    offline=offline,
                )
                folder = to or Path(f"{wanted.workflow.name}-package")
                passed = _package(wanted, folder, runtime if build else None, export, told)
    finally:
        log.close()
    if json:
        typer.echo(told.answer)
    raise typer.Exit(0 if passed else DIFFERENT)


@dataclass
class _Told:
    """What is said on the way, and the one JSON object at the end."""

    json: bool
    quiet: bool
    answer: str = "{}"

    def __call__(self, said: str) -> None:
        if not self.quiet:
            typer.echo(said, err=self.json)

    def at_the_end(self, answer: object) -> None:
        import msgspec

        self.answer = msgspec.json.encode(answer).decode()


def _self_test(folder: Path, told: _Told) -> bool:
    from rtflow.packaging.proving import self_test

    tested = self_test(folder, told)
    for wrong in tested.wrong:
        told(wrong)
    told("the self-test passed" if tested.passed else "the self-test FAILED")
    told.at_the_end(tested)
    return tested.passed


def _wanted(
    workflow: Path,
    config: Path | None,
    set_: list[str] | None,
    *,
    include: list[Path] | None,
    test_set: list[str] | None,
    base: str,
    tag: str,
    offline: bool,
) -> Wanted:
    from rtflow.cli.shipped import workflow_path
    from rtflow.packaging.making import Wanted
    from rtflow.workflow_file import load_workflow

    loaded = load_workflow(workflow_path(workflow))
    settings = options.settings_for(loaded, config, None, set_)
    settings.require()
    return Wanted(
        loaded,
        settings,
        tuple(include or ()),
        base=base,
        tag=tag,
        test_settings=tuple(test_set or ()),
        offline=offline,
    )


def _package(wanted: Wanted, folder: Path, runtime: str | None, archive: Path | None, told: _Told) -> bool:
    """Make a package, and its image, if one is to be built; whether the image passed its self-test."""
    from rtflow.packaging import building, making
    from rtflow.packaging.manifest import image_name

    found = None if runtime is None else building.builder(runtime)  # before anything is done
    manifest = making.make_package(wanted, folder, told)
    told.at_the_end({"package": str(folder), "manifest": manifest})
    told(f"made {folder}")
    if found is None:
        return True
    if not wanted.offline:  # then all are there
        making.fetch_wheels(folder, told)
    image = building.build(folder, runtime=found, tag=wanted.tag or image_name(manifest.workflow))
    told(f"built {image.tag}, {image.size / 1e6:.0f} MB")
    image = building.try_image(image, runtime=found)
    building.note(folder, image)
    told.at_the_end({"package": str(folder), "manifest": manifest, "image": image})
    tested = image.tested
    if tested is None or not tested.passed:
        wrong = ["the image FAILED its self-test", *(tested.wrong if tested else ())]
        told(f"{'; '.join(wrong)}; {len(tested.differing) if tested else 0} volumes differ")
        return False
    told(f"the image passed its self-test: {tested.equal} volumes have the same values, bit for bit")
    if archive is not None:
        building.export(image, archive, runtime=found)
        told(f"wrote {archive}, {archive.stat().st_size / 1e6:.0f} MB")
    return True

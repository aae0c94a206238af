"""``rtflow bids-app wrap``: from an image to the file of an app."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtflow.cli import options
from rtflow.cli.audit import visible
from rtflow.errors import RtflowError, UsageError

if TYPE_CHECKING:
    from rtflow.bids_apps.descriptor import Descriptor
    from rtflow.bids_apps.runtime import Runtime

_COLD, _WARM = 5, 100


def command(
    image: Annotated[
        str, typer.Argument(help="The image, by tag or digest; with Apptainer also a .sif file.")
    ],
    name: Annotated[str, typer.Option(metavar="NAME", help="Of the app. Default: the image's.")] = "",
    level: Annotated[
        list[str] | None,
        typer.Option(metavar="LEVEL", help="Of analysis, where the app does not say; may be repeated."),
    ] = None,
    runtime: Annotated[
        str,
        typer.Option(
            metavar="podman|docker|apptainer",
            help="Default: RTFLOW_RUNTIME, else the first that works here. Not native, which has no image.",
        ),
    ] = "",
    descriptor: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A Boutiques descriptor, which is believed first.")
    ] = None,
    allow_tag: Annotated[
        bool, typer.Option("--allow-tag", help="Take an image whose digest is not known.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    bench: Annotated[
        bool,
        typer.Option(
            "--bench",
            help="Measure what one volume takes, started anew and by the worker; a file that is there is "
            "measured as it is, and stays.",
        ),
    ] = False,
    tr: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.01, help="Repetition time that --bench compares with.")
    ] = 2.0,
    json: options.Json = False,
) -> None:
    """Look at the image of a BIDS App, and write apps/NAME.toml, to review and to commit.

    The image is pinned by its digest. Options come from a Boutiques descriptor, the image's labels,
    --bids-exec-spec and --help; the app runs without network and rights for that, a minute at most each.
    """
    import msgspec

    from rtflow.bids_apps.descriptor import read_descriptor, write_descriptor
    from rtflow.bids_apps.runtime import find_runtime
    from rtflow.bids_apps.wrapping import Wrapped, app_name, wrap

    file = Path("apps") / f"{app_name(image, name)}.toml"
    there = file.exists() and not force
    if there and (not bench or level or descriptor):
        raise UsageError(
            f"{file} is there already, perhaps edited; --force replaces it, --name chooses another, --bench "
            "by itself measures it as it is"
        )
    if there:
        known = read_descriptor(file)
        if image not in (known.tag, known.image):
            raise UsageError(
                f"{file} is of the image {known.tag or known.image}, not of {image}; measure that one, or "
                "--name chooses another file"
            )
    chosen = find_runtime(runtime)
    if there:
        wrapped = Wrapped(known, ("as it is there; nothing is written",), ())
    else:
        wrapped = wrap(
            image, chosen, name=name, levels=level or [], boutiques=descriptor, allow_tag=allow_tag
        )
        write_descriptor(file, wrapped.descriptor)
    app = wrapped.descriptor
    took = _measured(app, chosen) if bench else {}
    if json:
        said = {"file": str(file), "sources": wrapped.sources, "left_out": wrapped.left_out, "times": took}
        typer.echo(msgspec.json.encode({**said, "app": msgspec.to_builtins(app)}).decode())
    else:
        typer.echo(f"{file}: {app.image}")
        for line in wrapped.sources:
            typer.echo(f"  {line}")
        for line in wrapped.left_out:
            typer.echo(f"  left out  {visible(line)}")
        if not app.options:
            typer.echo("  no option was found: give them behind '--', or write them into the file")
        for what, (median, p95) in took.items():
            typer.echo(f"  {what}: {median:.1f} ms a volume, p95 {p95:.1f} ms")
    if took:
        from rtflow.bids_apps.measuring import too_slow

        for line in too_slow(took, tr):
            typer.echo(f"rtflow: {line}", err=True)


def _measured(app: Descriptor, runtime: Runtime) -> dict[str, tuple[float, float]]:
    """Median and 95th percentile, in ms; what cannot be measured is told."""
    import tempfile

    from rtflow.bids_apps.measuring import cold_times, made_volumes, spread, worker_times
    from rtflow.cli.output import PythonLog

    took = {}
    log = PythonLog()
    try:
        with tempfile.TemporaryDirectory(prefix="rtflow-") as folder:
            try:
                took["started anew"] = spread(cold_times(app, runtime, Path(folder), _COLD))
                if app.worker is not None:
                    times = worker_times(app, runtime, Path(folder), made_volumes(_WARM))
                    took["by its worker"] = spread(times)
            except RtflowError as error:
                typer.echo(f"rtflow: not measured: {' '.join(str(error).split())}", err=True)
    finally:
        log.close()
    return took

"""``rtflow bids-app``: BIDS Apps, run in containers that protect this machine from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from rtflow.cli import bids_app_wrap, options
from rtflow.cli.audit import visible
from rtflow.errors import UsageError

if TYPE_CHECKING:
    from rtflow.bids_apps.descriptor import Descriptor
    from rtflow.bids_apps.running import AppRun, Outcome

HELP = "Wrap BIDS Apps, run them, and look at their files."
EXAMPLES = (
    "Examples: [cyan]rtflow bids-app wrap nipreps/mriqc:24.0.2[/cyan], "
    "[cyan]rtflow bids-app list[/cyan], [cyan]rtflow bids-app show mask[/cyan], "
    "[cyan]rtflow bids-app run mask ds ds/derivatives participant --participant-label 01[/cyan]"
)

app = typer.Typer(no_args_is_help=True)
app.command("wrap")(bids_app_wrap.command)

Name = Annotated[
    str, typer.Argument(help="Name of the app, NAME of apps/NAME.toml; or a path to such a file.")
]
Runtime = Annotated[
    str,
    typer.Option(
        metavar="podman|docker|apptainer|native",
        help="Default: RTFLOW_RUNTIME, else the first of the three containers' that works here.",
    ),
]


@app.command("list", epilog="Exit status: 0 all files could be read, 1 one could not; the rest is listed.")
def list_(json: options.Json = False) -> None:
    """List the apps of this folder (apps/*.toml), and those that come with rtflow."""
    from rtflow.bids_apps.descriptor import read_descriptor
    from rtflow.bids_apps.shelf import app_files
    from rtflow.errors import SettingsError

    found, broken = {}, []
    for path in app_files().values():
        try:
            found[path] = read_descriptor(path)
        except SettingsError as error:
            broken.append(" ".join(str(error).split()))
    if json:
        _print_json(
            [{"name": one.name, "image": one.image, "file": str(path)} for path, one in found.items()]
        )
    else:
        for path, one in found.items():
            typer.echo(f"{one.name}  {', '.join(one.levels)}; {one.tag or one.image or 'native'}; {path}")
        if not found and not broken:
            typer.echo("none yet: 'rtflow bids-app wrap IMAGE' makes the file of an app")
    for said in broken:
        typer.echo(f"rtflow: {visible(said)}", err=True)
    if broken:
        raise typer.Exit(1)


@app.command()
def show(name: Name, json: options.Json = False) -> None:
    """Show an app: its image, its options and where each was found, what it needs, and what it may do."""
    from rtflow.bids_apps.shelf import find_app

    found = find_app(name)
    if json:
        import msgspec

        _print_json(msgspec.to_builtins(found))
        return
    for line in _described(found):
        typer.echo(visible(line))


class _WithArgumentsBehind(TyperCommand):
    """Keeps what stands behind ``--`` apart, so that none of it is taken for the level."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        before, behind = args, []
        if "--" in args:
            at = args.index("--")
            before, behind = args[:at], args[at + 1 :]
        ctx.meta[_BEHIND] = behind
        return super().parse_args(ctx, before)


_BEHIND = "rtflow.behind"


@app.command(
    cls=_WithArgumentsBehind,
    epilog="Exit status: 0 the results stand, 1 the app or its runtime failed, 2 wrong usage.",
)
def run(
    context: typer.Context,
    name: Name,
    bids_dir: Annotated[Path, typer.Argument(help="The data set; the app may only read it.")],
    out: Annotated[Path, typer.Argument(help="The folder of derivatives; results go into its folder NAME.")],
    level: Annotated[str, typer.Argument(help="Level of the analysis: participant, group.")] = "participant",
    extra: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- ARGUMENTS]", help="Behind --: what the app's file does not know, as it is."
        ),
    ] = None,
    participant_label: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL", help="A participant, without sub-; may be repeated. Default all."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="An option of the app by its name; may be repeated."
        ),
    ] = None,
    mount: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="What the app needs beside the data set, such as a licence."),
    ] = None,
    runtime: Runtime = "",
    keep_work: Annotated[
        bool, typer.Option("--keep-work", help="Keep what a run that failed wrote, beside its log.")
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run an app on a data set, with no rights but to read it and to write its results.

    What is written is put into OUT/NAME when the app has ended well, in one step. Ctrl-C ends the app, and
    leaves what was there before.
    """
    from rtflow.bids_apps.arguments import from_text
    from rtflow.bids_apps.running import AppRun
    from rtflow.bids_apps.runtime import find_runtime
    from rtflow.bids_apps.shelf import find_app

    found = find_app(name)
    if extra:
        raise UsageError(
            f"{extra[0]!r} belongs to nothing: several participants are --participant-label 01 "
            "--participant-label 02, an option of the app is --set NAME=VALUE, and what its file does not "
            "know goes behind --"
        )
    values = from_text(found, set_ or [])
    if participant_label:
        values["participant_label"] = list(participant_label)
    asked = AppRun(
        descriptor=found,
        runtime=find_runtime(runtime),
        bids_dir=bids_dir,
        out=out,
        level=level,
        values=values,
        extra=tuple(context.meta[_BEHIND]),
        mounts=_mounts(mount or []),
        keep_work=keep_work,
    )
    outcome = _run(asked, shown=not quiet and not json)
    if json:
        _print_json(
            {
                "name": found.name,
                "runtime": asked.runtime.name,
                "image": found.image,
                "seconds": round(outcome.seconds, 3),
                "files": outcome.files,
                "folder": str(outcome.folder),
                "log": str(outcome.log),
                "argv": outcome.argv,
                "notes": outcome.notes,
            }
        )
    elif not quiet:
        typer.echo(f"{found.name} done in {outcome.seconds:.1f} s: {outcome.files} files in {outcome.folder}")
        typer.echo(f"log  {outcome.log}")
    if not json:
        for note in outcome.notes:
            typer.echo(visible(note), err=True)


def _run(asked: AppRun, *, shown: bool) -> Outcome:
    """Run it; whoever looks at a terminal sees how long, and what it said last."""
    import sys

    from rich.console import Console
    from rich.text import Text

    from rtflow.bids_apps.running import run_app
    from rtflow.cli.interrupt import interrupt, on_interrupt, say

    console = Console(stderr=True)
    title = f"{asked.descriptor.name} by {asked.runtime.name}"
    with on_interrupt(interrupt, lambda: say("the app is being ended, a moment")):
        try:
            if not shown or not sys.stderr.isatty():
                return run_app(
                    asked, (lambda line: typer.echo(line, err=True)) if shown else (lambda line: None)
                )
            with console.status(title) as status:
                return run_app(asked, lambda line: status.update(Text(f"{title}: {line[:100]}")))
        except KeyboardInterrupt:
            say(f"{asked.descriptor.name} was ended; earlier results, if there are any, stand as they were")
            raise typer.Exit(1) from None


def _mounts(texts: list[str]) -> dict[str, Path]:
    given = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or not path:
            raise UsageError(f"--mount {text}: expected NAME=PATH, such as licence=~/licence.txt")
        given[name] = Path(path)
    return given


def _described(found: Descriptor) -> list[str]:
    lines = [f"{found.name} {found.version}".rstrip()]
    lines += (
        [f"image    {found.image}"] if found.image else ["image    none: it is installed on this machine"]
    )
    lines += [f"tag      {found.tag}, looked at {found.wrapped or 'some day'}"] if found.tag else []
    lines += [f"levels   {', '.join(found.levels)}"]
    limits = found.limits
    said = [limits.memory] if limits.memory else []
    said += [f"{limits.cpus:g} processors"] if limits.cpus else []
    said += [f"{limits.seconds:g} s"] if limits.seconds else []
    lines += [f"limits   {', '.join(said) or 'none'}"]
    open_ = [name for name in ("network", "writable_root") if getattr(found.relaxed, name)]
    lines += [f"relaxed  {', '.join(open_) or 'nothing'}"]
    if found.worker:
        gives = ", ".join(f"{name} ({kind})" for name, kind in found.worker.outputs.items())
        lines.append(f"worker   {' '.join(found.worker.command)}")
        lines.append(f"outputs  {gives or 'none'}")
    for name, mount in found.mounts.items():
        need = "needed" if mount.required else "may be given"
        lines.append(f"mount    {name}: {mount.inside}, {need}. {mount.help}".rstrip())
    for name, option in found.options.items():
        kind = " or ".join(option.choices) if option.choices else option.kind
        need = ", needed" if option.required else ""
        need += f", default {_plain(option.default)}" if option.default is not None else ""
        lines.append(
            f"option   {name}: {option.flag} ({kind}{need}; from {option.origin}). {option.help}".rstrip()
        )
    return lines


def _plain(value: Any) -> str:
    """As it would be typed: true for True, a list with commas."""
    if isinstance(value, tuple | list):
        return ",".join(_plain(one) for one in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _print_json(value: Any) -> None:
    import msgspec

    typer.echo(msgspec.json.encode(value).decode())

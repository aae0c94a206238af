"""Write the generated parts of docs/reference.md anew: commands, settings, nodes, documents, errors.

    python docs/make_reference.py

They stand between lines ``<!-- begin NAME -->`` and ``<!-- end NAME -->``; all else is left as it is.
A test holds that the page is up to date.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import tomli
import typer
from msgspec import inspect as types
from nipype.interfaces.base import isdefined
from typer.core import TyperArgument

import rtflow.documents as documents
import rtflow.errors as errors
import rtflow.nodes as nodes
from rtflow.cli.main import app
from rtflow.cli.shipped import shipped_workflows
from rtflow.design import DesignSettings
from rtflow.server.messages import Value
from rtflow.setting_schema import meanings, setting_meanings
from rtflow.setting_types import bare, in_words
from rtflow.settings import BidsSettings, Limits, RunSettings
from rtflow.source_settings import (
    AgentSource,
    BidsSource,
    DicomSource,
    FolderSource,
    JournalSource,
    OpenNeuroSource,
    SimulateSource,
    SourceTable,
)
from rtflow.stream import RunContext, StreamOptions, StreamPlugin

PAGE = Path(__file__).with_name("reference.md")


def made_anew(text: str) -> str:
    """The page with its generated parts as they should be."""
    for name, make in PARTS.items():
        between = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        made = make()
        text, count = between.subn(lambda found: found.group(1) + "\n" + made + "\n" + found.group(2), text)  # noqa: B023
        if count != 1:
            raise SystemExit(f"{PAGE.name} should have one pair of lines for {name}, and has {count}")
    return text


# Docstrings


def prose(thing: object) -> str:
    """What a docstring says before its sections, as Markdown."""
    text = re.split(r"\n(?=[A-Z]\w+\n-{3,}\n)", inspect.getdoc(thing) or "")[0]
    return markdown(re.split(r"\n\s*>>> ", text)[0]).strip()


def said_of(thing: object) -> dict[str, str]:
    """What the docstring's section on parameters says of each, as Markdown."""
    return {name: markdown(said) for name, said in meanings(thing).items()}


def markdown(text: str) -> str:
    """Docstring markup as Markdown: code and names in single backticks."""
    return re.sub(r"`?`([^`]+)``?", lambda found: f"`{found.group(1).removeprefix('rtflow.')}`", text)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    lines = [tuple(head)]
    lines += [("---",) * len(lines[0]), *map(tuple, rows)]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def code(text: str) -> str:
    """As code, if there is any."""
    return f"`{text}`" if text else ""


# Commands


def commands() -> str:
    """Every command, its arguments and its options."""
    made = []
    for depth, name, command in all_commands(typer.main.get_command(app), "rtflow"):
        made.append(f"{'#' * depth} {name}\n\n{command.help}\n")
        if hasattr(command, "commands"):
            continue
        rows = []
        for parameter in command.params:
            if getattr(parameter, "hidden", False):  # of one rtflow for another, not for a person
                continue
            argument = isinstance(parameter, TyperArgument)
            shown = parameter.metavar or parameter.name.upper()
            if argument:
                written = shown.upper() if parameter.required else f"[{shown.upper()}]"
            else:
                written = ", ".join(sorted(parameter.opts, key=len))
                written += "" if parameter.is_flag else f" {shown}"
            default = parameter.default
            told = re.sub(r"\[/?bold\]", "`", parameter.help)
            rows.append(
                (code(written), told + (f" Default `{default}`." if default and not argument else ""))
            )
        made.append(table(("", ""), rows))
    return "\n".join(made)


def all_commands(group: Any, above: str, depth: int = 3) -> Iterator[tuple[int, str, Any]]:
    """Every command below a group, with those below it: depth of its heading, all its words, itself."""
    for name, command in group.commands.items():
        yield depth, f"{above} {name}", command
        if hasattr(command, "commands"):
            yield from all_commands(command, f"{above} {name}", depth + 1)


# Settings


def settings_table(struct: type, shipped: dict[str, Any] | None = None, skip: Iterable[str] = ()) -> str:
    """Name, type, default and meaning of the settings in a table; with what a TOML says otherwise."""
    said = {name: markdown(text) for name, text in setting_meanings(struct).items()}
    fields = types.type_info(struct).fields  # type: ignore[union-attr]
    rows = []
    for field in fields:
        if field.name in skip:
            continue
        default = default_of(field)
        value = (shipped or {}).get(field.name)
        if value is not None and as_toml(value) != default:
            default += f"; in the TOML {as_toml(value)}"
        kind = bare(field.type)
        meaning = said.get(field.name) or (prose(kind.cls) if isinstance(kind, types.StructType) else "")
        assert meaning, f"{struct.__name__}.{field.name} is not described"
        rows.append((code(field.name), in_words(field.type), default, meaning))
    return table(("setting", "type", "default", "meaning"), rows)


def default_of(field: types.Field) -> str:
    """The default of a setting as one writes it."""
    if field.required:
        return "required"
    if isinstance(bare(field.type), types.StructType) or field.default_factory is not msgspec.NODEFAULT:
        return ""
    return as_toml(field.default)


def as_toml(value: Any) -> str:
    """A value as TOML writes it, as code; None as the text that stands for it."""
    if isinstance(value, dict):
        return ""
    if isinstance(value, (list, tuple)):
        return code("[" + ", ".join(as_toml(item).strip("`") for item in value) + "]")
    if value is None:
        return "none"
    if isinstance(value, str):
        return code(f'"{value}"')
    return code(str(value).lower() if isinstance(value, bool) else f"{value:g}")


def shipped_toml(workflow: Any) -> dict[str, Any]:
    """The settings that come with a workflow."""
    return tomli.loads(Path(workflow.__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def run_settings() -> str:
    """The settings of every run, and of its tables."""
    return "\n".join(
        (
            settings_table(RunSettings),
            "`[bids]`: names in the raw data set, and what the headers cannot know.\n",
            settings_table(BidsSettings),
            "`[limits]`: what the run may lose and still end with status 0.\n",
            settings_table(Limits),
            f"`[design]`, of workflows that have one. {prose(DesignSettings)}\n",
            settings_table(DesignSettings),
        )
    )


def workflow_settings() -> str:
    """What each workflow adds to them."""
    made = []
    common = {field.name for field in types.type_info(RunSettings).fields}  # type: ignore[union-attr]
    for name in shipped_workflows():
        workflow = import_module(f"rtflow.workflows.{name}")
        shipped = shipped_toml(workflow)
        made.append(f"### {name}\n\n{prose(workflow)}\n")
        made.append(settings_table(workflow.Settings, shipped, skip=common - {"dummy_volumes"}))
        for table_name, struct in tables_of(workflow.Settings, common):
            made.append(f"`[{table_name}]`: {prose(struct)}\n")
            made.append(settings_table(struct, shipped.get(table_name)))
        source = ", ".join(f"{code(key)} = {as_toml(value)}" for key, value in shipped["source"].items())
        made.append(f"Its `[source]`: {source}.\n")
    return "\n".join(made)


def tables_of(settings: type, common: Iterable[str]) -> list[tuple[str, type]]:
    """The tables that a workflow has of its own, by their names; `[design]` is described once for all."""
    fields = types.type_info(settings).fields  # type: ignore[union-attr]
    found = [(field.name, bare(field.type)) for field in fields if field.name not in common]
    return [
        (name, kind.cls)
        for name, kind in found
        if isinstance(kind, types.StructType) and kind.cls is not DesignSettings
    ]


def sources() -> str:
    """The kinds of sources and their options."""
    made = [settings_table(SourceTable)]
    common = {field.name for field in types.type_info(SourceTable).fields}  # type: ignore[union-attr]
    for source in (
        FolderSource,
        DicomSource,
        AgentSource,
        SimulateSource,
        BidsSource,
        OpenNeuroSource,
        JournalSource,
    ):
        kind = types.type_info(source).tag  # type: ignore[union-attr]
        made += [f"### {kind}:\n\n{prose(source)}\n", settings_table(source, skip=common)]
    return "\n".join(made)


# Nodes


def all_nodes() -> str:
    """Every node, its inputs and outputs."""
    made = []
    for name in nodes.__all__:
        interface = getattr(nodes, name)
        stateful = " Stateful." if getattr(interface, "stateful", False) else ""
        made.append(f"### {name}\n\n{prose(interface).split(chr(10) * 2)[0]}{stateful}\n")
        rows = [("in", *row) for row in traits_of(interface.input_spec())]
        rows += [("out", *row) for row in traits_of(interface.output_spec())]
        made.append(table(("", "name", "type", "default", "meaning"), rows))
    return "\n".join(made)


def traits_of(spec: Any) -> list[tuple[str, str, str, str]]:
    """Name, type, default and meaning of each trait, in the order in which they are declared."""
    rows = []
    for name in (name for name in vars(type(spec))["__base_traits__"] if not name.startswith("trait_")):
        trait = spec.trait(name)
        value = getattr(spec, name)
        default = "required" if trait.mandatory else as_toml(value) if isdefined(value) else ""
        rows.append((code(name), kind_of(trait), default, markdown(trait.desc or "")))
    return rows


def kind_of(trait: Any) -> str:
    """The type of a trait in a word."""
    kind = trait.trait_type
    match type(kind).__name__:
        case "Enum":
            return " or ".join(f"'{value}'" for value in kind.values)
        case "Any":
            return "any"
        case "List":
            return "list"
        case "Range":
            return "whole number" if kind._type_desc == "an integer" else "number"
        case name:
            words = {
                "Str": "text",
                "Float": "number",
                "Int": "whole number",
                "Bool": "true or false",
                "Dict": "table",
                "Tuple": "list",
                "File": "path",
                "Directory": "path",
            }
            return words[name]


# Structures of Python


def fields_of(struct: type, skip: Iterable[str] = ()) -> str:
    """Name, type and, where the docstring says it, meaning of the fields of a document."""
    said = said_of(struct)
    rows = []
    for name, annotation in annotations(struct).items():
        if name not in skip:
            rows.append((code(name), code(annotation), *([said[name]] if said else [])))
    return table(("field", "type", "meaning")[: 2 + bool(said)], rows)


def annotations(struct: type) -> dict[str, str]:
    """Fields of a class and of those it derives from, with their types as they stand in the source."""
    found: dict[str, str] = {}
    for base in reversed(struct.__mro__):
        found |= {
            n: str(a) for n, a in vars(base).get("__annotations__", {}).items() if not n.startswith("__")
        }
    return {name: text for name, text in found.items() if "ClassVar" not in text}


def all_documents() -> str:
    """Every document and its fields."""
    common = annotations(documents.Document)
    aliases = "".join(
        f"- `{name}`: {code(str(getattr(documents, name)).removeprefix('typing.'))}\n"
        for name in ("Scalar", "Status", "Ending")
    )
    made = [
        table(("field", "type"), ((code(name), code(kind)) for name, kind in common.items())),
        "In the tables below:\n",
        aliases,
    ]
    for name in (
        "RunStart",
        "VolumeReceived",
        "VolumeMissing",
        "Result",
        "Delivered",
        "Event",
        "RunStop",
        "PartRecord",
    ):
        struct = getattr(documents, name)
        made += [f"### {name}\n\n{prose(struct)}\n", fields_of(struct, skip=common)]
    return "\n".join(made)


def parameters(thing: type) -> str:
    """The parameters of a class, as its docstring has them."""
    return table(("parameter", "meaning"), ((code(name), said) for name, said in said_of(thing).items()))


def options() -> str:
    """Options of a node, with their defaults."""
    said = said_of(StreamOptions)
    fields = types.type_info(StreamOptions).fields  # type: ignore[union-attr]
    rows = ((code(f.name), in_words(f.type), default_of(f), said[f.name]) for f in fields)
    return table(("option", "type", "default", "meaning"), rows)


def error_tree() -> str:
    """The tree of errors."""
    tree = (errors.__doc__ or "").partition("::\n\n")[2].partition("\n\n")[0]
    return "```text\n" + inspect.cleandoc(tree) + "\n```\n"


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "run settings": run_settings,
    "workflow settings": workflow_settings,
    "sources": sources,
    "nodes": all_nodes,
    "feedback": lambda: fields_of(Value),
    "stream options": options,
    "plugin": lambda: parameters(StreamPlugin),
    "context": lambda: parameters(RunContext),
    "documents": all_documents,
    "errors": error_tree,
}

if __name__ == "__main__":
    PAGE.write_text(made_anew(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

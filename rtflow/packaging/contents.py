"""What goes into a package: the workflow file, what it imports from beside it, its settings, files they name.

Nothing else goes in: there is no list of what to leave out that could forget something.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from rtflow.bids_apps.descriptor import read_descriptor
from rtflow.errors import PackageError
from rtflow.named_files import as_kept, to_keep
from rtflow.settings import RunSettings, settings_to_builtins
from rtflow.toml_text import to_toml
from rtflow.workflow_file import WorkflowFile

WORKFLOW = PurePosixPath("workflow")
"""The folder of a package that holds what is the lab's."""
_NAMED = "workflow/files.json"
# Of a folder that is named as a whole: what Python writes, and histories, which nothing looks into.
_LEFT_OUT = frozenset({"__pycache__", ".git", ".hg", ".svn"})


@dataclass(frozen=True)
class Imported:
    """What a workflow file imports.

    Parameters
    ----------
    local
        Files of its own, itself first.
    packages
        Distributions that others are from.
    """

    local: tuple[Path, ...]
    packages: frozenset[str]


def imported(path: Path) -> Imported:
    """What a workflow file, and what it imports from beside it, imports.

    Parameters
    ----------
    path
        The workflow file.

    Raises
    ------
    PackageError
        If a module is neither installed nor beside the file, unless it is imported in a ``try``.
    """
    providers = metadata.packages_distributions()
    local: dict[Path, None] = {}
    packages: set[str] = set()
    waiting = [path]
    while waiting:
        file = waiting.pop(0)
        if file in local:
            continue
        local[file] = None
        try:
            tree = ast.parse(file.read_bytes(), str(file))
        except (OSError, SyntaxError) as error:
            raise PackageError(f"{file} cannot be read as Python ({error}); correct it") from None
        for module, line, optional in _imports(tree):
            top = module.partition(".")[0]
            beside = [path.parent / f"{top}.py", *_package(path.parent / top)]
            if top == "rtflow":  # which is running: its source may stand beside the file
                packages.add(top)
            elif found := [one for one in beside if one.is_file()]:
                waiting += found
            elif top in providers:
                packages.update(providers[top])
            elif not optional and top not in sys.stdlib_module_names:
                raise PackageError(
                    f"{file} line {line} imports {top}, which is neither installed by a package nor beside "
                    f"{path}; install it, or put it there"
                )
    return Imported(tuple(local), frozenset(packages))


def _imports(tree: ast.AST, optional: bool = False) -> Iterator[tuple[str, int, bool]]:
    """Module, line, and whether it may be missing, of each import; relative ones are of a package beside."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno, optional) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, node.lineno, optional
        yield from _imports(node, optional or isinstance(node, ast.Try))


def _package(folder: Path) -> list[Path]:
    if not (folder / "__init__.py").is_file():
        return []
    return [file for file in sorted(folder.rglob("*.py")) if "__pycache__" not in file.parts]


def descriptors(paths: Iterable[Path]) -> dict[str, str]:
    """Name to image of each BIDS App that is described, by digest.

    Raises
    ------
    PackageError
        If one has no digest: it would be another image tomorrow.
    """
    found = {}
    for path in paths:
        descriptor = read_descriptor(path)
        if descriptor.image and not descriptor.digest:
            raise PackageError(
                f"{path}: image {descriptor.image!r} has no digest, so that it may be another one tomorrow; "
                "wrap the app again by 'rtflow bids-app wrap'"
            )
        found[descriptor.name] = descriptor.image or "native"
    return found


def lay_out(
    workflow: WorkflowFile, settings: RunSettings, include: Iterable[Path], folder: Path
) -> dict[str, Path]:
    """Write the lab's part of a package into its folder.

    Parameters
    ----------
    workflow, settings
        What is packaged; files that settings name go along, and the settings name the copies.
    include
        Further files, and folders with all that is in them, to stand beside the workflow file.
    folder
        The package.

    Returns
    -------
    dict
        Name in the package to where it came from; the settings, which are written here, come from their copy.

    Raises
    ------
    PackageError
        If a file is missing, or would stand where another one does.
    """
    base = workflow.path.parent
    sources: dict[PurePosixPath, Path] = {}
    for path in imported(workflow.path).local:
        sources[WORKFLOW / path.relative_to(base).as_posix()] = path
    for path in sorted((base / "apps").glob("*.toml")):
        sources[WORKFLOW / "apps" / path.name] = path
    for given in include:
        for path in _files(given):
            beside = given.resolve().name if given.name == ".." else given.name
            inside = WORKFLOW / beside / path.relative_to(given).as_posix()
            if sources.setdefault(inside, path).resolve() != path.resolve():
                raise PackageError(f"{path} and {sources[inside]} would both be {inside}; rename one")
    values = settings_to_builtins(settings) | {"work_dir": ""}
    for name, data in to_keep(workflow.settings_type, values).items():
        _write(folder / name, data)
        if name != _NAMED:
            sources.setdefault(PurePosixPath(name), folder / name)
            continue
        for setting, one in msgspec.json.decode(data, type=dict[str, dict[str, Any]]).items():
            if not one["copy"]:
                raise PackageError(f"{one['path']} ({setting}) is too large to be packaged")
            sources[PurePosixPath(one["copy"])] = Path(one["path"])
    for inside, path in sources.items():
        if path != folder / inside:
            try:
                _write(folder / inside, path.read_bytes())
            except OSError as error:
                raise PackageError(f"{path}: {error.strerror or error}; it belongs to the workflow") from None
    kept = as_kept(folder, workflow.settings_type, values)
    (folder / _NAMED).unlink(missing_ok=True)  # it says where this machine has them
    inside = WORKFLOW / f"{workflow.name}.toml"
    _write(folder / inside, to_toml(_relative(kept, folder / WORKFLOW)).encode())
    sources[inside] = folder / inside
    return {str(inside): path for inside, path in sorted(sources.items())}


def _relative(values: Any, folder: Path) -> Any:
    """Settings in which what stands in a folder is named from there, as paths in a TOML file are."""
    if isinstance(values, dict):
        return {key: _relative(value, folder) for key, value in values.items()}
    if isinstance(values, list):
        return [_relative(value, folder) for value in values]
    return values.removeprefix(f"{folder}/") if isinstance(values, str) else values


def _files(given: Path) -> list[Path]:
    if not given.exists():
        raise PackageError(f"{given} does not exist; --include takes a file or a folder")
    if given.is_file():
        return [given]
    found, inside = [], given.resolve()
    for path in sorted(given.rglob("*")):
        if _LEFT_OUT.intersection(path.relative_to(given).parts):
            continue
        real = path.resolve()
        if path.is_symlink() and (not real.is_file() or not real.is_relative_to(inside)):
            raise PackageError(f"{path} is a link to {real}, no file within {given}; put a copy in its place")
        if path.is_file():
            found.append(path)
    return found


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)

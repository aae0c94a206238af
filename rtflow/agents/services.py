"""An experimenter's own class as a service: its public methods, and nothing else, can be called by nodes."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from rtflow.errors import UsageError, in_words
from rtflow.server.signatures import LONGEST_NAME, LONGEST_TYPE, MOST_PARAMETERS, Parameter, Signature
from rtflow.server.signatures import in_words as type_in_words
from rtflow.server.wire import FRAME_LIMIT, MOST_METHODS, Hello, encode

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,31}")
_TAKEN = frozenset({"files", "agent"})


@dataclass(frozen=True)
class Method:
    """A method that can be called, and what it takes and gives."""

    call: Callable[..., Any]
    signature: Signature


def load_service(text: str) -> dict[str, Method]:
    """The methods of a service, by the names that nodes call them by: ``module.method``.

    Parameters
    ----------
    text
        ``module:Class``; the module may stand in the working folder. The class is called without arguments.

    Returns
    -------
    dict of str to Method
        Functions of the class, and of classes of its own that it derives from, whose names do not begin with
        an underscore.

    Raises
    ------
    UsageError
        If there is no such class, or one of those methods does not say what it takes and gives.
    """
    module_name, _, class_name = text.partition(":")
    name = module_name.rpartition(".")[2]
    if not class_name or not _NAME.fullmatch(name) or name.startswith("_") or name in _TAKEN:
        raise UsageError(
            f"--service {text}: expected MODULE:CLASS, the module's name in lower-case letters and digits"
        )
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module_name), class_name)
        if not inspect.isclass(found):
            raise TypeError(f"{class_name} is no class")
        service = found()
    except Exception as error:
        raise UsageError(f"--service {text}: {in_words(error)}") from error
    methods = {}
    for method in sorted({one for base in found.__mro__ if base is not object for one in vars(base)}):
        function = inspect.getattr_static(found, method)
        if method.startswith("_") or not inspect.isfunction(function):
            continue
        if not _NAME.fullmatch(method):
            raise UsageError(f"--service {text}: {method} should be named in lower-case letters and digits")
        methods[f"{name}.{method}"] = Method(
            getattr(service, method), _signature(function, f"{text}.{method}")
        )
    if not methods:
        raise UsageError(f"--service {text}: it has no public method")
    return methods


def load_services(texts: list[str]) -> dict[str, Method]:
    """The methods of several services.

    Raises
    ------
    UsageError
        As for `load_service`, if two have the same name, or if they are more than the server can be told.
    """
    methods: dict[str, Method] = {}
    for text in texts:
        more = load_service(text)
        if methods.keys() & more.keys():
            raise UsageError(f"--service {text}: another service is of the same name")
        methods |= more
    _require_told(declaration(methods))
    return methods


def declaration(methods: dict[str, Method]) -> dict[str, Signature]:
    """What the server is told of them."""
    return {name: method.signature for name, method in methods.items()}


def _require_told(declared: dict[str, Signature]) -> None:
    for name, signature in declared.items():
        try:
            msgspec.convert(msgspec.to_builtins(signature), Signature)
        except msgspec.ValidationError as error:
            raise UsageError(
                f"--service: {name} is more than the server can be told ({error}); at most {MOST_PARAMETERS} "
                f"parameters, with names of {LONGEST_NAME} and types of {LONGEST_TYPE} characters"
            ) from None
    size = len(encode(Hello(methods=declared), text=True))
    if len(declared) > MOST_METHODS or size > FRAME_LIMIT // 2:
        raise UsageError(
            f"--service: {len(declared)} methods ({size} bytes of names and types) are more than the server "
            f"can be told; at most {MOST_METHODS} in {FRAME_LIMIT // 2} bytes: begin the names of those that "
            "nodes do not call with an underscore"
        )


def _signature(function: Callable[..., Any], what: str) -> Signature:
    try:
        hints = get_type_hints(function)
    except Exception as error:
        raise UsageError(f"--service {what}: its annotations cannot be read ({in_words(error)})") from None
    parameters = []
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise UsageError(f"--service {what}: each parameter should have a name of its own")
        if parameter.name not in hints or parameter.name == "timeout":
            raise UsageError(
                f"--service {what}: parameter {parameter.name} needs a type, and may not be called timeout; "
                "or begin the method's name with an underscore"
            )
        optional = parameter.default is not parameter.empty
        parameters.append(Parameter(parameter.name, type_in_words(hints[parameter.name]), optional))
    if "return" not in hints:
        raise UsageError(f"--service {what}: it should say what it returns, such as -> None")
    return Signature(tuple(parameters), type_in_words(hints["return"]))

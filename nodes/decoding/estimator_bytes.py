"""A fitted decoder as arrays and back: estimators by skops, never by pickle."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.errors import SessionError, UsageError
from rtflow.nodes.decoding import classifier
from rtflow.nodes.decoding.classifier import Decoder
from rtflow.nodes.decoding.estimator import FittedDecoder

AnyDecoder = Decoder | FittedDecoder


def untrusted(data: bytes) -> list[str]:
    """Names of what an estimator's bytes hold and nobody should load.

    skops knows which types of scikit-learn, numpy and scipy are harmless. Beyond these, classes of
    scikit-learn are taken (trees, for instance), and its functions that score features. A file may name any
    function of numpy or scipy, and some of them run what they are given: these are refused.

    Raises
    ------
    SessionError
        If it is no estimator that skops wrote.
    """
    from skops.io import get_untrusted_types

    try:
        names: list[str] = get_untrusted_types(data=data)
    # A damaged or made-up file fails in many ways, all of them meaning the same.
    except Exception as error:
        raise SessionError(
            f"the estimator cannot be read ({type(error).__name__}: {error}); train it anew"
        ) from None
    return [name for name in names if not _harmless(name)]


def _harmless(name: str) -> bool:
    module, _, attribute = name.rpartition(".")
    if module.split(".")[0] != "sklearn":
        return False
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ImportError:
        return False
    # What a module of scikit-learn has imported from elsewhere has its name there, but is not its own.
    if not str(getattr(found, "__module__", "")).startswith("sklearn."):
        return False
    return isinstance(found, type) or module.startswith("sklearn.feature_selection.")


def dump(estimator: Any) -> NDArray[np.uint8]:
    """The bytes of an estimator, as an array.

    Raises
    ------
    UsageError
        If no later run would load it, naming the types.
    """
    from skops.io import dumps

    data: bytes = dumps(estimator)
    if names := untrusted(data):
        raise UsageError(
            f"the estimator holds {', '.join(names)}, which no run would load from a file; keep to parts of "
            "scikit-learn, or leave save away"
        )
    return np.frombuffer(data, dtype=np.uint8)


def parse(data: NDArray[np.uint8]) -> Any:
    """The estimator whose bytes `dump` gave.

    Raises
    ------
    SessionError
        If it holds anything but parts of scikit-learn, numpy and scipy that are known to be harmless,
        naming it; if it cannot be read.
    """
    from skops.io import get_untrusted_types, loads

    whole = data.tobytes()
    if names := untrusted(whole):
        raise SessionError(
            f"the estimator holds {', '.join(names)}, and is not loaded: only parts of scikit-learn, numpy "
            "and scipy are taken from a file; train it anew with an estimator of these"
        )
    try:
        return loads(whole, trusted=get_untrusted_types(data=whole))
    except Exception as error:
        raise SessionError(
            f"the estimator cannot be read ({type(error).__name__}: {error}); train it anew"
        ) from None


def pack(decoder: AnyDecoder) -> dict[str, NDArray[Any]]:
    """The arrays of a decoder, as a session item keeps them."""
    if isinstance(decoder, Decoder):
        return classifier.pack(decoder)
    return {
        "mean": decoder.mean,
        "deviation": decoder.deviation,
        "within": np.array(decoder.within),
        "estimator": dump(decoder.estimator),
    }


def unpack(arrays: Mapping[str, NDArray[Any]], conditions: Sequence[str]) -> AnyDecoder:
    """The decoder whose arrays `pack` gave.

    Raises
    ------
    SessionError
        As of `parse`, and if arrays are missing.
    """
    names = tuple(conditions)
    try:
        if "estimator" not in arrays:
            return classifier.unpack(arrays, names)
        estimator = parse(arrays["estimator"])
        absent = sorted(set(names) - {str(name) for name in estimator.classes_})
        if absent:
            raise SessionError(f"the estimator knows no {', '.join(absent)}; train it anew")
        return FittedDecoder(names, arrays["mean"], arrays["deviation"], bool(arrays["within"]), estimator)
    except KeyError as error:
        raise SessionError(f"this is no decoder: it lacks {error}; name one that Decode saved") from None


def require_agreement(name: str, facts: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Refuse a decoder that was trained otherwise than this run would use it.

    Parameters
    ----------
    name
        Of the item, for the message.
    facts
        Of the item.
    asked
        What they must be.

    Raises
    ------
    SessionError
        Naming the first difference.
    """
    for fact, ours in asked.items():
        if facts.get(fact) != ours:
            raise SessionError(
                f"session item {name!r} was trained with {fact} = {facts.get(fact)!r}, "
                f"this run has {ours!r}; set the same"
            )


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """What was noted otherwise when a decoder was trained, in words; what one side lacks is no difference.

    Examples
    --------
    >>> differences({"lag": 4.0, "task": "faces"}, {"lag": 5.0, "seed": 1})
    ['the decoder was trained with lag = 4.0, this run has 5.0']
    """
    return [
        f"the decoder was trained with {name} = {theirs[name]!r}, this run has {value!r}"
        for name, value in ours.items()
        if name in theirs and theirs[name] != value
    ]

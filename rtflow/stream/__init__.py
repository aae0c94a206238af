"""The stream engine: a Nipype workflow that runs once per volume."""

from rtflow.stream.compile import inspect
from rtflow.stream.given import Resumed
from rtflow.stream.interface import RunContext, StreamInterface, StreamSink, StreamSource
from rtflow.stream.options import StreamOptions, stream
from rtflow.stream.plan import Plan, PlannedNode
from rtflow.stream.plugin import StreamPlugin

__all__ = [
    "Plan",
    "PlannedNode",
    "Resumed",
    "RunContext",
    "StreamInterface",
    "StreamOptions",
    "StreamPlugin",
    "StreamSink",
    "StreamSource",
    "inspect",
    "stream",
]

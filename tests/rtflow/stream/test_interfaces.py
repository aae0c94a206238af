"""Stock interfaces and command lines, in threads and in worker processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from nipype import Function, Node
from nipype.interfaces.base import (
    BaseInterface,
    BaseInterfaceInputSpec,
    CommandLine,
    CommandLineInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)
from streamtools import (
    HalfOutput,
    OneInput,
    counting,
    read_text,
    run,
    values,
)

from rtflow.documents import Event
from rtflow.stream import stream


class Half(BaseInterface):
    input_spec = OneInput
    output_spec = HalfOutput

    def _run_interface(self, runtime: Any) -> Any:
        self._half = self.inputs.number / 2
        return runtime

    def _list_outputs(self) -> dict[str, Any]:
        return {"half": self._half}


class _ThreeOutput(TraitedSpec):
    third = traits.Float()
    odd = traits.Float()


class Third(SimpleInterface):
    input_spec = OneInput
    output_spec = _ThreeOutput

    def _run_interface(self, runtime: Any) -> Any:
        self._results["third"] = self.inputs.number / 3
        if self.inputs.number % 2:
            self._results["odd"] = self.inputs.number
        return runtime


def test_stock_base_and_simple_interfaces(tmp_path):
    flow = counting(tmp_path, 3)
    number = flow.get_node("number")
    flow.connect(number, "number", Node(Half(), name="half"), "number")
    flow.connect(number, "number", Node(Third(), name="third"), "number")
    plugin = run(flow, tmp_path)
    assert values(plugin, "half.half") == [0.5, 1.0, 1.5]
    assert values(plugin, "third.odd") == [1.0, None, 3.0]  # no value of an earlier volume leaks


class _CopyInput(CommandLineInputSpec):
    text = traits.Str(argstr="%s", position=0, mandatory=True)
    out_file = File("out.txt", usedefault=True, argstr="> %s", position=1)


class _CopyOutput(TraitedSpec):
    out_file = File(exists=True)


class Echo(CommandLine):
    _cmd = "echo"
    input_spec = _CopyInput
    output_spec = _CopyOutput

    def _list_outputs(self) -> dict[str, Any]:
        return {"out_file": str(Path.cwd() / self.inputs.out_file)}


def as_text(number: int) -> str:
    return f"volume {number}"


def test_a_command_line_has_a_folder_for_each_volume(tmp_path):
    flow = counting(tmp_path, 3)
    echo = Node(Echo(), name="echo")
    read = Node(Function(function=read_text, input_names=["path"], output_names=["text"]), name="read")
    flow.connect(
        [
            (flow.get_node("number"), echo, [(("number", as_text), "text")]),
            (echo, read, [("out_file", "path")]),
        ]
    )
    plugin = run(flow, tmp_path)
    assert values(plugin, "read.text") == ["volume 1", "volume 2", "volume 3"]
    assert len(list((plugin.context.run_dir / "work" / "echo").glob("volume-*/out.txt"))) == 3


def exit_status(number: int) -> str:
    return f"-c 'echo trouble >&2; exit {number - 1}'"


def test_a_command_that_ends_with_a_non_zero_status_fails_its_volume(tmp_path):
    flow = counting(tmp_path, 2)
    flow.connect(
        flow.get_node("number"), ("number", exit_status), Node(CommandLine("sh"), name="shell"), "args"
    )
    plugin = run(flow, tmp_path)
    assert [result.status for result in plugin.results] == ["ok", "failed"]
    assert "status 1: trouble" in plugin.results[1].errors["shell"]


def hang_on_two(number: int) -> str:
    # A child that leaves its group, and a grandchild: both must be gone afterwards.
    return "-c 'setsid sleep 987.5 & sleep 987.5'" if number == 2 else "-c true"


def sleepers() -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if "987.5" in (p.info["cmdline"] or [])]


def test_a_command_that_hangs_is_killed_with_all_that_it_started(tmp_path):
    flow = counting(tmp_path, 3)
    shell = stream(Node(CommandLine("sh"), name="shell"), deadline=1.0)
    flow.connect(flow.get_node("number"), ("number", hang_on_two), shell, "args")
    plugin = run(flow, tmp_path)
    assert [result.status for result in plugin.results] == ["ok", "failed", "ok"]
    assert "killed" in plugin.results[1].errors["shell"]
    assert sleepers() == []


def test_a_worker_keeps_state_over_its_death_and_over_a_kill(tmp_path):
    flow = counting(tmp_path, 7, kill_at=(3,), sleep_at={5: 60.0})
    stream(flow.get_node("sum"), mode="process", deadline=1.0, on_error="skip")
    events: list[Any] = []
    plugin = run(flow, tmp_path, observers=(events.append,))
    assert values(plugin, "sum.total") == [1.0, 3.0, None, 7.0, None, 13.0, 20.0]
    assert values(plugin, "sum.gaps")[-1] == "3 5"
    told = [(event.name, event.volume) for event in events if isinstance(event, Event)]
    assert told == [("worker_lost", 3), ("deadline_missed", 5)]


class _ArrayInput(BaseInterfaceInputSpec):
    number = traits.Float(mandatory=True)


class _ArrayOutput(TraitedSpec):
    data = traits.Any()
    rest = traits.Any()


class MakeArray(SimpleInterface):
    input_spec = _ArrayInput
    output_spec = _ArrayOutput

    def _run_interface(self, runtime: Any) -> Any:
        number = self.inputs.number
        # Larger with every volume: the shared memory must grow.
        self._results["data"] = np.full((int(number) * 100, 100), number, order="F")
        self._results["rest"] = {"small": np.arange(3), "empty": np.zeros((0, 4))}
        return runtime


class _CheckInput(BaseInterfaceInputSpec):
    data = traits.Any(mandatory=True)
    rest = traits.Any(mandatory=True)


class _CheckOutput(TraitedSpec):
    sum = traits.Float()
    writeable = traits.Bool()


class CheckArray(SimpleInterface):
    input_spec = _CheckInput
    output_spec = _CheckOutput

    def _run_interface(self, runtime: Any) -> Any:
        assert self.inputs.rest["empty"].shape == (0, 4)
        self._results["sum"] = float(self.inputs.data.sum())
        self._results["writeable"] = bool(self.inputs.data.flags.writeable)
        return runtime


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_arrays_between_nodes_are_whole_and_read_only(tmp_path, mode):
    flow = counting(tmp_path, 4)
    make = stream(Node(MakeArray(), name="make"), mode=mode)
    check = Node(CheckArray(), name="check")
    flow.connect(
        [
            (flow.get_node("number"), make, [("number", "number")]),
            (make, check, [("data", "data"), ("rest", "rest")]),
        ]
    )
    plugin = run(flow, tmp_path)
    assert values(plugin, "check.sum") == [1e4, 4e4, 9e4, 16e4]
    assert values(plugin, "check.writeable") == [False] * 4

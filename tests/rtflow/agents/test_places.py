"""Any mix of places: volumes of this machine, files of two others, the display on a fourth."""

import json
from pathlib import Path

from agents import Agent, SubjectAgent
from served_run import anyone

from rtflow.documents import Delivered, Result
from rtflow.engine import run
from rtflow.journal import Recording
from rtflow.server.thread import Server
from rtflow.settings import load_settings
from rtflow.workflow_file import load_workflow

WORKFLOW = '''
import json

from nipype import Node, Workflow
from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, traits

from rtflow.nodes import DicomToBids, ScannerInput, SubjectOutput
from rtflow.settings import RunSettings
from rtflow.stream.interface import StreamInterface

Settings = RunSettings


class In(BaseInterfaceInputSpec):
    incremental = traits.Any(mandatory=True)


class Out(TraitedSpec):
    value = traits.Float()


class Weighted(StreamInterface):
    """Mean of the volume by a weight and an offset that two other machines keep; one gets both back."""

    input_spec, output_spec = In, Out

    def start_run(self, context):
        files = {name: context.server.scanner(name).files for name in ("weights", "offsets")}
        self._weight = json.loads(files["weights"].get("weight.json"))
        self._offset = json.loads(files["offsets"].get("offset.json"))
        files["offsets"].put("seen.json", json.dumps([self._weight, self._offset]).encode())

    def _run_interface(self, runtime):
        mean = float(self.inputs.incremental.data.mean())
        self._results = {"value": self._weight * mean + self._offset}
        return runtime


def build(settings):
    scanner = Node(ScannerInput(uri=settings.source), name="scanner")
    convert, weighted = Node(DicomToBids(), name="convert"), Node(Weighted(), name="weighted")
    flow = Workflow(name="places", base_dir=settings.work_dir)
    flow.connect(scanner, "frame", convert, "frame")
    flow.connect(convert, "incremental", weighted, "incremental")
    flow.connect(weighted, "value", Node(SubjectOutput(), name="subject"), "value")
    return flow
'''
SOURCE = "source=simulate:?volumes=17&speed=max&shape=16,16,10&voxel=13"


def test_volumes_here_files_on_two_hosts_and_the_display_on_a_fourth(tmp_path: Path) -> None:
    (tmp_path / "places.py").write_text(WORKFLOW)
    workflow = load_workflow(tmp_path / "places.py")
    settings = load_settings(workflow.settings_type, None, [SOURCE])
    hosts = {"weights": ("weight.json", 0.5), "offsets": ("offset.json", 7.0)}
    for name, (file, number) in hosts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(json.dumps(number))
    with (
        Server("127.0.0.1", 0, authorise=anyone) as server,
        Agent(server.port, tmp_path / "s1", "--name", "weights", "--allow", str(tmp_path / "weights")),
        Agent(
            server.port, tmp_path / "s2", "--name", "offsets", "--allow", str(tmp_path / "offsets"), "--write"
        ),
        SubjectAgent(server.port, tmp_path / "display") as display,
    ):
        there = (server.scanner("weights"), server.scanner("offsets"), server.subject("subject"))
        assert all(channel.wait_for_connection(60.0) for channel in there)
        stop = run(workflow, settings, tmp_path / "out", server=server)
        values = {
            result.volume: result.values["weighted.value"]
            for result in Recording(Path(stop.outputs["run"])).documents
            if isinstance(result, Result)
        }
        assert stop.counts["ok"] == 17
        assert len(set(values.values())) == 17
        display.until(lambda: len(list(display.out.rglob("volume-*.json"))) == 17)
    told = [json.loads(file.read_bytes()) for file in display.out.rglob("volume-*.json")]
    assert {one["volume"]: one["value"] for one in told} == values
    assert json.loads((tmp_path / "offsets" / "seen.json").read_text()) == [0.5, 7.0]
    delivered = [one for one in Recording(Path(stop.outputs["run"])).documents if isinstance(one, Delivered)]
    assert {one.volume for one in delivered if one.channel == "subject"} == set(values)

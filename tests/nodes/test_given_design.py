"""What a node takes as its design: the trials themselves, or a file of them."""

from functools import partial

import pytest
from nipype import Node, Workflow

from rtflow import nodes
from rtflow.design import block_design, write_events
from rtflow.errors import UsageError
from rtflow.nodes import GLM, Denoise, DicomToBids, Labels, RecordRun, ScannerInput
from rtflow.nodes.given_design import given_design
from rtflow.stream import StreamPlugin

DESIGN = block_design(["scene", "face"], blocks=4, block=10.0, rest=6.0, opening=10.0)

TAKE_A_DESIGN = {
    "ScannerInput": partial(ScannerInput, uri="simulate:?volumes=4&speed=max"),
    "Labels": Labels,
    "RecordRun": RecordRun,
    "GLM": partial(GLM, contrast="scene"),
    "Denoise": Denoise,
}


def test_nodes_that_take_a_design_are_all_of_them() -> None:
    """A new one is to be tested here as well."""
    inputs = {name: getattr(nodes, name).input_spec.class_trait_names() for name in nodes.__all__}
    assert {name for name, known in inputs.items() if "design" in known} == set(TAKE_A_DESIGN)


@pytest.mark.parametrize("name", TAKE_A_DESIGN)
def test_a_design_may_be_the_path_of_its_events(make_context, tmp_path, name) -> None:
    """As text or as a path; what is wrong with the file is said before the first volume."""
    path = tmp_path / "events.tsv"
    write_events(DESIGN, path)
    for given in (DESIGN, path, str(path)):
        node = TAKE_A_DESIGN[name](design=given)
        assert given_design(node) == DESIGN
        node.start_run(make_context())
        node.end_run()
    for wrong, says in ((tmp_path / "none.tsv", "No such file"), ("", "design is empty"), (3, "got 3; ")):
        with pytest.raises(UsageError, match=says):
            TAKE_A_DESIGN[name](design=wrong).start_run(make_context())


def test_the_path_of_events_labels_and_records_as_the_design_does(tmp_path) -> None:
    """Through a whole run of a simulated participant, who follows the file as well."""
    path, found = tmp_path / "events.tsv", []
    write_events(DESIGN, path)
    for number, design in enumerate((DESIGN, str(path))):
        scanner = Node(
            ScannerInput(uri="simulate:?volumes=30&speed=max&shape=18,18,18", design=design), name="scanner"
        )
        convert = Node(DicomToBids(), name="convert")
        labels = Node(Labels(design=design), name="labels")
        record = Node(RecordRun(design=design), name="record")
        flow = Workflow(name="labelled", base_dir=str(tmp_path))
        flow.connect([(scanner, convert, [("frame",) * 2])])
        flow.connect([(convert, node, [("incremental",) * 2]) for node in (labels, record)])
        plugin = StreamPlugin(tmp_path / str(number))
        flow.run(plugin=plugin)
        events = next((tmp_path / str(number) / "bids").rglob("*_events.tsv")).read_text()
        found.append(([r.values["labels.trial_type"] for r in plugin.results], events))
    assert len(set(found[0][0])) > 1
    assert found[0] == found[1]

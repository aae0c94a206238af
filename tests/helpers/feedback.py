"""A run of values through Feedback, with the labels of a design."""

import numpy as np
from incrementals import incremental
from nipype.interfaces.base import Undefined

from rtflow.design import block_design
from rtflow.errors import VolumeError
from rtflow.nodes.feedback.feedback import Feedback
from rtflow.nodes.labels import label_volume

TR, LAG = 2.0, 4.0
AT_TR = {"RepetitionTime": TR}
DESIGN = block_design(["regulate"], blocks=4, block=20.0, rest=20.0, opening=30.0)
VOLUMES = 90
PSC = "percent_signal_change"


def labelled(volume, train_trials=0):
    return label_volume(DESIGN, volume, TR, lag=LAG, train_trials=train_trials)


def started(context, **inputs):
    node = Feedback(**inputs)
    node.start_run(context)
    return node


def run(node, call, values, *, train_trials=0, kind=PSC, absent=(), labels=True):
    """The outputs of each volume, ``held`` where the node failed for want of a value."""
    found = {}
    for volume, value in enumerate(values, start=1):
        if volume in absent:
            node.gap(volume)
            continue
        label = labelled(volume, train_trials)
        given_ = {"value": Undefined, "kind": Undefined} if value is None else {"value": value, "kind": kind}
        if labels:
            given_ |= {"phase": label.phase, "trial": label.trial}
        try:
            found[volume] = call(node, volume, incremental=incremental(volume, metadata=AT_TR), **given_)
        except VolumeError as error:
            if "missing='hold'" not in str(error):
                raise
            found[volume] = "held"
    return found


def course(seed=0):
    return np.random.default_rng(seed).standard_normal(VOLUMES).tolist()

"""Decoders in files: skops, known types only, never pickle."""

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
from decoding import NAMES, make_samples
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC
from skops.io import dumps

from rtflow.errors import SessionError, UsageError
from rtflow.nodes.decoding.estimator import fit, make
from rtflow.nodes.decoding.estimator_bytes import dump, pack, parse, require_agreement, unpack, untrusted


class Own(ClassifierMixin, BaseEstimator):
    """An experimenter's own."""

    def fit(self, samples, labels):
        self.classes_ = np.unique(labels)
        return self

    def predict(self, samples):
        return self.classes_[np.zeros(len(samples), int)]

    def decision_function(self, samples):
        return np.zeros((len(samples), len(self.classes_)))


@pytest.mark.parametrize(
    "estimator",
    [
        "lda",
        make_pipeline(StandardScaler(), SelectKBest(f_classif, k=20), LinearSVC()),
        RandomForestClassifier(n_estimators=3),
        GradientBoostingClassifier(n_estimators=2),
        HistGradientBoostingClassifier(max_iter=2),
        SGDClassifier(),
        make_pipeline(FunctionTransformer(np.arcsinh), LinearSVC()),
    ],
    ids=["lda", "pipeline", "forest", "boosting", "histogram", "sgd", "ufunc"],
)
def test_a_decoder_comes_back_from_its_arrays_and_says_the_same(estimator) -> None:
    samples, labels = make_samples()
    before = fit(samples, labels, NAMES, make(estimator, 1), within=True, best=50)
    arrays = pack(before)
    assert all(not array.dtype.hasobject for array in arrays.values())
    after = unpack(arrays, list(NAMES))
    assert (after.conditions, after.within) == (NAMES, True)
    for row in samples[::7]:
        np.testing.assert_array_equal(after.decide(row), before.decide(row))


def test_what_no_run_would_load_is_not_saved() -> None:
    with pytest.raises(UsageError, match=r"Own, which no run would load.*leave save away"):
        dump(Own())


def naming(name: str) -> bytes:
    """What skops would write of a transformer whose function has this name."""
    module, _, function = name.rpartition(".")
    data = dumps(FunctionTransformer(np.load))
    schema = json.loads(zipfile.ZipFile(io.BytesIO(data)).read("schema.json"))
    schema["content"]["content"]["func"] |= {"__class__": function, "__module__": module}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as new:
        new.writestr("schema.json", json.dumps(schema))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.eval",
        "numpy.load",
        "numpy.f2py.compile",
        "sklearn.utils.os.system",
        "joblib.load",
    ],
)
def test_functions_that_run_or_load_something_are_refused_by_name(name: str) -> None:
    data = naming(name)
    assert untrusted(data) == [name]
    with pytest.raises(SessionError, match=f"holds {name}, and is not loaded: only parts of scikit-learn"):
        parse(np.frombuffer(data, np.uint8))


def test_a_class_that_is_not_of_scikit_learn_is_refused_by_name() -> None:
    data = dumps(make_pipeline(StandardScaler(), Own()))
    with pytest.raises(SessionError, match=r"holds .*\.Own, and is not loaded.*train it anew"):
        parse(np.frombuffer(data, np.uint8))


class Bomb:
    """Unpickling it would be the end of the test."""

    def __reduce__(self):
        return (pytest.exit, ("a pickle was loaded",))


@pytest.mark.parametrize("data", [b"", b"no zip at all", pickle.dumps(Bomb()), dumps([1, 2])[:-30]])
def test_what_skops_did_not_write_is_refused_and_never_unpickled(data: bytes) -> None:
    with pytest.raises(SessionError, match=r"cannot be read.*train it anew"):
        parse(np.frombuffer(data, np.uint8))


def test_a_pickle_beside_an_estimator_is_never_looked_at() -> None:
    data = dumps(make("lda", 0))
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for member in old.namelist():
            new.writestr(member, old.read(member))
        new.writestr("model.pkl", pickle.dumps(Bomb()))
    parse(np.frombuffer(buffer.getvalue(), np.uint8))


def test_an_estimator_of_other_conditions_is_refused() -> None:
    samples, labels = make_samples()
    arrays = pack(fit(samples, labels, NAMES, make("lda", 0)))
    with pytest.raises(SessionError, match="knows no hat"):
        unpack(arrays, ["face", "hat"])
    with pytest.raises(SessionError, match="is no decoder: it lacks 'mean'"):
        unpack({"data": arrays["mean"]}, ["face", "house"])


def test_agreement_names_the_first_difference() -> None:
    require_agreement("x", {"normalise": "rest", "lag": 4}, {"normalise": "rest"})
    with pytest.raises(
        SessionError, match="trained with normalise = 'rest', this run has 'opening'; set the same"
    ):
        require_agreement("x", {"normalise": "rest"}, {"normalise": "opening"})

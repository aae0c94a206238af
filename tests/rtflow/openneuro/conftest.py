"""One S3 server, and one data set in it, for all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import s3


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set in the layout of ds002338; its images are larger than one part of a download."""
    return s3.write_dataset(tmp_path_factory.mktemp("data") / s3.DATASET, shape=(40, 40, 12), volumes=40)


@pytest.fixture(scope="session")
def server(dataset: Path) -> Iterator[str]:
    """URL of an S3 server that holds it."""
    with s3.serving() as endpoint:
        s3.upload(endpoint, dataset)
        yield endpoint

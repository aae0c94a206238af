"""OpenNeuro's data sets: what there is, and what a run needs, kept in a cache."""

from rtflow.openneuro.bucket import Bucket, NoNetworkError, StoredObject
from rtflow.openneuro.cache import Cache
from rtflow.openneuro.listing import datasets, description, objects, readme, subjects

__all__ = [
    "Bucket",
    "Cache",
    "NoNetworkError",
    "StoredObject",
    "datasets",
    "description",
    "objects",
    "readme",
    "subjects",
]

"""The bucket that OpenNeuro's data sets lie in, over S3 without a signature."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rtflow.errors import SourceError

NAME = "openneuro.org"
CONNECTIONS = 4
"""Connections that one file is fetched over."""
_CHUNK = 1 << 16


class NoNetworkError(SourceError):
    """The server cannot be reached, or does not answer."""


class ChangedError(SourceError):
    """A file is not on the server any more, or is another one by now."""


@dataclass(frozen=True)
class StoredObject:
    """One file in the bucket.

    Parameters
    ----------
    key
        ``dsNNNNNN/PATH``.
    size
        Bytes.
    etag
        What the server tells one content from another by: the MD5, for a file that was stored in one piece.
    """

    key: str
    size: int
    etag: str

    @property
    def path(self) -> str:
        """Path from the root of its data set."""
        return self.key.partition("/")[2]


class Bucket:
    """OpenNeuro's bucket, read-only.

    Parameters
    ----------
    endpoint
        URL of another S3 server; empty for the environment's AWS_ENDPOINT_URL_S3, else Amazon's.
    patience
        Seconds to wait for a connection, and for each piece of an answer.
    """

    def __init__(self, endpoint: str = "", *, patience: float = 20.0) -> None:
        import boto3
        from botocore import UNSIGNED
        from botocore.config import Config

        if endpoint and not endpoint.startswith(("http://", "https://")):
            raise SourceError(f"endpoint {endpoint!r} is no address; give a URL such as https://HOST")
        config = Config(
            signature_version=UNSIGNED,
            region_name="us-east-1",
            # The bucket's name has a dot, which no certificate for *.s3.amazonaws.com covers.
            s3={"addressing_style": "path"},
            retries={"mode": "standard", "total_max_attempts": 3},
            connect_timeout=min(patience, 8.0),
            read_timeout=patience,
            max_pool_connections=CONNECTIONS + 1,
        )
        try:
            self._client: Any = boto3.session.Session().client(
                "s3", endpoint_url=endpoint or None, config=config
            )
        except ValueError as error:
            raise SourceError(f"endpoint {endpoint!r}: {error}; give a URL such as https://HOST") from None
        self.endpoint: str = self._client.meta.endpoint_url

    def listed(self, prefix: str) -> list[StoredObject]:
        """All files whose keys begin with ``prefix``, in the order of their keys.

        Raises
        ------
        NoNetworkError
            If the server cannot be reached.
        SourceError
            If it refuses.
        """
        return [_stored(item) for page in self._pages(prefix, "") for item in page.get("Contents", ())]

    def folder(self, prefix: str = "") -> tuple[list[str], list[StoredObject]]:
        """Names of the folders, and the files, that are directly below ``prefix``; raises as `listed`."""
        folders: list[str] = []
        files: list[StoredObject] = []
        for page in self._pages(prefix, "/"):
            folders += [item["Prefix"][len(prefix) : -1] for item in page.get("CommonPrefixes", ())]
            files += [_stored(item) for item in page.get("Contents", ())]
        return folders, files

    def read(self, item: StoredObject) -> bytes:
        """All of a small file; raises as `pieces`."""
        return b"".join(self.pieces(item, 0, item.size))

    def pieces(self, item: StoredObject, start: int, stop: int) -> Iterator[bytes]:
        """Bytes ``start`` to ``stop`` (exclusive) of a file, as they come; fewer if the connection breaks.

        Raises
        ------
        NoNetworkError
            If the server cannot be reached, or the connection breaks.
        ChangedError
            If the file is gone or has changed since it was listed.
        SourceError
            If the server refuses.
        """
        if stop <= start:
            return
        with self._telling(item.key):
            answer = self._client.get_object(
                Bucket=NAME, Key=item.key, Range=f"bytes={start}-{stop - 1}", IfMatch=f'"{item.etag}"'
            )
            with contextlib.closing(answer["Body"]) as body:
                yield from body.iter_chunks(_CHUNK)

    def _pages(self, prefix: str, delimiter: str) -> Iterator[dict[str, Any]]:
        with self._telling(prefix or NAME):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=NAME, Prefix=prefix, Delimiter=delimiter
            )
            yield from pages

    @contextlib.contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError
        from urllib3.exceptions import HTTPError

        try:
            yield
        except ClientError as error:
            answer = error.response.get("Error", {})
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            code = str(answer.get("Code") or status)
            if status in (404, 412, 416):
                raise ChangedError(
                    f"{what} is not on {self.endpoint} as it was listed ({code}); try again, "
                    "or clear the cache"
                ) from None
            if status >= 500 or status == 429:
                raise NoNetworkError(
                    f"{self.endpoint} does not answer for {what} ({code}); try again later"
                ) from None
            raise SourceError(
                f"{self.endpoint} refuses {what} ({code}: {answer.get('Message', '')}); "
                "check --endpoint, or AWS_ENDPOINT_URL_S3"
            ) from None
        except (BotoCoreError, HTTPError, OSError) as error:
            raise NoNetworkError(
                f"{self.endpoint} cannot be reached ({_in_words(error)}); check the network and "
                "--endpoint (or AWS_ENDPOINT_URL_S3), or replay what is kept already: 'rtflow cache' lists it"
            ) from None


def _stored(item: dict[str, Any]) -> StoredObject:
    return StoredObject(item["Key"], int(item["Size"]), str(item["ETag"]).strip('"'))


def _in_words(error: BaseException) -> str:
    """What went wrong on the line, without addresses: the system's own words where there are any."""
    seen: BaseException | None = error
    for _ in range(10):
        if seen is None:
            break
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        inner = getattr(seen, "kwargs", {}).get("error") or getattr(seen, "reason", None)
        seen = inner if isinstance(inner, BaseException) else seen.__cause__ or seen.__context__
    return type(error).__name__

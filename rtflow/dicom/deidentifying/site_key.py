"""The site's secret, in a file: with another one, the same series gets other UIDs."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from rtflow.dicom.deidentify import KEY_BYTES
from rtflow.errors import UsageError

_NEW_BYTES = 32


def site_key(file: Path) -> tuple[bytes, bool]:
    """The key in a file, as hexadecimal digits, and whether it was made just now: a new one if there is none.

    Raises
    ------
    UsageError
        If it cannot be read or made, or is none.
    """
    made = False
    try:
        if not file.exists():
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as new:
                new.write(secrets.token_hex(_NEW_BYTES) + "\n")
            made = True
        key = bytes.fromhex(file.read_text(encoding="ascii"))
    except OSError as error:
        raise UsageError(
            f"the key {file} cannot be read or made ({error.strerror}); give another file"
        ) from None
    except ValueError:
        key = b""
    if len(key) < KEY_BYTES:
        raise UsageError(
            f"{file} is no key: {2 * KEY_BYTES} or more hexadecimal digits; give a new name to make one"
        )
    return key, made

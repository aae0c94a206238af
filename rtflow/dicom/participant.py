"""Whether the scanner names the participant that the session's earlier runs were of.

PatientID itself is not kept: what is kept is a keyed hash, and without the key, which only the owner of the
session may read, nobody finds the PatientID by trying all that there could be.
"""

from __future__ import annotations

import hmac
import secrets
from pathlib import Path

import msgspec

from rtflow.access.private import locked, read_private, write_private
from rtflow.errors import SessionError

_FILE = "participants.json"
_KEY_BYTES = 32


class _Participants(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The key of the hashes, and the hash of each subject's PatientID."""

    key: bytes
    participants: dict[str, str] = {}


def require_participant(folder: Path, subject: str, patient_id: str) -> None:
    """Refuse a subject whose earlier runs were, by their PatientID, of somebody else; remember a new one.

    Parameters
    ----------
    folder
        Of the session; made if it is missing.
    subject
        BIDS label of the participant.
    patient_id
        As the scanner states it, or the pseudonym of a de-identified series; empty says nothing.

    Raises
    ------
    SessionError
        If the scanner named another participant in an earlier run of this subject, or what is remembered is
        damaged.
    OutputError, UsageError
        If what is remembered cannot be written, or others than its owner may read it.
    """
    patient_id = patient_id.strip(" \0")
    if not patient_id:
        return
    path = folder / _FILE
    folder.mkdir(parents=True, exist_ok=True)
    with locked(path):
        kept = _read(path)
        digest = hmac.new(kept.key, patient_id.encode(errors="backslashreplace"), "sha256").hexdigest()
        known = kept.participants.setdefault(subject, digest)
        if not hmac.compare_digest(known, digest):
            raise SessionError(
                f"the scanner names another participant (PatientID) than in earlier runs of subject "
                f"{subject} in session {folder}: for another participant, set --subject and take another "
                f"--session DIR; if it is the same one under another PatientID, remove {path} and begin again"
            )
        write_private(path, msgspec.json.encode(kept))


def _read(path: Path) -> _Participants:
    data = read_private(path)
    if data is None:
        return _Participants(key=secrets.token_bytes(_KEY_BYTES))
    try:
        return msgspec.json.decode(data, type=_Participants)
    except msgspec.DecodeError as error:
        raise SessionError(f"{path} is damaged ({error}); remove it, and the next run begins anew") from None

"""What must not be given away is found, wherever it stands; what is harmless is not."""

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from rtflow.errors import PackageError
from rtflow.packaging.scanning import refuse, scan

KEY = "-----BEGIN OPENSSH " + "PRIVATE KEY-----"
SECRETS = {
    KEY: "a private key",
    "-----BEGIN " + "PRIVATE KEY-----": "a private key",
    "rtflow_" + 40 * "a": "a token",
    "-".join(8 * ["AB12c"]): "a code of enrolment",
    "key = AKIA" + 16 * "A": "a token",
    "ghp_" + 36 * "a": "a token",
    "Authorization: Bearer " + 20 * "a": "a token",
    "$argon2id$v=19$m=65536": "the hash of a password",
    "https://me:" + "hidden@archive.org/data": "a password",
    'password = "' + 'correct-horse"': "a password or token",
    '{"api_key": "' + '0123456789abcdef"}': "a password or token",
    'os.environ["SECRET_KEY"] = ' + 'b"0123456789abcdef"': "a password or token",
    "password: str = " + "'correct-horse'": "a password or token",
    "passphrase = " + '"correct horse battery"': "a password",
    '"PatientName": "Doe^Jane"': "participant data",
    "PatientBirthDate = '19700101'": "participant data",
    '"PatientWeight": 70': "participant data",
    "participant_id\tage": "participant data",
}


def found(path: Path, name: str = "") -> list[tuple[int, str]]:
    return [(one.line, one.what) for one in scan({name or path.name: path})]


def written(dataset: pydicom.Dataset, implicit: bool) -> bytes:
    """As old scanners write it, without the part before the elements."""
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, implicit
    write_dataset(file, dataset)
    return file.getvalue()


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_found_in_its_line_and_not_repeated(tmp_path, secret):
    path = tmp_path / "mine.py"
    path.write_text(f"import os\n\n{secret}\n")
    assert found(path) == [(3, SECRETS[secret])]
    with pytest.raises(PackageError, match=r"mine\.py line 3: ") as error:
        refuse({"mine.py": path})
    assert secret not in str(error.value)


@pytest.mark.parametrize(
    "line",
    [
        'password = os.environ["PASSWORD"]',
        'token = "<your token>"',
        "token = from_somewhere_else",
        "tokens = 12",
        pytest.param("a" * 3_000_000, id="a long line, in no time"),
        "# the PatientName is never kept",
        "https://example.org:8443/a",
        "-----BEGIN CERTIFICATE-----",
        "sub-01 is the first",
    ],
)
def test_what_is_harmless_passes(tmp_path, line):
    path = tmp_path / "mine.py"
    path.write_text(line)
    assert found(path) == []


@pytest.mark.parametrize(
    "name", ["id_ed25519", "server.key", ".env", "participants.tsv", "sub-01_bold.json", "a.dcm", "sub-02"]
)
def test_what_is_a_secret_by_its_name_is_found(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"1")
    assert found(path)
    assert not found(path.rename(tmp_path / "harmless.txt"))


def test_a_file_below_a_participants_folder_is_found(tmp_path):
    path = tmp_path / "mask.txt"
    path.write_bytes(b"1")
    assert found(path, "workflow/sub-07/mask.txt")


def test_series_and_dicom_are_found_by_their_content_and_a_mask_is_not(tmp_path):
    for name, shape in (("series.nii.gz", (4, 4, 4, 5)), ("mask.nii.gz", (4, 4, 4)), ("mask.nii", (4, 4, 4))):
        nib.Nifti1Image(np.zeros(shape, np.int16), np.eye(4)).to_filename(tmp_path / name)
    assert "a series of 5 volumes" in found(tmp_path / "series.nii.gz")[0][1]
    assert found(tmp_path / "mask.nii.gz") == found(tmp_path / "mask.nii") == []
    for image, name in ((nib.Nifti2Image, "x"), (nib.Nifti1Pair, "y"), (nib.AnalyzeImage, "z")):
        series = image(np.zeros((4, 4, 4, 5), np.int16), np.eye(4))
        (tmp_path / name).write_bytes(series.header.binaryblock)
        assert found(tmp_path / name) == [(0, "participant data (a series of 5 volumes)")]
    dataset = pydicom.Dataset()
    dataset.SpecificCharacterSet, dataset.StudyDate = "ISO_IR 100", "20260101"
    for begins in (128 * b"\0" + b"DICM", written(dataset, True), written(dataset, False)):
        (tmp_path / "x").write_bytes(begins)
        assert found(tmp_path / "x") == [(0, "participant data (DICOM)")]


@pytest.mark.parametrize("line", ["export API_TOKEN=" + "0123456789", "password: " + "correct-horse # hm"])
def test_values_without_quotes_are_found_outside_programs(tmp_path, line):
    for name in ("settings.ini", "prod.env", "a.yaml"):
        (tmp_path / name).write_text(f"[a]\n{line}\n")
        assert found(tmp_path / name) == [(2, "a password or token")]


def test_what_windows_writes_is_read(tmp_path):
    (tmp_path / "a.txt").write_text(f"\n{KEY}\n", encoding="utf-16")
    assert found(tmp_path / "a.txt") == [(2, "a private key")]


def test_a_private_key_in_binary_is_found_and_a_public_one_is_not(tmp_path):
    path, der = tmp_path / "x", serialization.Encoding.DER
    for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())):
        for form in (serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL):
            path.write_bytes(key.private_bytes(der, form, serialization.NoEncryption()))
            assert found(path) == [(0, "a private key (binary)")]
        path.write_bytes(key.public_key().public_bytes(der, serialization.PublicFormat.SubjectPublicKeyInfo))
        assert found(path) == []


def test_a_link_has_the_name_of_what_it_leads_to(tmp_path):
    (tmp_path / "sub-01").mkdir()
    (tmp_path / "sub-01" / "mask.txt").write_text("1")
    (tmp_path / "harmless.txt").symlink_to(tmp_path / "sub-01" / "mask.txt")
    assert found(tmp_path / "harmless.txt") == [(0, "participant data (sub-01)")]


def test_a_collection_is_looked_into(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("deep.txt", f"{100 * chr(10)}{KEY}\n")
    tape = io.BytesIO()
    with tarfile.open(fileobj=tape, mode="w") as archive:
        archive.add(tmp_path / "a.npz", "inner.npz")
    (tmp_path / "b.tgz").write_bytes(gzip.compress(tape.getvalue()))
    (tmp_path / "c.7z").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(100))
    assert found(tmp_path / "a.npz") == [(101, "a private key")]
    assert found(tmp_path / "b.tgz")[-1] == (101, "a private key")
    assert "cannot be looked into" in found(tmp_path / "c.7z")[0][1]


def test_a_collection_that_hides_its_content_is_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("sub-01_bold.nii")
        link.type, link.linkname = tarfile.SYMTYPE, "nowhere"
        archive.addfile(link)
    assert found(tmp_path / "a.tar") == [(0, "participant data (sub-01_bold.nii)")]
    packed = KEY.encode()
    for _ in range(5):
        packed = gzip.compress(packed)
    (tmp_path / "b").write_bytes(packed)
    assert "within too many others" in found(tmp_path / "b")[0][1]
    with zipfile.ZipFile(tmp_path / "c", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("deep.txt", KEY)
    (tmp_path / "c").write_bytes(b"#!/usr/bin/env python3\n" + (tmp_path / "c").read_bytes())
    assert found(tmp_path / "c") == [(1, "a private key")]


def test_what_cannot_be_read_is_refused(tmp_path):
    assert "cannot be read" in found(tmp_path / "missing")[0][1]

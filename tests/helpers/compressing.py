"""DICOM files in other transfer syntaxes, made by dcmtk where it is installed, else by pydicom."""

import io
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pydicom
from pydicom import uid

#: Name to the program of dcmtk that makes it, its options, and the transfer syntax.
_DCMTK = {
    "jpeg": (("dcmcjpeg", "+el"), uid.JPEGLossless),
    "jpeg-sv1": (("dcmcjpeg", "+e1"), uid.JPEGLosslessSV1),
    "jpeg-ls": (("dcmcjpls", "+el"), uid.JPEGLSLossless),
    "rle": (("dcmcrle",), uid.RLELossless),
    "rle-split": (("dcmcrle", "+fs", "1"), uid.RLELossless),
    "deflated": (("dcmconv", "+td"), uid.DeflatedExplicitVRLittleEndian),
    "big-endian": (("dcmconv", "+tb"), uid.ExplicitVRBigEndian),
    "implicit": (("dcmconv", "+ti"), uid.ImplicitVRLittleEndian),
    "ge-private": (("dcmconv", "+tg"), uid.UID("1.2.840.113619.5.2")),
    "lengths": (("dcmconv", "+te", "+g", "-e"), uid.ExplicitVRLittleEndian),
}
_PYDICOM = {"rle-pydicom": uid.RLELossless, "jpeg-2000": uid.JPEG2000Lossless}
_NEEDED = {command[0] for command, _ in _DCMTK.values()}

COMPRESSED = (*(name for name in _DCMTK if name.startswith(("jpeg", "rle"))), *_PYDICOM)
UNCOMPRESSED = tuple(name for name in _DCMTK if name not in COMPRESSED)


def have_dcmtk() -> bool:
    """Whether dcmtk's programs are installed."""
    return all(map(shutil.which, _NEEDED))


def transferred(data: bytes, name: str) -> bytes:
    """The same object in another transfer syntax."""
    if name in _PYDICOM or not have_dcmtk():
        return _by_pydicom(data, _PYDICOM.get(name) or _DCMTK[name][1])
    (program, *options), syntax = _DCMTK[name]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.dcm"), Path(folder, "out.dcm")
        source.write_bytes(data)
        subprocess.run([program, *options, source, target], check=True, capture_output=True)
        out = target.read_bytes()
    assert syntax.encode() in out[:1000]
    return out


def _by_pydicom(data: bytes, syntax: uid.UID) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(data))
    stream = io.BytesIO()
    implicit = syntax in (uid.ImplicitVRLittleEndian, "1.2.840.113619.5.2")
    big = syntax in (uid.ExplicitVRBigEndian, "1.2.840.113619.5.2")
    if syntax.is_private or not syntax.is_compressed or syntax == uid.DeflatedExplicitVRLittleEndian:
        if big:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        dataset.file_meta.TransferSyntaxUID = syntax
    else:
        encoders = (uid.RLELossless, uid.JPEG2000Lossless)
        dataset.compress(syntax if syntax in encoders else uid.JPEG2000Lossless, generate_instance_uid=False)
    if syntax == uid.DeflatedExplicitVRLittleEndian or dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        dataset.save_as(stream, enforce_file_format=True)
    else:
        little = syntax != uid.ExplicitVRBigEndian
        pydicom.dcmwrite(
            stream, dataset, implicit_vr=implicit, little_endian=little, enforce_file_format=True
        )
    return stream.getvalue()

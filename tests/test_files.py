"""Files that may be damaged: arrays, tables of text."""

from __future__ import annotations

import math
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from codesign import files


def _header(text: bytes) -> bytes:
    """An .npy file whose header is this text."""
    text = text.ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "member",
    [
        b"no array",
        _header(b"{'descr': '<f8', 'fortran_order': False, 'shape': (10**30,), }"),
        _header(b"{'descr': '<f8', 'fortran_order': False, 'shape': (1%s,), }" % (b"0" * 30)),
        _header(b"{'descr': '<f8', 'fortran_order': False, 'shape': ((((("),
        _header(b"  {'descr': '<f8'\n 'shape': 3"),
        _header(b"{'descr': [], 'fortran_order': False, 'shape': (1,), {}: 1}"),
        _header(b"{'descr': 'nonsense', 'fortran_order': False, 'shape': (1,), }"),
        _header(b"\x00"),
    ],
)
def test_members_that_are_no_arrays_are_refused(tmp_path: Path, member: bytes) -> None:
    path = tmp_path / "a.npz"
    with ZipFile(path, "w") as archive:
        archive.writestr("a_lat_ms.npy", member)
    with pytest.raises(ValueError, match=r"a\.npz: cannot be read as an \.npz file: "):
        files.read_arrays(path)


def test_other_members_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with ZipFile(path, "w") as archive:
        archive.writestr("a_lat_ms", b"text")
    with pytest.raises(ValueError, match=r"cannot be read as an \.npz file: 'a_lat_ms' is no array"):
        files.read_arrays(path)


def test_archives_that_say_they_are_encrypted_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, a=np.ones(3))
    content = bytearray(path.read_bytes())
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + place] |= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="encrypted"):
        files.read_arrays(path)


def test_arrays_that_would_fill_the_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.zeros(10_000))
    assert files.read_arrays(path)["a"].shape == (10_000,)
    assert files.read_arrays(BytesIO(path.read_bytes()))["a"].shape == (10_000,)
    monkeypatch.setattr(files, "_MOST_BYTES", 50_000)
    with pytest.raises(ValueError, match=r"its arrays must have at most 50,000 bytes \(got 80,128\)"):
        files.read_arrays(path)


def test_rows_keep_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('\ufeffnetwork, x\n"a\nb",1\n\n , \nc,2\n', encoding="utf-8")
    assert files.read_csv(path) == (
        ["network", "x"],
        [(3, {"network": "a\nb", "x": "1"}), (6, {"network": "c", "x": "2"})],
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y,x\n1,2,3\n", r"a\.csv:1: columns must differ \(got 'x' twice\)"),
        ("x,y\n1,2\n1\n", r"a\.csv:3: must have 2 values \(got 1\)"),
        ('x,y\n{"a": 1, "b": 2},3\n', r"a\.csv:2: must have 2 values \(got 3; text with commas must be in quotes\)"),
        ('x,y\n"a" b,3\n', r"a\.csv: cannot be read as a \.csv file: "),
    ],
)
def test_bad_tables(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        files.read_csv(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.5", 1.5),
        (" -2e-3 ", -2e-3),
        (".5", 0.5),
        ("7.", 7.0),
        ("1_0", None),
        ("\uff11", None),
        ("inf", None),
        ("", None),
    ],
)
def test_numbers_are_plain_decimal_ones(text: str, value: float | None) -> None:
    found = files.decimal(text)
    assert math.isnan(found) if value is None else found == value

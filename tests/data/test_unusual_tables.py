"""Tests tables in other encodings, and files that only look like tables."""

import struct

import numpy as np
import pytest

from iresnet_tf.data import tables


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_text_with_a_byte_order_mark_is_read(encoding, tmp_path):
    file = tmp_path / "table.csv"
    file.write_bytes("größe,b\r\n1,2\r\n3,4\r\n".encode(encoding))
    table = tables.load(file)
    assert table.columns == ("größe", "b")
    np.testing.assert_array_equal(table.values, [[1.0, 2.0], [3.0, 4.0]])


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["größe", "size"])
def test_another_encoding_is_named_with_its_remedy(encoding, name, tmp_path):
    if encoding == "latin-1" and name == "size":
        pytest.skip("plain ASCII is UTF-8")
    file = tmp_path / "table.csv"
    file.write_bytes(f"{name},b\n1,2\n3,4\n".encode(encoding))
    with pytest.raises(ValueError, match=f"{file}.* as UTF-8"):
        tables.load(file)


@pytest.mark.parametrize("text, message", [
    ("NA,1\n2,3\n4,5\n", "line 1: column 'x1' holds 'NA'"),
    ("1,?\n2,3\n4,5\n", "line 1: column 'x2' holds '\\?'"),
    ("NA,n/a\n2,3\n4,5\n", "line 1: column 'x1' holds 'NA'"),
    ("1,red\n2,3\n4,5\n", "line 1: the first row holds words, such as 'red', and numbers"),
    ("a,b\n1,1e39\n2,3\n", "line 2: column 'b' holds '1e39'"),
    ("1e-50,1\n3e-50,2\n", "column 'x1' varies by 1e-50"),
    ("a,b\n1,2\n" + "5" * 131_073 + ",3\n", "line 3: .*field larger than"),
])  # fmt: skip
def test_a_first_row_or_a_cell_that_is_no_number_is_named(text, message, tmp_path):
    file = tmp_path / "table.csv"
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as raised:
        tables.load(file)
    assert len(str(raised.value)) < 400


def header(shape):
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize("shape", ["(10000000000, 1000)", f"({10**30}, 2)", "(2, 2", "(1e9, 2)"])
def test_an_array_that_claims_more_than_its_file_is_not_allocated(shape, tmp_path):
    file = tmp_path / "table.npy"
    file.write_bytes(header(shape) + bytes(64))
    with pytest.raises(ValueError, match=f"{file} is no array of numbers"):
        tables.load(file)


def test_an_archive_named_like_an_array_is_refused(tmp_path):
    np.savez(tmp_path / "table.npz", np.eye(3))
    file = (tmp_path / "table.npz").rename(tmp_path / "table.npy")
    with pytest.raises(ValueError, match="zip archive"):
        tables.load(file)
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(ValueError, match="no array of numbers"):
        tables.load(file)


def test_a_number_that_float32_cannot_hold_is_refused_in_an_array(tmp_path):
    np.save(tmp_path / "table.npy", [[1.0, 2.0], [3.0, -1e39]])
    with pytest.raises(ValueError, match="column 'x2' is -1e[+]39 in row 1.*float32"):
        tables.load(tmp_path / "table.npy")

"""Tables in, columns out, and the same kind of table back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landscape_fast.study.table import (
    column,
    columns_of,
    numbers,
    read_table,
    with_columns,
    write_table,
)


class Frame:
    """The part of a pandas data frame that the package uses."""

    iloc = None

    def __init__(self, data):
        self.data = {name: np.asarray(values) for name, values in data.items()}

    @property
    def columns(self):
        return list(self.data)

    def copy(self):
        return Frame({name: values.copy() for name, values in self.data.items()})

    def __getitem__(self, name):
        return self.data[name]

    def __setitem__(self, name, values):
        self.data[name] = np.asarray(values)


COLUMNS = {"width": [2, 4], "trace": [1.5, 2.5], "note": ["a", "b"]}
ROWS = [{"width": 2, "trace": 1.5, "note": "a"}, {"width": 4, "trace": 2.5, "note": "b"}]


@pytest.mark.parametrize("table", [COLUMNS, ROWS, Frame(COLUMNS)], ids=["columns", "rows", "frame"])
def test_every_kind_of_table_has_the_same_columns(table):
    found = columns_of(table)
    assert list(found) == ["width", "trace", "note"]
    assert found["width"].dtype == np.int64
    assert found["trace"].dtype == np.float64
    assert found["width"].tolist() == [2, 4]
    assert found["note"].tolist() == ["a", "b"]


@pytest.mark.parametrize("table", [COLUMNS, ROWS, Frame(COLUMNS)], ids=["columns", "rows", "frame"])
def test_added_columns_come_back_in_the_same_kind_and_leave_the_table_alone(table):
    before = columns_of(table)
    new = with_columns(table, {"phase": np.array(["I", "II"]), "trace": np.array([0.0, 1.0])})
    assert type(new) is type(table)
    assert columns_of(new)["phase"].tolist() == ["I", "II"]
    assert columns_of(new)["trace"].tolist() == [0.0, 1.0]
    after = columns_of(table)
    assert list(after) == list(before)
    assert after["trace"].tolist() == [1.5, 2.5]


def test_changing_the_copy_does_not_change_the_original():
    table = {"width": np.array([1, 2])}
    with_columns(table, {})["width"][0] = 99
    assert table["width"].tolist() == [1, 2]


def test_none_is_nan_among_numbers_and_empty_among_text():
    found = columns_of([{"a": 1, "b": None}, {"b": "x"}])
    assert found["a"][0] == 1.0
    assert math.isnan(found["a"][1])
    assert found["b"].tolist() == ["", "x"]


@pytest.mark.parametrize(
    ("table", "error", "said"),
    [
        (3, TypeError, "table must be"),
        ("text", TypeError, "table must be"),
        ([1, 2], TypeError, "rows must be"),
        ({"a": [1, 2], "b": [1]}, ValueError, "different lengths"),
        ({"a": [[1, 2], [3, 4]]}, ValueError, "one-dimensional"),
    ],
)
def test_what_is_no_table_is_refused(table, error, said):
    with pytest.raises(error, match=said):
        columns_of(table)


def test_a_missing_column_names_the_argument_and_the_nearest():
    with pytest.raises(ValueError, match=r"sharpness: .*'log_trace'.*'log_hessian_trace'"):
        column(columns_of({"log_hessian_trace": [1], "w": [2]}), "log_trace", argument="sharpness")


def test_text_among_numbers_is_an_error_that_names_the_row():
    columns = columns_of({"mc": ["1.5", "", "high"]})
    with pytest.raises(ValueError, match=r"connectivity: column 'mc' holds 'high' in row 2"):
        numbers(columns, "mc", argument="connectivity")


def write(path, text):
    path.write_text(text)
    return path


def test_a_csv_column_takes_the_narrowest_type_that_fits_it_all(tmp_path):
    text = "n,x,gap,ok,id,no,none\n1,1.5,3,true,007,1_0,\n\n-2,2e3,,False,12,5,\n"
    found = read_table(write(tmp_path / "t.csv", "\ufeff" + text))
    assert found["n"].tolist() == [1, -2]
    assert found["x"].tolist() == [1.5, 2000.0]
    assert found["gap"][0] == 3.0
    assert math.isnan(found["gap"][1])
    assert found["ok"].tolist() == [True, False]
    assert found["id"].tolist() == ["007", "12"]
    assert found["no"].tolist() == ["1_0", "5"]
    assert np.isnan(found["none"]).all()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no header"),
        ("a,b\n1,2\n3\n", "line 3: 1 fields where the header has 2"),
        ("a,b\n1,2,3\n", "line 2: 3 fields"),
        ("a,b,a\n1,2,3\n", "'a' appears twice"),
        ("a,,c\n1,2,3\n", "column 2 has no name"),
        ('a,b\n"1,2\n', "not a CSV table"),
    ],
)
def test_a_bad_csv_is_refused_with_its_place(tmp_path, text, said):
    with pytest.raises(ValueError, match=said):
        read_table(write(tmp_path / "t.csv", text))


def test_a_file_that_is_no_text_or_is_missing_is_refused(tmp_path):
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(ValueError, match="not a CSV table"):
        read_table(tmp_path / "b.csv")
    with pytest.raises(FileNotFoundError, match=r"no table at .*nowhere\.csv"):
        read_table(tmp_path / "nowhere.csv")


@given(
    st.lists(st.floats(allow_infinity=True, allow_nan=True), min_size=1, max_size=8),
    st.integers(-(2**63), 2**63 - 1),
)
def test_numbers_survive_a_file_to_the_last_bit(tmp_path_factory, reals, integer):
    path = tmp_path_factory.mktemp("table") / "t.csv"
    write_table(path, {"n": [integer] * len(reals), "x": np.array(reals)})
    found = read_table(path)
    assert found["n"].tolist() == [integer] * len(reals)
    assert np.array_equal(found["x"], reals, equal_nan=True)
    real = ~np.isnan(reals)
    assert np.array_equal(np.signbit(found["x"][real]), np.signbit(np.array(reals)[real]))


def test_booleans_and_text_survive_a_file(tmp_path):
    write_table(tmp_path / "new" / "t.csv", {"ok": [True, False], "note": ['a,"b"', "c\nd"]})
    found = read_table(tmp_path / "new" / "t.csv")
    assert found["ok"].dtype == np.bool_
    assert found["note"].tolist() == ['a,"b"', "c\nd"]


def test_a_table_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "t.csv"
    write_table(path, {"a": [1]})
    with pytest.raises(ValueError, match="different lengths"):
        write_table(path, {"a": [1], "b": [1, 2]})
    assert read_table(path)["a"].tolist() == [1]
    assert [file.name for file in tmp_path.iterdir()] == ["t.csv"]

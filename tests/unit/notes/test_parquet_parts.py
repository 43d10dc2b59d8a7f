"""Parquet in one file and in parts: each by its own schema, and none is passed over unseen."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from deepicd.errors import DataError
from deepicd.notes.parquet_parts import _broken, read_batches, read_schemas

LONG = 12345678901234567


def write_part(path: Path, *values: object, kind: pa.DataType | None = None) -> Path:
    path.parent.mkdir(exist_ok=True)
    pa.parquet.write_table(pa.table({"pid": pa.array(values, kind), "other": values}), path)
    return path


def texts(path: Path) -> list[str | None]:
    pieces = (rows["pid"].cast(pa.string()) for _, _, rows in read_batches(path, ["pid"], 2))
    return [text for piece in pieces for text in piece.to_pylist()]


def test_each_part_is_read_by_its_own_schema(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    write_part(folder / "a.parquet", None, None)
    write_part(folder / "b.parquet", 0.5)
    write_part(folder / "c.parquet", LONG, LONG + 1, LONG + 2)
    write_part(folder / "d" / "e.parquet", "x7")
    assert texts(folder) == [None, None, "0.5", *(str(LONG + one) for one in range(3)), "x7"]
    kinds = [str(schema.field("pid").type) for schema in read_schemas(folder).values()]
    assert kinds == ["null", "double", "int64", "string"]


def test_pieces_tell_their_part_and_how_many_rows_of_it_came_before(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    paths = [write_part(folder / f"{name}.parquet", 1, 2, 3) for name in "ab"]
    got = [(part, first, rows.num_rows) for part, first, rows in read_batches(folder, ["pid"], 2)]
    assert got == [(path, first, number) for path in paths for first, number in ((0, 2), (2, 1))]


@pytest.mark.parametrize("name", ["_b.parquet", ".b.parquet", "_b", "_temporary/b.parquet"])
def test_a_part_that_is_hidden_is_refused_by_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "parts"
    write_part(folder / "a.parquet", 1)
    write_part(folder / name, 2)
    with pytest.raises(DataError, match=rf"{name} is a Parquet file whose name begins with _ or"):
        read_schemas(folder)


def test_what_tools_leave_beside_their_parts_is_no_part(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    path = write_part(folder / "a.parquet", 1)
    write_part(folder / "_metadata", 1)
    (folder / "_SUCCESS").touch()
    (folder / ".a.parquet.crc").write_bytes(b"crc")
    assert list(read_schemas(folder)) == [path]


def test_other_files_in_a_folder_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    write_part(folder / "a.parquet", 1)
    (folder / "README.md").write_text("text")
    message = r"must hold Parquet parts alone; 1 of 2 files are none, such as README\.md"
    with pytest.raises(DataError, match=message):
        read_schemas(folder)


def test_a_folder_of_csv_files_and_an_empty_one_are_called_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder without a file"):
        read_schemas(tmp_path)
    (tmp_path / "a.csv").write_text("a,b")
    with pytest.raises(
        DataError, match=r"1 of 1 .* such as a\.csv.* of CSV or JSON lines name one"
    ):
        read_schemas(tmp_path)


def test_a_column_that_stands_twice_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.Table.from_arrays([pa.array([one]) for one in (1, 2, 3)], ["pid", "b", "b"])
    pa.parquet.write_table(table, path)
    with pytest.raises(DataError, match="has the column b more than once"):
        read_schemas(path)


def test_a_missing_permission_is_named_with_the_way_out() -> None:
    error = _broken(Path("t.parquet"), PermissionError(13, "denied"))
    assert "may not be read (permission denied); ask its owner" in str(error)

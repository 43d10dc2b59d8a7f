"""The identity of a build: what a resume compares."""

import json
from pathlib import Path

import pytest
from note_rows import note_of

from deepicd.config import DataConfig
from deepicd.errors import DataError, MissingError
from deepicd.notes import identity, split_files
from deepicd.paths import SPLITS


def test_a_resume_takes_only_the_notes_it_would_build(tmp_path: Path) -> None:
    config = DataConfig(num_notes=200)
    for number, name in enumerate(SPLITS):
        split_files.write_split([note_of(number)], tmp_path / f"{name}.parquet")
    hashes = {name: identity.hash_split(tmp_path / f"{name}.parquet") for name in SPLITS}
    stored = {"identity": identity.identify(config, hashes=hashes)}
    (tmp_path / "report.json").write_text(json.dumps(stored))
    same = config.model_copy(update={"max_prompt_tokens": 64, "root": Path("moved")})
    assert identity.check_identity(tmp_path, same) == stored
    other = config.model_copy(update={"num_notes": 300, "split_seed": 2})
    with pytest.raises(DataError, match=r"settings.num_notes is 200 there and 300 here; seed is 1"):
        identity.check_identity(tmp_path, other)
    split_files.write_split([note_of(9)], tmp_path / "test.parquet")
    with pytest.raises(DataError, match=r"holds other notes .*: splits.test is [0-9a-f]+ there"):
        identity.check_identity(tmp_path, config)
    (tmp_path / "test.parquet").unlink()
    with pytest.raises(MissingError, match=r"no split at .*test\.parquet"):
        identity.check_identity(tmp_path, config)


def test_a_build_that_is_used_as_it_is_must_be_what_its_report_says(tmp_path: Path) -> None:
    built = DataConfig(num_notes=200, split_seed=3)
    for number, name in enumerate(SPLITS):
        split_files.write_split([note_of(number)], tmp_path / f"{name}.parquet")
    hashes = {name: identity.hash_split(tmp_path / f"{name}.parquet") for name in SPLITS}
    stored = {"identity": identity.identify(built, hashes=hashes)}
    (tmp_path / "report.json").write_text(json.dumps(stored))
    # Settings of the build are those of its report, whatever the experiment says of them.
    assert identity.check_build(tmp_path, DataConfig(splits=tmp_path)) == stored
    with pytest.raises(DataError, match=r"source is embedded there and mimic here"):
        identity.check_build(tmp_path, DataConfig(source="mimic", splits=tmp_path))
    split_files.write_split([note_of(9)], tmp_path / "test.parquet")
    with pytest.raises(DataError, match=r"splits.test is [0-9a-f]+ there"):
        identity.check_build(tmp_path, DataConfig(splits=tmp_path))


def test_columns_and_sections_count_for_notes_of_ones_own_and_their_place_never() -> None:
    def settings(**values: object) -> dict[str, object]:
        config = DataConfig(**{"source": "table", "file": Path("a.csv"), **values})  # type: ignore[arg-type]
        return dict(identity.identify(config, hashes={})["settings"])

    assert settings() == settings(file=Path("b.csv"))
    assert settings() != settings(sections="keep") != settings(columns={"note": "text"})
    assert not {"columns", "sections"} & settings(source="embedded").keys()

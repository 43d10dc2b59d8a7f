"""Dataset card and baselines: the numbers of the report, no text, no small count of MIMIC-IV."""

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from deepicd.config import DataConfig
from deepicd.notes import build, build_report, split_files
from deepicd.notes.baselines import score_baselines
from deepicd.notes.card import MIN_SHOWN, named_scores, render_card, write_card
from deepicd.notes.identity import identify
from deepicd.paths import SPLITS
from deepicd.records import Note

TEXTS = {"I214": "CHIEF COMPLAINT: chest pain SECRET", "J189": "CHIEF COMPLAINT: cough SECRET"}


def notes_of(num_notes: int, start: int = 0) -> list[Note]:
    """Two of three notes are I214."""
    golds = ["J189" if number % 3 == 2 else "I214" for number in range(num_notes)]
    return [
        Note(f"n{start + i}", f"p{start + i}", f"a{start + i}", f"{TEXTS[gold]} {i}", gold)
        for i, gold in enumerate(golds)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Splits of 30, 3, 6 and 3 notes."""
    for name, size in zip(SPLITS, (30, 3, 6, 3), strict=True):
        split_files.write_split(
            notes_of(size, 100 * SPLITS.index(name)), tmp_path / f"{name}.parquet"
        )
    return tmp_path


def report_of(folder: Path, source: str, **settings: Any) -> dict[str, Any]:
    tables = [
        split_files.pq.read_table(folder / f"{name}.parquet").append_column(
            "split", pa.array([name] * size)
        )
        for name, size in zip(SPLITS, (30, 3, 6, 3), strict=True)
    ]
    rows = pa.concat_tables(tables)
    rows = rows.append_column("num_characters", build.pc.utf8_length(rows["text"]))
    place = {"file" if source == "table" else "root": Path("SECRETROOT")}
    config = DataConfig(source=source, **place, **settings)
    return {
        "source": source,
        "seed": 1,
        **build_report.summarise_build(rows, ["addendum", "addendum", "", ""]),
        "identity": identify(config, hashes=dict.fromkeys(SPLITS, "f" * 64)),
        "baselines": score_baselines(folder) if source == "embedded" else None,
        "ceiling": None,
    }


def test_both_cards_say_what_the_report_says_and_hold_no_text(folder: Path) -> None:
    summary = report_of(folder, "embedded")
    write_card(summary, folder)
    page = (folder / "card.html").read_text()
    markdown = (folder / "card.md").read_text()
    assert "| I21.4 | Non-ST elevation (NSTEMI) myocardial infarction | 28 | 66.7% |" in markdown
    assert "| train | 30 | 30 | 2 | 2 |" in markdown
    assert "| addendum | 2 |" in markdown
    assert "| X | Diseases of the respiratory system | 10 | 1 | 2 | 1 |" in markdown
    assert "| majority code (floor) | 0.667 |" in markdown
    assert "seq_num 1" in markdown and "the profile that the note was written from" in markdown
    assert "billing" not in markdown and "noisy" not in markdown
    for text in (page, markdown):
        assert "SECRET" not in text and "n101" not in text and "p101" not in text
    body = page.partition("</script>")[2]
    assert re.sub(r"\s+", " ", body).count("<table>") == 7
    assert not re.search(r'(?:src|href)="(?:https?:)?//', body)  # works without a network


def test_a_card_of_mimic_gives_no_small_count(folder: Path) -> None:
    summary = report_of(folder, "mimic")
    markdown = render_card(summary)["md"]
    assert "credentialed" in markdown and "the priority of billing" in markdown
    assert "noisy target" in markdown
    assert "| addendum | < 10 |" in markdown
    assert f"| X | Diseases of the respiratory system | 10 | < {MIN_SHOWN} |" in markdown
    assert "--baselines" in markdown and named_scores(summary) == {}
    summary["labels"]["J189"] = {"train": 9, "validation": 0, "test": 0, "promotion": 0}
    assert "J18.9" not in render_card(summary)["md"]


@pytest.mark.parametrize(
    ("source", "words"), [("table", "the column that the group named"), ("fhir", "rank 1 of the")]
)
def test_a_card_of_a_groups_own_notes_says_what_they_are(
    folder: Path, source: str, words: str
) -> None:
    cut = render_card(report_of(folder, source))["md"]
    assert words in cut and "it was written at discharge" in cut and "seq_num" not in cut
    assert "| setting columns.note | note |" in cut and "| addendum | < 10 |" in cut
    kept = render_card(report_of(folder, source, sections="keep"))["md"]
    assert "A note is an admission note as it was given" in kept
    assert "| setting sections | keep |" in kept and "SECRET" not in kept

"""`deepicd notes`: build the split admission notes, look at what was built, audit it for leaks."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from deepicd.cli.options import JsonOption

app = typer.Typer(
    no_args_is_help=True,
    help="Build and inspect the split admission notes.",
    epilog="Example: deepicd notes show runs/demo/notes",
)


@app.command()
def build(
    out: Annotated[Path, typer.Option(help="Folder of the splits; an earlier build in it: --yes.")],
    source: Annotated[
        Literal["embedded", "mimic", "table", "fhir"], typer.Option(help="Where notes come from.")
    ] = "embedded",
    root: Annotated[
        Path | None,
        typer.Option(help="mimic: folder with note/, hosp/. fhir: folder of NDJSON files."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="table: CSV, JSON lines or Parquet, a row a note.")
    ] = None,
    columns: Annotated[
        str,
        typer.Option(
            help="table: WHAT=COLUMN,… where the file's names differ; WHAT is note, patient, "
            "admission, code, or if there are any id, order, sex, race, age, insurance."
        ),
    ] = "",
    sections: Annotated[
        str,
        typer.Option(
            help="table, fhir: cut (whole discharge summaries; default) or keep (admission notes)."
        ),
    ] = "",
    tables: Annotated[
        Path | None, typer.Option(help="Where embedded tables are written; default OUT/../tables.")
    ] = None,
    num_notes: Annotated[int, typer.Option(help="Admissions of the embedded corpus.")] = 6000,
    num_codes: Annotated[int, typer.Option(help="Its principal diagnoses; 0: all.")] = 51,
    difficulty: Annotated[
        float, typer.Option(help="Its gaps and noise: 0 easy, 0.5 as authored, 1 hard.")
    ] = 0.5,
    seed: Annotated[int, typer.Option(help="Seed of corpus, splits and row order.")] = 1,
    card: Annotated[bool, typer.Option(help="Write card.md and card.html.")] = True,
    baselines: Annotated[
        bool | None,
        typer.Option(help="Score a linear model for the card; default: embedded only."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Delete the earlier build that --out or --tables holds.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write train, validation, test and promotion splits, report.json and the dataset card.

    Examples:

    deepicd notes build --num-notes 300 --num-codes 12 --out runs/mine/notes

    deepicd notes build --source mimic --root /data/mimic-iv --out runs/mimic/notes

    deepicd notes build --source table --file notes.csv --out runs/ours/notes
    --columns note=text,patient=pid,admission=stay,code=icd10

    deepicd notes build --source fhir --root export --out runs/export/notes
    """
    from deepicd.cli.console import print_outcome
    from deepicd.cli.text import notes_lines
    from deepicd.config import options_of_source, parse_build_options
    from deepicd.notes import build_notes
    from deepicd.notes.earlier_build import check_replaced

    data = options_of_source(source, root=root, file=file, columns=columns, sections=sections)
    data |= {"num_notes": num_notes, "num_codes": num_codes, "difficulty": difficulty}
    data["split_seed"] = seed
    config = parse_build_options(data)
    has_baselines = source == "embedded" if baselines is None else baselines
    folders = {"tables": tables or out.absolute().parent / "tables", "out": out}
    check_replaced(out, folders["tables"] if source == "embedded" else None, may_delete=yes)
    report = build_notes(config, **folders, is_card_written=card, has_baselines=has_baselines)
    print_outcome(report, notes_lines(report), as_json=as_json)


@app.command()
def show(
    out: Annotated[Path, typer.Argument(help="Folder that build wrote.")],
    split: Annotated[str, typer.Option(help="Split of the note to show.")] = "train",
    row: Annotated[int | None, typer.Option(min=0, help="Show this note, counted from 0.")] = None,
    show_text: Annotated[
        bool, typer.Option("--show-text", help="Print text of a credentialed source too.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print counts by split, reason and label; or one note.

    Example: deepicd notes show runs/demo/notes --split test --row 0
    """
    from deepicd.cli.console import print_outcome
    from deepicd.cli.text import notes_lines
    from deepicd.notes import read_build_report, read_note

    if row is None:
        report = read_build_report(out)
        print_outcome(report, notes_lines(report), as_json=as_json)
        return
    note = read_note(out, split, row=row, is_text_shown=show_text)
    print_outcome(note, [note["code"], note["text"]], as_json=as_json)


@app.command()
def audit(
    out: Annotated[Path, typer.Argument(help="Folder that build wrote.")],
    traces: Annotated[
        Path | None, typer.Option(help="SFT traces (Parquet): must be of training notes only.")
    ] = None,
    max_title_share: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of notes that may hold their gold title word for word."
        ),
    ] = 0.05,
    limit: Annotated[
        list[str] | None,
        typer.Option(help="CHECK=SHARE of notes that a check accepts; may be given several times."),
    ] = None,
    similarity: Annotated[
        float, typer.Option(min=0.5, max=1, help="Similarity of two near-duplicates.")
    ] = 0.8,
    doubt: Annotated[
        float | None,
        typer.Option(
            help="Score above which a passage reads like the stay (log of the odds); default: the "
            "one that the build learnt."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Look for leaks into the notes and between the splits; exit code 1 when there is one.

    Example: deepicd notes audit runs/demo/notes --traces runs/demo/traces.parquet
    """
    from deepicd.cli.console import print_outcome
    from deepicd.cli.text import audit_lines
    from deepicd.notes.audit import as_report, audit_notes, has_leak, parse_limits
    from deepicd.notes.late_text import load_judge
    from deepicd.traces import read_traces

    limits = {"gold_title": max_title_share, **parse_limits(limit or ())}
    traced = read_traces(traces) if traces else None
    judge = load_judge(out, threshold=doubt)
    checks = audit_notes(out, traces=traced, limits=limits, similarity=similarity, judge=judge)
    report = as_report(checks, judge) | {"similarity": similarity}
    lines = audit_lines([check.as_dict() for check in checks], judge.summary() if judge else None)
    print_outcome(report, lines, as_json=as_json)
    raise typer.Exit(1 if has_leak(checks) else 0)

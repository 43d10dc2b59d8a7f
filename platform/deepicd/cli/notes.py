"""`deepicd notes`: build the split admission notes, look at what was built, audit it for leaks."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="Build and inspect the split admission notes.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def build(
    out: Annotated[Path, typer.Option(help="Folder of the splits; replaced as a whole.")],
    source: Annotated[str, typer.Option(help="embedded or mimic.")] = "embedded",
    root: Annotated[Path | None, typer.Option(help="Folder with MIMIC-IV's note/, hosp/.")] = None,
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
    as_json: Json = False,
) -> None:
    """Write train, validation, test and promotion splits, report.json and the dataset card.

    Example: deepicd notes build --source mimic --root /data/mimic-iv --out runs/mimic/notes
    """
    from deepicd.config import parse_experiment
    from deepicd.notes import build_notes

    values = {
        "source": source,
        "num_notes": num_notes,
        "num_codes": num_codes,
        "difficulty": difficulty,
    }
    values |= {"root": str(root)} if root else {}
    config = parse_experiment({"data": values}, "command line").data
    report = build_notes(
        config,
        tables=tables or out.with_name("tables"),
        out=out,
        seed=seed,
        is_card_written=card,
        has_baselines=source == "embedded" if baselines is None else baselines,
    )
    typer.echo(json.dumps(report, indent=2) if as_json else "\n".join(_as_lines(report)))


@app.command()
def show(
    out: Annotated[Path, typer.Argument(help="Folder that build wrote.")],
    split: Annotated[str, typer.Option(help="Split of the note to show.")] = "train",
    row: Annotated[int | None, typer.Option(help="Show this note, counted from 0.")] = None,
    show_text: Annotated[
        bool, typer.Option("--show-text", help="Print text of a credentialed source too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print counts by split, reason and label; or one note.

    Example: deepicd notes show runs/demo/notes --split test --row 0
    """
    from deepicd.notes import read_build_report, read_note

    if row is None:
        report = read_build_report(out)
        typer.echo(json.dumps(report, indent=2) if as_json else "\n".join(_as_lines(report)))
        return
    note = read_note(out, split, row=row, is_text_shown=show_text)
    typer.echo(json.dumps(note, indent=2) if as_json else f"{note['code']}\n{note['text']}")


@app.command()
def audit(
    out: Annotated[Path, typer.Argument(help="Folder that build wrote.")],
    traces: Annotated[
        Path | None, typer.Option(help="SFT traces (Parquet): must be of training notes only.")
    ] = None,
    max_title_share: Annotated[
        float, typer.Option(help="Share of notes that may hold their gold title word for word.")
    ] = 0.05,
    as_json: Json = False,
) -> None:
    """Look for leaks into the notes and between the splits; exit code 1 when there is one.

    Example: deepicd notes audit runs/demo/notes --traces runs/demo/traces.parquet
    """
    from deepicd.notes.audit import audit_notes, has_leak
    from deepicd.traces import read_traces

    rows = read_traces(traces) if traces else ()
    checks = audit_notes(out, traces=rows, limits={"gold_title": max_title_share})
    listed = [check.as_dict() for check in checks]
    typer.echo(json.dumps(listed, indent=2) if as_json else "\n".join(_audit_lines(listed)))
    raise typer.Exit(1 if has_leak(checks) else 0)


def _audit_lines(checks: list[dict[str, Any]]) -> list[str]:
    """The checks as a table; examples are note ids."""
    lines = [f"{'check':18}{'verdict':>9}{'count':>8}{'share':>9}{'limit':>8}  examples"]
    for check in checks:
        counts = f"{check['count']:8}{check['share']:9.2%}{check['limit']:8.0%}"
        examples = " ".join(check["examples"])
        lines.append(f"{check['name']:18}{check['verdict']:>9}{counts}  {examples}".rstrip())
    return lines


def _as_lines(report: dict[str, Any]) -> list[str]:
    """The report as a table."""
    from deepicd.notes.card import named_scores

    lines = [f"source {report['source']}, seed {report['seed']}, {report['num_labels']} labels"]
    lines += [f"{'split':12}{'notes':>8}{'patients':>10}{'labels':>8}{'chapters':>10}"]
    for name, counts in report["splits"].items():
        numbers = f"{counts['num_notes']:8}{counts['num_patients']:10}{counts['num_labels']:8}"
        lines.append(f"{name:12}{numbers}{counts['num_chapters']:10}")
    lines += [f"left out: {reason} {count}" for reason, count in report["dropped"].items()]
    common = list(report["labels"].items())
    for code, counts in (*common[:3], *common[-3:]):
        lines.append(f"{code:8} {counts['train']:6} in train, {counts['test']:6} in test")
    for name, scores in named_scores(report).items():
        full, path = scores["accuracy_full"], scores["hierarchical_f1"]
        lines.append(f"{name} on test: accuracy {full:.3f}, hierarchical F1 {path:.3f}")
    return lines

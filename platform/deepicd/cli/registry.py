"""`deepicd registry`: versions, aliases and the audit log of a registry.

In: a registry folder. Out: tables, or JSON with `--json`. Exit code 7 where a version is damaged.
"""

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(no_args_is_help=True, help="List and verify model versions and their aliases.")

RegistryOption = Annotated[
    str, typer.Option("--registry", metavar="DIR", help="Folder or fsspec URL of the registry.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
NameArgument = Annotated[str, typer.Argument(metavar="VERSION", help="Version or alias.")]


@app.command("list")
def list_versions(registry: RegistryOption, as_json: JsonOption = False) -> None:
    """Every version with its alias and scores.

    Example: deepicd registry list --registry runs/demo/registry
    """
    from deepicd.promotion.remote_registry import open_registry

    store = open_registry(registry)
    aliases = {name: alias for alias, name in store.aliases().items()}
    rows = [{**as_row(version), "alias": aliases.get(version.name)} for version in store.versions()]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        columns = ("name", "alias", "created", "scores", "lineage")
        print_table(columns, [[_cell(row[column]) for column in columns] for row in rows])


@app.command()
def show(name: NameArgument, registry: RegistryOption, as_json: JsonOption = False) -> None:
    """The model card of one version; with --json its lineage and scores.

    Example: deepicd registry show champion --registry runs/demo/registry
    """
    from deepicd.promotion.registry import CARD
    from deepicd.promotion.remote_registry import open_registry

    version = open_registry(registry).get(name)
    text = (version.path / CARD).read_text(encoding="utf-8")
    typer.echo(json.dumps(as_row(version), indent=2) if as_json else text)


@app.command()
def diff(
    first: Annotated[str, typer.Argument(metavar="VERSION", help="Version or alias.")],
    second: Annotated[str, typer.Argument(metavar="OTHER", help="Version or alias.")],
    registry: RegistryOption,
    as_json: JsonOption = False,
) -> None:
    """What differs between two versions: lineage, scores, contents.

    Example: deepicd registry diff v0001 champion --registry runs/demo/registry
    """
    from deepicd.promotion.registry import compare
    from deepicd.promotion.remote_registry import open_registry

    store = open_registry(registry)
    rows = compare(store.get(first), store.get(second))
    if as_json:
        typer.echo(
            json.dumps([{"field": f, "first": a, "second": b} for f, a, b in rows], indent=2)
        )
    else:
        print_table(("", first, second), [[field, _cell(a), _cell(b)] for field, a, b in rows])


@app.command()
def verify(
    registry: RegistryOption,
    name: Annotated[str | None, typer.Argument(metavar="[VERSION]", help="One, else all.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Hash every file of one version, or of all, and compare with what was registered.

    Example: deepicd registry verify --registry runs/demo/registry
    """
    from deepicd.promotion.remote_registry import open_registry

    store = open_registry(registry)
    names = [name] if name else [version.name for version in store.versions()]
    verified = [store.verify(each).name for each in names]
    typer.echo(json.dumps({"verified": verified}) if as_json else f"sound: {', '.join(verified)}")


@app.command()
def log(registry: RegistryOption, as_json: JsonOption = False) -> None:
    """The audit log: registrations, decisions, promotions, roll-backs.

    Example: deepicd registry log --registry runs/demo/registry
    """
    from deepicd.promotion.remote_registry import open_registry

    events = open_registry(registry).events()
    if as_json:
        typer.echo(json.dumps([asdict(event) for event in events], indent=2))
    else:
        rows = [[str(e.number), e.kind, e.version, describe(e.details)] for e in events]
        print_table(("", "event", "version", "why"), rows)


def as_row(version: Any) -> dict[str, Any]:
    """A version as JSON-ready values."""
    return {**asdict(version), "path": str(version.path)}


def describe(details: Any) -> str:
    """Why an event happened, in words."""
    return str(details.get("reason") or "; ".join(details.get("reasons", ())))


def print_table(columns: Any, rows: Any) -> None:
    """A table on the terminal."""
    table = Table(*columns)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{name} {_cell(entry)}" for name, entry in sorted(value.items()))
    if isinstance(value, float):
        return f"{value:.4f}"
    return "" if value is None else str(value)

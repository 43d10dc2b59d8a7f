"""`deepicd registry`: versions, aliases and the audit log of a registry.

In: a registry. Out: tables, or JSON with `--json`. Exit code 7 where a version is damaged.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from deepicd.cli.options import RegistryOption

app = typer.Typer(
    no_args_is_help=True,
    help="List, add and verify model versions.",
    epilog="Example: deepicd registry list --registry runs/registry",
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
NameArgument = Annotated[str, typer.Argument(metavar="VERSION", help="Version or alias.")]


@app.command("list")
def list_versions(registry: RegistryOption, as_json: JsonOption = False) -> None:
    """Every version with its alias and scores.

    Example: deepicd registry list --registry runs/demo/registry
    """
    from deepicd.cli.console import print_outcome, print_table
    from deepicd.cli.text import VERSION_COLUMNS, version_cells
    from deepicd.promotion.remote_registry import open_existing

    store = open_existing(registry)
    aliases = {name: alias for alias, name in store.aliases().items()}
    versions = [(each, aliases.get(each.name)) for each in store.versions()]
    if as_json:
        rows = [{**each.as_dict(), "alias": alias} for each, alias in versions]
        print_outcome(rows, [], as_json=True)
    else:
        print_table(VERSION_COLUMNS, (version_cells(each, alias) for each, alias in versions))


@app.command()
def add(
    folder: Annotated[Path, typer.Argument(help="Hugging Face model folder.")],
    registry: RegistryOption,
    experiment: Annotated[
        Path | None, typer.Option(help="Experiment file with its limits and data.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Register a model folder of your own; pickles and scripts are refused.

    Example: deepicd registry add runs/demo/sft --registry runs/registry
    """
    from deepicd.checkpoints import check_layout
    from deepicd.cli.console import print_outcome

    check_layout(folder)  # before the seconds and the processes of what is imported below
    from deepicd.pipeline.promotion.by_hand import add_version

    version = add_version(folder, registry=registry, experiment=experiment)
    print_outcome(version.as_dict(), [f"{version.name} is {folder}"], as_json=as_json)


@app.command()
def show(name: NameArgument, registry: RegistryOption, as_json: JsonOption = False) -> None:
    """The model card of one version and its lineage; with --json lineage and scores.

    Example: deepicd registry show champion --registry runs/demo/registry
    """
    from deepicd.cli.console import print_outcome
    from deepicd.cli.text import lineage_lines
    from deepicd.promotion.remote_registry import open_existing
    from deepicd.promotion.versions import CARD

    version = open_existing(registry).get(name)
    card = (version.path / CARD).read_text(encoding="utf-8")
    print_outcome(version.as_dict(), [card, *lineage_lines(version)], as_json=as_json)


@app.command()
def diff(
    first: Annotated[str, typer.Argument(metavar="VERSION", help="Version or alias.")],
    second: Annotated[str, typer.Argument(metavar="OTHER", help="Version or alias.")],
    registry: RegistryOption,
    as_json: JsonOption = False,
) -> None:
    """What differs between two versions: contents, lineage field by field, scores.

    Example: deepicd registry diff v0001 champion --registry runs/demo/registry
    """
    from deepicd.cli.console import print_outcome, print_table
    from deepicd.cli.text import cell
    from deepicd.promotion.remote_registry import open_existing
    from deepicd.promotion.versions import compare

    store = open_existing(registry)
    rows = compare(store.get(first), store.get(second))
    if as_json:
        differences = [{"field": f, "first": a, "second": b} for f, a, b in rows]
        print_outcome(differences, [], as_json=True)
    else:
        print_table(("", first, second), [[field, cell(a), cell(b)] for field, a, b in rows])


@app.command()
def verify(
    registry: RegistryOption,
    name: Annotated[str | None, typer.Argument(metavar="[VERSION]", help="One, else all.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Hash every file of one version, or of all, and compare with what was registered.

    Example: deepicd registry verify --registry runs/demo/registry
    """
    from deepicd.cli.console import print_outcome
    from deepicd.promotion.remote_registry import open_existing

    store = open_existing(registry)
    names = [name] if name else [version.name for version in store.versions()]
    verified = [store.verify(each).name for each in names]
    line = f"verified: {', '.join(verified)}"
    print_outcome({"verified": verified}, [line], as_json=as_json, indent=None)


@app.command()
def log(registry: RegistryOption, as_json: JsonOption = False) -> None:
    """The audit log: registrations, decisions, promotions, roll-backs.

    Example: deepicd registry log --registry runs/demo/registry
    """
    from deepicd.cli.console import print_outcome, print_table
    from deepicd.promotion.remote_registry import open_existing

    events = open_existing(registry).events()
    if as_json:
        print_outcome([asdict(event) for event in events], [], as_json=True)
    else:
        rows = [[str(event.number), event.kind, event.version, event.why] for event in events]
        print_table(("", "event", "version", "why"), rows)


@app.command()
def gc(
    registry: RegistryOption,
    grace_days: Annotated[
        float, typer.Option(help="Days that a folder stays after it was set aside.", min=0)
    ] = 7,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Delete it.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete folders that no event names (versions/.orphans); registered versions always stay.

    Example: deepicd registry gc --registry runs/registry --dry-run
    """
    from deepicd.cli.console import print_outcome
    from deepicd.promotion.garbage import collect_garbage
    from deepicd.promotion.remote_registry import open_existing

    store = open_existing(registry)
    gone = collect_garbage(store, grace_days=grace_days, is_shown_only=dry_run, may_delete=yes)
    lines = [f"{each.path}: {each.num_bytes} bytes, {each.days:g} days" for each in gone]
    print_outcome([asdict(each) for each in gone], lines or ["nothing to delete"], as_json=as_json)

"""Outcomes as lines of text for people.

In: what a command found. Out: lines. Decided here: widths and numbers of digits. No line holds text
of a note, except the reply that a user asked for.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from textwrap import wrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from deepicd.doctor.facts import Check
    from deepicd.monitoring.alerts import Rule
    from deepicd.pipeline.cache import Entry
    from deepicd.pipeline.cluster.check import ClusterVerdict
    from deepicd.pipeline.validation import Verdict
    from deepicd.promotion.versions import Version
    from deepicd.records import Decision
    from deepicd.sweeps.planning.plan import Plan

VERSION_COLUMNS = ("name", "alias", "created", "scores", "from")

_SIZES = ("num_bytes", "freed_bytes")
_MAX_LISTED = 12
"""Siblings and children printed for a person; JSON has all."""
_WIDTH = 80
_NOT_CHECKED = "not checked"
"""Verdict of `notes.audit` on what it had nothing to look with."""
_NUM_SHOWN_CODES = 3
"""Most and least common codes in the lines about a build of notes."""
_SMALL_GB = 0.1
"""Sizes below it are told in MB."""


def audit_lines(
    checks: Sequence[Mapping[str, Any]], judge: Mapping[str, Any] | None
) -> Iterator[str]:
    """Checks for leaks, one a line; examples are note ids; what the judge of late text can find."""
    yield f"{'check':18}{'verdict':>12}{'count':>8}{'share':>9}{'limit':>12}  examples"
    for check in checks:
        examples = ", ".join(check["examples"])
        yield f"{check['check']:18}{check['verdict']:>12}{_counts(check)}  {examples}".rstrip()
    for check in checks:
        if why := check.get("why"):
            yield f"{check['check']} was not looked for: {why}"
    if judge is None:
        return
    if judge["recall"] is None:
        yield f"late_wording: passages that score above {judge['threshold']:g}"
    else:
        finds = f"finds {judge['recall']:.0%} of the passages of the stay"
        yield f"late_wording: passages that score above {judge['threshold']:.2f}, which {finds}"


def attack_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """What an attack on a reward found: for each answer why, where, and the answer."""
    yield (
        f"{report['num_answers']} answers to {report['num_notes']} notes; the right answer, given "
        f"honestly, earns {report['honest_best']:.4g}"
    )
    for found in report["found"]:
        yield f"{found['name']}: {found['why']}"
        yield f"  on {found['num_notes']} notes, weights {found['reward']}"
        yield f"  {found['answer']!r}"
    if not report["found"]:
        yield "no answer earns more than an honest one"


def sensitivity_lines(weights: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """For each weight the answers with their totals at both ends, then who passes whom where."""
    for weight in weights:
        low, high = f"{weight['low']:.4g}", f"{weight['high']:.4g}"
        yield f"{weight['address']}, {weight['own']:.4g} in the file"
        yield f"  {'answer, best at the low end first':44}{low:>10}{high:>10}"
        for name in weight["ranking"][0]:
            first, last = weight["totals"][name]
            yield f"  {name:44}{first:10.4f}{last:10.4f}"
        for crossing in weight["crossings"]:
            yield f"  above {crossing['at']:.4g} {crossing['rises']} passes {crossing['falls']}"
        if not weight["crossings"]:
            yield "  no two answers change places"


def _counts(check: Mapping[str, Any]) -> str:
    limit = "only warns" if check["limit"] >= 1 else f"{check['limit']:.0%}"
    if check["verdict"] == _NOT_CHECKED:
        return f"{'–':>8}{'–':>9}{limit:>12}"
    return f"{check['count']:8}{check['share']:9.2%}{limit:>12}"


def cache_lines(entries: Sequence["Entry"], where_none: str) -> Iterator[str]:
    """Stages that runs share, one a line, and their sizes together; or what it is to have none."""
    if not entries:
        yield where_none
        return
    yield f"{'entry':28}{'MB':>10}{'freed MB':>10}  {'last used':18}code"
    for entry in entries:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
        sizes = f"{entry.num_bytes / 1e6:10.1f}{entry.freed_bytes / 1e6:10.1f}"
        code = "this" if entry.is_of_this_code else "another" if entry.stage else "not whole"
        yield f"{entry.name[:27]:28}{sizes}  {used:18}{code}"
    whole, freed = (sum(getattr(each, name) for each in entries) for name in _SIZES)
    yield f"{f'{len(entries)} entries':28}{whole / 1e6:10.1f}{freed / 1e6:10.1f}"


def notes_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Counts of a build of notes, by split, reason and label."""
    from deepicd.notes.card import named_scores

    yield f"source {report['source']}, seed {report['seed']}, {report['num_labels']} labels"
    yield f"{'split':12}{'notes':>8}{'patients':>10}{'labels':>8}{'chapters':>10}"
    for name, counts in report["splits"].items():
        numbers = f"{counts['num_notes']:8}{counts['num_patients']:10}{counts['num_labels']:8}"
        yield f"{name:12}{numbers}{counts['num_chapters']:10}"
    yield from (f"left out: {reason} {count}" for reason, count in report["dropped"].items())
    unknown = report.get("unknown_headers", {})
    if unknown.get("num_lines"):
        yield (
            f"unknown headers: {unknown['num_lines']} lines in {unknown['num_notes']} notes "
            f"({unknown['share']:.1%})"
        )
    for seen in report.get("kinds", {}).values():
        counts = f"{seen['count']} notes ({seen['share']:.1%})"
        yield f"no English summaries: {counts} are {seen['what']}"
    by_count = list(report["labels"].items())
    # The rarest of those that are not told already: a build may have fewer than six.
    most, rest = by_count[:_NUM_SHOWN_CODES], by_count[_NUM_SHOWN_CODES:]
    for title, shown in (("most frequent", most), ("rarest", rest[-_NUM_SHOWN_CODES:])):
        yield from [f"{title}:"] if shown else []
        for code, counts in shown:
            yield f"  {code:8} {counts['train']:6} in train, {counts['test']:6} in test"
    for name, scores in named_scores(report).items():
        full, path = scores["accuracy_full"], scores["hierarchical_f1"]
        yield f"{name} on test: accuracy {full:.3f}, hierarchical F1 {path:.3f}"


def code_lines(node: Mapping[str, Any]) -> Iterator[str]:
    """One node of the ICD-10-CM tree."""
    return (f"{name:13} {_code_value(value)}" for name, value in node.items())


def _code_value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return "".join(f"\n  {node:10} {title}" for node, title in value.items())
    if isinstance(value, list):
        more = f" ... ({len(value)} in all)" if len(value) > _MAX_LISTED else ""
        return ", ".join(map(str, value[:_MAX_LISTED])) + more or "none"
    return str(value)


def score_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Scores of a file of predictions, beside another model's where there is one."""
    other = result.get("against", {})
    for name, value in result.items():
        if isinstance(value, (dict, list, bool)) or name.endswith(("_low", "_high")):
            continue
        beside = f"   against {_score(name, other)}" if other else ""
        yield f"{name:24} {_score(name, result)}{beside}"
    if result.get("num_patients") == 1 < result.get("num_notes", 0):
        yield f"all {result['num_notes']} notes are of one patient; is patient_id right?"
    if result.get("has_few_patients"):
        yield f"{result['num_patients']} patients are few: intervals are widened"
    if "paired" in result:
        paired = result["paired"]
        values = (f"{name} {paired[name]:.4f}" for name in ("difference", "low", "high", "p"))
        yield f"hierarchical F1, paired: {', '.join(values)}{_few(paired)}"
    yield from subgroup_lines(result.get("subgroups", ()))


def score_cells(scores: Mapping[str, Any], name: str) -> tuple[str, str, str]:
    """A score's name, value and interval."""
    low, high = scores[f"{name}_low"], scores[f"{name}_high"]
    return name, f"{scores[name]:.4f}", f"{low:.4f} to {high:.4f}{_few(scores)}"


def context_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Cells of one row of a context: who, notes, score, how the model compares, unparsable."""
    scores, paired = row["scores"], row["paired"]
    ends = ("hierarchical_f1_low", "hierarchical_f1_high")
    unparsable = scores.get("share_unparsable")
    return (
        row["title"],
        str(row["num_notes"] or "–"),
        _with_interval(scores, "hierarchical_f1", ends),
        paired["verdict"] if paired else "",
        "–" if unparsable is None else f"{unparsable:.1%}",
    )


def subgroup_lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Hierarchical F1 and gap to the others by subgroup of patients; nothing without groups."""
    if rows:
        yield f"{'subgroup':38}{'notes':>7}  {'hierarchical F1':24}gap to the others"
    for row in rows:
        name = f"{row['attribute']}: {row['group']}"
        own = _with_interval(row, "hierarchical_f1", ("low", "high"))
        gap = _with_interval(row, "gap", ("gap_low", "gap_high"))
        # One narrower than its column, so that a blank is left behind it.
        yield f"{name:38.37}{row['num_notes']:7}  {own:24}{gap}".rstrip()


def _with_interval(row: Mapping[str, Any], name: str, ends: tuple[str, str]) -> str:
    if row[name] is None:
        return "–"
    low, high = (row.get(end) for end in ends)
    interval = (
        "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]{_few(row, ends[0])}"
    )
    return f"{row[name]:.3f}{interval}"


def _few(values: Mapping[str, Any], end: str = "") -> str:
    from deepicd.scoring import mark_few

    return mark_few(values, "gap_" if end == "gap_low" else "")


def _score(name: str, scores: Mapping[str, Any]) -> str:
    if name.startswith("num_"):
        return f"{scores[name]}"
    interval = ""
    if f"{name}_low" in scores:
        interval = f" [{scores[f'{name}_low']:.4f}, {scores[f'{name}_high']:.4f}]"
    return f"{scores[name]:.4f}{interval}"


def fit_lines(path: "Path", verdict: "ClusterVerdict") -> Iterator[str]:
    """What was checked of a cluster description, and how an experiment fits it."""
    cluster = verdict.cluster
    described = f"{cluster.name} ({cluster.place.kind}, {cluster.profile})"
    yield f"{path}: {described} can be launched"
    for row in verdict.rows:
        mark = "ok" if row.is_ok else "NO"
        yield f"{mark:4}{row.name:16}{row.value}; wanted: {row.wanted}"
        if not row.is_ok:
            yield f"    {row.advice}"


def plan_lines(plan: "Plan") -> Iterator[str]:
    """What a sweep would do and cost."""
    tables = asdict(plan)
    said = {name: tables.pop(name) for name in ("assumed", "unpriced", "missing")}
    tables["memory_gb"] = {name: _size(value) for name, value in plan.memory_gb.items()}
    tables["disk_gb"] = {name: _size(value) for name, value in plan.disk_gb.items()}
    tables["hours"] = {name: _hours(name, value) for name, value in plan.hours.items()}
    for name, values in tables.items():
        title = name.removesuffix("_gb")
        for row in values if isinstance(values, tuple) else [values]:
            if row:
                cells = (f"{key} {_plan_value(value)}" for key, value in row.items())
                yield f"{title:10} {', '.join(cells)}"
            elif name in ("memory_gb", "hours"):
                yield f"{title:10} not known: {_why_unknown(plan, name)}"
    yield from (f"{name:10} {row['rule']}" for name, rows in said.items() for row in rows)
    if plan.cost:
        yield f"The cost is an estimate, by on-demand prices of {plan.prices['as_of']}."


def _size(gigabytes: float) -> str:
    """A model that is built here takes megabytes: in GB it would be rounded away."""
    is_small = gigabytes < _SMALL_GB
    return f"{1000 * gigabytes:.3g} MB" if is_small else f"{gigabytes:.2f} GB"


def _hours(name: str, hours: float) -> str:
    unit = {"clock": "hours", "gpu": "GPU-hours", "slot": "slot-hours"}[name]
    return f"{hours:.4g} {unit}"


def _why_unknown(plan: "Plan", name: str) -> str:
    if name == "hours":
        return "give --step-s, the measured seconds of one step"
    if any(row["place"] == "model.path" for row in plan.missing):
        return "model.path is missing"
    return "config.json of model.path does not give the model's sizes"


def verdict_lines(verdict: "Verdict") -> Iterator[str]:
    """What is wrong with an experiment file, and what this machine lacks for it."""
    for name, found in (("fault", verdict.faults), ("missing", verdict.missing)):
        for fault in found:
            place = "" if fault.place in fault.rule else f"{fault.place}: "
            yield f"{name:8} {place}{fault.rule}"
            if fault.way_out:
                yield f"{'':8} → {fault.way_out}"
    if verdict.faults:
        number = len(verdict.faults)
        yield f"{verdict.file}: {number} fault{'s' * (number > 1)}; no machine can run it"
    elif verdict.missing:
        yield f"{verdict.file} is valid; this machine lacks {len(verdict.missing)} of what it needs"
    else:
        yield f"{verdict.file} is valid, and this machine has what it needs"


def check_lines(checks: Sequence["Check"]) -> Iterator[str]:
    """A line a check; of one that failed also what is wanted and what to do."""
    wide, far = (max(len(getattr(each, name)) for each in checks) for name in ("name", "node"))
    for check in checks:
        mark = "ok  " if check.ok else "FAIL"
        yield f"{mark} {check.name:{wide}} {check.node:{far}} {check.value}"
        if not check.ok:
            yield f"       wanted: {check.wanted}"
            yield f"       do:     {check.advice}"
    failed = sum(not check.ok for check in checks)
    yield f"{len(checks) - failed} of {len(checks)} checks are well"


def difference_lines(rows: Mapping[str, Sequence[Any]], num_trials: int) -> Iterator[str]:
    """verl's keys that differ between drawn trials, a column a trial."""
    head = [f"trial {number}" for number in range(1, num_trials + 1)]
    for key, row in {"verl's key": head, **rows}.items():
        yield f"{key}: {' | '.join(map(_plan_value, row))}"


def _plan_value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def decision_lines(version: str, decision: "Decision") -> Iterator[str]:
    """What the gate decided about a version, and why."""
    verdict = "is champion now" if decision.accepted else "was not promoted; nothing changed"
    yield f"{version} {verdict}"
    yield from (f"  {reason}" for reason in decision.reasons)


def rule_lines(rules: Sequence["Rule"]) -> Iterator[str]:
    """Rules of alerts, four lines each: nothing of a name or of a page's path is cut."""
    for rule in rules:
        labels = f" of at least {rule.min_labelled} labels" if rule.min_labelled else ""
        yield f"{rule.name}  ({rule.severity})"
        yield from (f"  {line}" for line in wrap(rule.meaning, _WIDTH - 2))
        yield f"  fires after {rule.num_windows} bad windows in a row{labels}"
        yield f"  {rule.runbook}"


def version_cells(version: "Version", alias: str | None) -> tuple[str, ...]:
    """Cells of a registered version, in the order of `VERSION_COLUMNS`."""
    from deepicd.promotion.lineage import name_origin
    from deepicd.scoring import HEADLINE

    # Those that people compare first; `registry show` has all.
    scores = cell({name: version.scores[name] for name in HEADLINE if name in version.scores})
    return version.name, alias or "", version.created, scores, name_origin(version.origin)


def lineage_lines(version: "Version") -> Iterator[str]:
    """Where a version comes from, from the answers that it gives down to the machine."""
    from deepicd.promotion.lineage import describe_lineage

    yield f"## Lineage of {version.name}\n"
    yield f"{'answers':13} those whose model_version is {version.name}"
    yield f"{'version':13} {version.name}, content {version.content[:12]}, {version.created}"
    yield from (f"{name:13} {text}" for name, text in describe_lineage(version.origin))


def cell(value: Any) -> str:
    """A value as a cell of a table; a table in it takes a line a value."""
    if isinstance(value, dict):
        return "\n".join(f"{name} {cell(entry)}" for name, entry in sorted(value.items()))
    if isinstance(value, float):
        return f"{value:.4f}"
    return "" if value is None else str(value)


def reply_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Cells of one reply of the endpoint: source, code, title, chapter, confidence, version, id."""
    if "error" in row:
        return row["source"], "–", row["error"], "–", "–", "–", "–"
    confidence = "–" if row["confidence"] is None else f"{row['confidence']:.2f}"
    title = row["title"] or f"unusable answer: {row['reason']}"
    code, chapter = row["code_dotted"] or "–", row["chapter"] or "–"
    version, key = row["model_version"], row["prediction_id"]
    return row["source"], code, title, chapter, confidence, version, key

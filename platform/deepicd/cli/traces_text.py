"""Outcomes of `deepicd traces` as lines; no line holds text of a note or of a trace."""

from collections.abc import Iterator, Mapping
from typing import Any


def traces_lines(outcome: Mapping[str, Any]) -> Iterator[str]:
    """A build of traces: what was accepted, why the rest was not, what it cost."""
    yield f"{outcome['accepted']} traces in {outcome['out']}, of {outcome['asked']} replies"
    yield from (f"  refused {count:6d}  {reason}" for reason, count in outcome["refused"].items())
    if outcome["failed_requests"]:
        yield (
            f"{outcome['failed_requests']} requests without a reply; "
            f"{outcome['unanswered_notes']} notes never had one"
        )
    yield (
        f"{outcome['prompt_tokens']} prompt and {outcome['completion_tokens']} completion tokens, "
        f"cost {outcome['cost']:.2f}, {outcome['seconds']:.0f} s; card: {outcome['card']}"
    )


def traces_check_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """A check of traces: how many break which rule, and whether the card fits."""
    yield f"{found['num_traces']} traces, {sum(found['faults'].values())} with a fault"
    yield from (f"  {count:6d}  {reason}" for reason, count in found["faults"].items())
    yield f"card: {found['card']}"


def traces_show_lines(shown: Mapping[str, Any]) -> Iterator[str]:
    """What a file of traces holds, and what its card says of the build by chapter."""
    yield (
        f"{shown['num_traces']} traces of {shown['num_patients']} patients, {shown['num_labels']} "
        f"codes, {shown['words_median']:.0f} words in the median"
    )
    card = shown["card"]
    if card is None:
        yield from (f"  {chapter:6} {count:6d}" for chapter, count in shown["chapters"].items())
        yield "no card: not built by a teacher"
        return
    yield f"teacher {card['teacher']}, seed {card['seed']}, {card['asked']} replies"
    for chapter, counts in card["chapters"].items():
        refused = ", ".join(f"{reason} {count}" for reason, count in counts["refused"].items())
        share = f"{counts['accepted']:6d} of {counts['asked']:6d} accepted"
        yield f"  {chapter:6} {share}  {refused}".rstrip()

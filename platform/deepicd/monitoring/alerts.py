"""Windows → alerts: when to warn, to page somebody, or to roll a version back.

In: windows of the log, oldest first. Out: `Alert`s. Decided here: an alert fires after
`num_windows` bad windows in a row and is cleared by as many good ones, so a single odd window does
nothing (hysteresis); a window without enough labels neither fires nor clears; an alert follows from
the windows alone, so asking again gives the same. Quality is compared with what the version itself,
or the champion before it, showed at first: a rule without a reference stays silent.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from deepicd.records import Window

_Severity = Literal["warn", "page", "rollback"]


@dataclass(frozen=True)
class Rule:
    """When a window is bad."""

    name: str
    severity: _Severity
    is_bad: Callable[[Window, Window], bool]
    """Of a window, against the reference window."""
    value: str
    """Field of `Window` that the alert shows."""
    meaning: str
    min_labelled: int = 0
    """Windows with fewer labels are passed over."""
    num_windows: int = 2
    """Bad windows in a row until it fires, good ones until it is cleared."""

    @property
    def runbook(self) -> str:
        """Page that says what to do."""
        return f"docs/runbooks/{self.name}.md"


@dataclass(frozen=True)
class Alert:
    """A rule that has fired, or is about to, for one version in one role."""

    rule: str
    severity: _Severity
    version: str
    role: str
    value: float | None
    """In the latest window that counted."""
    state: Literal["pending", "firing", "cleared"]
    since: float
    """Unix time of the end of the window that brought it into this state."""
    runbook: str


_MIN_LABELLED = 30
_MOST_UNPARSABLE, _MOST_NONEXISTENT = 0.15, 0.05
"""Rise of a share over the reference that is bad."""


def _is_worse(window: Window, reference: Window) -> bool:
    """Intervals apart: the window's upper end lies below the reference's lower end."""
    return window.high is not None and reference.low is not None and window.high < reference.low


def _is_lower(window: Window, reference: Window) -> bool:
    """The window's value lies below the reference's interval."""
    value = window.hierarchical_f1
    return value is not None and reference.low is not None and value < reference.low


def _is_estimate_worse(window: Window, reference: Window) -> bool:
    """Bands apart: the accuracy that the confidences promise lies below the reference's."""
    high, low = window.estimated_high, reference.estimated_low
    return high is not None and low is not None and high < low


RULES: Sequence[Rule] = (
    Rule(
        "hierarchical-f1-rollback",
        "rollback",
        _is_worse,
        "hierarchical_f1",
        "Hierarchical F1 is clearly below the reference: the intervals do not touch.",
        min_labelled=_MIN_LABELLED,
    ),
    Rule(
        "hierarchical-f1-low",
        "page",
        _is_lower,
        "hierarchical_f1",
        "Hierarchical F1 is below the reference's interval.",
        min_labelled=_MIN_LABELLED,
        num_windows=3,
    ),
    Rule(
        "unparsable",
        "page",
        lambda window, reference: (
            window.share_unparsable > reference.share_unparsable + _MOST_UNPARSABLE
        ),
        "share_unparsable",
        f"The share of answers without a usable code rose by more than {_MOST_UNPARSABLE:.0%}.",
    ),
    Rule(
        "nonexistent",
        "warn",
        lambda window, reference: (
            window.share_nonexistent > reference.share_nonexistent + _MOST_NONEXISTENT
        ),
        "share_nonexistent",
        f"The share of codes that do not exist rose by more than {_MOST_NONEXISTENT:.0%}.",
    ),
    Rule(
        "estimated-accuracy-low",
        "page",
        _is_estimate_worse,
        "estimated_accuracy",
        "The confidences promise clearly fewer right chapters than the reference's did; no label "
        "is needed to see it.",
    ),
    Rule(
        "calibration",
        "warn",
        # None says that there was nothing to judge by.
        lambda window, _: window.is_estimate_sound is False,
        "labelled_accuracy",
        "The share of right chapters, by the labels, lies outside the band that the confidences "
        "promised.",
        min_labelled=_MIN_LABELLED,
    ),
)
"""Every rule; each has a runbook page of its name."""


def find_alerts(windows: Sequence[Window], rules: Iterable[Rule] = RULES) -> list[Alert]:
    """Alerts of every version and role, whatever their state; those that never began are left out.

    The reference of a version is the earliest window with enough labels of the champion that was
    served before it, else its own earliest one.
    """
    groups: dict[tuple[str, str], list[Window]] = defaultdict(list)
    for window in windows:
        groups[window.version, window.role].append(window)
    alerts = []
    for rule in rules:
        references = _references(groups, rule)
        for key, rows in groups.items():
            alert = _judge(rule, rows, references.get(key))
            if alert is not None:
                alerts.append(alert)
    return alerts


def _references(
    groups: Mapping[tuple[str, str], Sequence[Window]], rule: Rule
) -> dict[tuple[str, str], Window]:
    """Version and role → the window to compare with."""
    first = {}
    for key, rows in groups.items():
        enough = (window for window in rows if window.num_labelled >= rule.min_labelled)
        if (window := next(enough, None)) is not None:
            first[key] = window
    champions = sorted(
        (window for (_, role), window in first.items() if role == "champion"),
        key=lambda window: window.start,
    )
    references = {}
    for key, rows in groups.items():
        # A version that was champion before must not be compared with its own later self.
        earlier = [w for w in champions if w.start < rows[0].start and w.version != key[0]]
        reference = earlier[-1] if earlier else first.get(key)
        if reference is not None:
            references[key] = reference
    return references


def _judge(rule: Rule, rows: Sequence[Window], reference: Window | None) -> Alert | None:
    if reference is None:
        return None
    alert: Alert | None = None
    is_firing, run = False, 0
    for window in rows:
        if window.num_labelled < rule.min_labelled:
            continue
        is_bad = rule.is_bad(window, reference)
        # Hysteresis: `run` counts windows in a row that speak against the present state.
        run = run + 1 if is_bad != is_firing else 0
        if run >= rule.num_windows:
            is_firing, run = not is_firing, 0
        state = _state(is_firing, run, alert)
        if state is None:
            alert = None
            continue
        since = alert.since if alert is not None and alert.state == state else window.end
        alert = Alert(
            rule=rule.name,
            severity=rule.severity,
            version=window.version,
            role=window.role,
            value=getattr(window, rule.value),
            state=state,
            since=since,
            runbook=rule.runbook,
        )
    return alert


def _state(
    is_firing: bool, run: int, before: Alert | None
) -> Literal["pending", "firing", "cleared"] | None:
    if is_firing:
        return "firing"
    if run:
        return "pending"
    was_firing = before is not None and before.state in {"firing", "cleared"}
    return "cleared" if was_firing else None

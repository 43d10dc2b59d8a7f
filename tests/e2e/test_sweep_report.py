"""A sweep's report in a real browser: no script error, every figure drawn."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from selenium.webdriver import Chrome

from deepicd.config import DataConfig, parse_experiment
from deepicd.notes.build_report import summarise_build
from deepicd.notes.card import render_card
from deepicd.notes.identity import identify
from deepicd.paths import SPLITS
from deepicd.pipeline.sweep_report import write_sweep_report
from deepicd.report.context import context_section
from deepicd.report.html import render_page
from deepicd.scoring import HEADLINE

WATCH = """<script>
window.problems = [];
window.addEventListener("error", event => window.problems.push(event.message));
window.addEventListener("unhandledrejection", event => window.problems.push(`${event.reason}`));
</script>"""
DRAWN = """
const figures = [...document.querySelectorAll("figure")];
return {
  problems: window.problems,
  titles: figures.map(figure => figure.closest("section, body").querySelector("h2").textContent),
  empty: figures.filter(figure => !figure.querySelector(".main-svg")).map(figure => figure.id),
  contours: document.querySelectorAll(".contour").length
};
"""


def write_run(root: Path) -> Path:
    """Twelve trials of two presets, some stopped, one failed."""
    search = {
        "rewards.preset": {"type": "choice", "values": ["strict", "default"]},
        "training.learning_rate": {"type": "loguniform", "low": 1e-5, "high": 1e-3},
        "training.temperature": {"type": "uniform", "low": 0.7, "high": 1.2},
    }
    table = {
        "training": {"total_steps": 4, "validate_every": 2},
        "sweep": {"num_trials": 12, "grace_steps": 2, "search": search},
    }
    root.mkdir()
    (root / "experiment.json").write_text(parse_experiment(table, "here").model_dump_json())
    for number in range(12):
        folder = root / "sweep" / "tune" / f"trial{number:02}"
        folder.mkdir(parents=True)
        params = {
            "rewards.preset": ["strict", "default"][number % 2],
            "training.learning_rate": 1e-5 * 10 ** (number * 7 % 12 / 6),
            "training.temperature": 0.7 + number * 5 % 12 / 24,
        }
        (folder / "params.json").write_text(json.dumps(params))
        lines = (json.dumps(row) + "\n" for row in reports(number))
        (folder / "result.json").write_text("".join(lines))
        if number == 11:
            (folder / "error.txt").write_text("TrainingError: x")
    return root


def reports(number: int) -> list[dict[str, float | str]]:
    """One report a step; every third trial ends after two."""
    rows: list[dict[str, float | str]] = [{"step": 0, "objective": math.nan, "time_total_s": 3.0}]
    for step in range(1, 3 if number % 3 == 0 else 5):
        score = 0.3 + 0.05 * step + 0.01 * number
        scores = {"hierarchical_f1": score, "macro_f1_full": score / 3, "share_unparsable": 0.2}
        scores |= {"hierarchical_f1_low": score - 0.05, "hierarchical_f1_high": score + 0.05}
        rows.append(
            {
                "step": step,
                "time_total_s": 10.0 + 9.0 * step,
                "timestamp": 100.0 * number,
                "critic/score/mean": score,
                "response_length/mean": 40.0 - number,
                **{f"reward/reward_{part}/mean": score for part in ("format", "hierarchy")},
                "start/seconds": 5.0,
                "start/reused_engine": float(number > 0),
                "timing_s/gen": 4.0,
                "timing_s/update_actor": 3.0,
                "timing_s/testing": 1.0,
                **({f"validation/{key}": scores[key] for key in scores} if step % 2 == 0 else {}),
                "checkpoint_path": f"trials/{number}/global_step_{step}",
            }
        )
    return rows


SCROLLED = """
return [...document.querySelectorAll("table")].map(table => {
  const region = table.parentElement;
  region.scrollLeft = region.scrollWidth;
  const last = table.rows[0].cells[table.rows[0].cells.length - 1].getBoundingClientRect();
  const frame = region.getBoundingClientRect();
  return {
    isWide: table.offsetWidth > region.clientWidth + 1,
    isReached: last.right <= frame.right + 1,
    fits: frame.right <= document.documentElement.clientWidth + 1,
  };
});
"""


def test_a_wide_table_scrolls_in_a_narrow_window_and_the_page_does_not(
    browser: Chrome, tmp_path: Path
) -> None:
    report = Path(write_sweep_report(write_run(tmp_path / "run"))["report"])
    rows = [
        row_of("tfidf_linear", "TF-IDF + linear model", 0.847, verdict="worse by 0.277"),
        row_of("trial-t11", "trial t11", 0.570),
    ]
    context = tmp_path / "context.html"
    context.write_text(render_page("A run", [context_section("Test split", rows)]))
    notes = tmp_path / "notes.html"
    notes.write_text(render_card(build_report())["html"])
    browser.set_window_size(640, 900)
    for page in (report, context, notes):
        browser.get(page.as_uri())
        tables = browser.execute_script(SCROLLED)
        assert any(table["isWide"] for table in tables), page
        assert all(table["isReached"] and table["fits"] for table in tables), page
        script = "return [document.body.scrollWidth, document.documentElement.clientWidth]"
        body, window = browser.execute_script(script)
        assert body <= window, page


def build_report() -> dict[str, Any]:
    """The report of a build of four notes."""
    codes = ["I214", "J189", "I214", "N390"]
    columns = {"split": [*SPLITS], "patient_id": [*"abcd"], "code": codes}
    counts = summarise_build(pa.table({**columns, "num_characters": [900, 80, 70, 60]}), [])
    identity = identify(DataConfig(), hashes=dict.fromkeys(SPLITS, "f" * 64))
    unknown: dict[str, Any] = {"baselines": None, "ceiling": None}
    return {"source": "embedded", "seed": 1, **counts, "identity": identity, **unknown}


def row_of(name: str, title: str, score: float, *, verdict: str = "") -> dict[str, Any]:
    """A row of a context."""
    scores = {f"{level}{end}": score for level in HEADLINE for end in ("", "_low", "_high")}
    paired = {"num_notes": 1194, "hierarchical_f1": score, "difference": -0.277}
    paired |= {"low": -0.3, "high": -0.25, "p": 0.002, "verdict": verdict}
    values = {"name": name, "title": title, "what": f"What {title} is.", "split": "test"}
    values |= {"num_notes": 1194, "scores": scores, "is_model": not verdict}
    return {**values, "paired": paired if verdict else None}


def test_a_browser_draws_every_figure_without_an_error(
    browser: Chrome, find_links: Callable[[str], list[str]], tmp_path: Path
) -> None:
    written = write_sweep_report(write_run(tmp_path / "run"))
    html = Path(written["report"]).read_text()
    assert find_links(html) == []
    watched = tmp_path / "watched.html"
    watched.write_text(html.replace("<head>", f"<head>{WATCH}", 1))
    browser.get(watched.as_uri())
    told = browser.execute_script(DRAWN)
    assert (told["problems"], told["empty"]) == ([], [])
    assert told["contours"] > 0 and len(told["titles"]) == 11
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []

"""Prometheus' alerts and Grafana's dashboard: right by promtool, and about what exists."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from deepicd.monitoring.alerts import RULES
from deepicd.serving.metrics import GAUGES, LATENCY, REQUESTS

ALERTS = "platform/deepicd/data/monitor/alerts.yml"
PUBLISHED = {f"ray_{name}" for name in (*GAUGES, REQUESTS, f"{LATENCY}_bucket")}


def read_alerts(root: Path) -> list[dict]:
    text = (root / ALERTS).read_text()
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def named(query: str) -> set[str]:
    return set(re.findall(r"ray_\w+", query))


def find_tool(name: str) -> str:
    """From the machine, or as `make prometheus` unpacked it."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:{Path(sys.executable).parent}")
    if found is None:
        pytest.skip(f"no {name} here; `make prometheus` fetches it")
    return found


def test_promtool_accepts_the_rules_and_they_fire_as_written(root: Path) -> None:
    tool = find_tool("promtool")
    for command in (
        ["check", "rules", ALERTS],
        ["test", "rules", "tests/unit/monitoring/alerts_test.yml"],
    ):
        done = subprocess.run(
            [tool, *command], cwd=root, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_ask_for_metrics_that_are_published_and_name_pages_that_exist(root: Path) -> None:
    for alert in read_alerts(root):
        assert named(alert["expr"]) <= PUBLISHED, alert["alert"]
        page = alert["annotations"]["runbook"]
        names = [rule.name for rule in RULES] if "{{" in page else [Path(page).stem]
        assert all((root / "docs" / "runbooks" / f"{name}.md").is_file() for name in names)


def test_every_rule_and_alert_has_its_page_and_no_page_is_left_over(root: Path) -> None:
    pages = {path.stem for path in (root / "docs" / "runbooks").glob("*.md")}
    alerts = {Path(alert["annotations"]["runbook"]).stem for alert in read_alerts(root)}
    assert pages == {rule.name for rule in RULES} | {name for name in alerts if "{{" not in name}


def test_the_dashboard_is_what_the_script_builds_and_its_panels_do_not_overlap(root: Path) -> None:
    built = runpy.run_path(str(root / "scripts" / "build_dashboard.py"))["build"]()
    assert (
        json.loads(
            (root / "platform" / "deepicd" / "data" / "monitor" / "grafana.json").read_text()
        )
        == built
    )
    assert len({panel["id"] for panel in built["panels"]}) == len(built["panels"])
    for one, other in combinations((panel["gridPos"] for panel in built["panels"]), 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
    queries = [target["expr"] for panel in built["panels"] for target in panel["targets"]]
    assert set().union(*map(named, queries)) == PUBLISHED  # every metric has its panel

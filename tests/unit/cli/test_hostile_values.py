"""Values that would fill the machine or end in a traceback, each by the command itself.

The commands of a test run in one process that may take 2 GB.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

RUN = """
import contextlib, io, json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2 * 10**9, 2 * 10**9))
from deepicd.cli import main
for arguments in json.load(sys.stdin):
    sys.argv = ["deepicd", *arguments]
    shown, told, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(told):
        try:
            main()
        except SystemExit as done:
            code = done.code
        except BaseException as error:
            code = repr(error)
    print(json.dumps({"shown": shown.getvalue(), "told": told.getvalue(), "code": code}))
"""

RATE, BATCH, ROLLOUTS = (
    f"sweep.search.training.{name}" for name in ("learning_rate", "train_batch_size", "rollout_n")
)
GRID = "sweep.sampler=grid"
SIXTY = '={type="uniform",low=0.1,high=1,num_points=60}'
FOUR = (
    *("training.learning_rate", "training.temperature", "training.entropy_coeff"),
    "rewards.hierarchy_curve",
)
UNEVEN = "multiple of|combinations"
PLANS: list[tuple[list[str], int, str]] = [
    # overrides of experiments/demo.toml, exit code, words of the error
    ([f'{RATE}={{type="loguniform",low=1e-5,high=inf}}'], 2, "learning_rate.high: .*finite"),
    ([f'{RATE}={{type="loguniform",low=nan,high=1}}'], 2, "learning_rate.low: .*finite"),
    ([f'{RATE}={{type="choice",values=[1e-5,inf]}}'], 2, "learning_rate.values.1: .*finite"),
    (["training.temperature=inf"], 2, "training.temperature: .*finite"),
    (["sft.learning_rate=nan"], 2, "sft.learning_rate: .*finite"),
    (["verl.trainer.x=inf"], 2, "verl.trainer.x: .*finite"),
    (["seed=1099511627776"], 2, "seed: .*2147483647"),
    (["seed=-1"], 2, "seed: .*greater than or equal to 0"),
    (["training.total_steps=999999999999999999999"], 2, "training.total_steps: .*within"),
    (["data.num_notes=2147483647"], 2, "data.num_notes: .*10000000"),
    (["promotion.num_bootstrap=1000000000"], 2, "promotion.num_bootstrap: .*100000"),
    (["promotion.confidence=0.9999999999999999"], 2, "promotion.confidence: .*0.9999"),
    (["promotion.num_candidates=1000000000"], 2, "promotion.num_candidates: .*1000"),
    (["sweep.num_trials=1000000000"], 2, "sweep.num_trials: .*100000"),
    ([GRID, "sweep.num_trials=100000", RATE + SIXTY, f"{ROLLOUTS}={{type='int',low=8,high=8}}"], 2,
     "the grid of .* has"),
    ([GRID, f"sweep.search.seed{SIXTY}"], 2, "seed: .*integer"),
    ([GRID, *(f"sweep.search.{name}{SIXTY}" for name in FOUR)], 0, ""),
    ([f'{RATE}={{type="uniform",low=0.1,high=1,num_points=1000000000}}'], 2, "num_points: .*1000"),
    ([GRID, 'sweep.search.seed={type="int",low=1,high=1000000000}'], 0, ""),
    (['sweep.search.seed={type="int",low=1,high=10000000000}'], 2, "seed: .*2147483647"),
    ([f'{BATCH}={{type="int",low=16,high=1000000000}}'], 2, UNEVEN),
    ([f'{ROLLOUTS}={{type="int",low=2,high=1000000000}}'], 2, UNEVEN),
    (["sweep.scheduler=median", "training.total_steps=2147483640"], 0, ""),
    ([f'{RATE}={{type="loguniform",low=1e-320,high=1}}'], 0, ""),
    ([f"{RATE}=loguniform(1e-5, 1e-3)"], 2, "write { type = .loguniform."),
    ([f"seed={'9' * 5000}"], 2, "seed: "),
    (["data.root=~no_such_user/x"], 2, "nobody has that name"),
]  # fmt: skip


def run_all(commands: list[list[str]]) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", RUN], input=json.dumps(commands), capture_output=True, text=True,
        check=False, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_sweep_plan_refuses_or_plans_hostile_values_within_2_gb(root: Path) -> None:
    file = str(root / "experiments" / "demo.toml")
    commands = [
        ["sweep", "plan", file, "--json", *(word for each in sets for word in ("--set", each))]
        for sets, _, _ in PLANS
    ]
    for (sets, code, words), found in zip(PLANS, run_all(commands), strict=True):
        assert found["code"] == code, (sets, found)
        if code:
            assert re.search(words, found["told"]), (sets, found)
            assert found["told"].startswith("deepicd: ") and len(found["told"]) < 4000
        else:
            assert json.loads(found["shown"])["samples"], sets


def test_score_refuses_or_scores_hostile_values_within_2_gb(tmp_path: Path) -> None:
    row = {"patient_id": "p", "gold": "I10", "prediction": "I10"}
    good, deep, bad = (tmp_path / name for name in ("good.jsonl", "deep.jsonl", "bad.jsonl"))
    good.write_text("".join(json.dumps({**row, "note_id": str(n)}) + "\n" for n in range(40)))
    deep.write_text("[" * 100_000)
    bad.write_text(json.dumps({**row, "patient_id": float("nan")}) + "\n")
    table: list[tuple[list[str], int | None, str]] = [
        ([str(good)], 0, ""),
        ([str(good), "--num-bootstrap", "1000000000"], 2, "--num-bootstrap"),
        ([str(good), "--num-bootstrap", "-1"], 2, "--num-bootstrap"),
        ([str(good), "--num-bootstrap", "1e9"], 2, "--num-bootstrap"),
        ([str(good), "--confidence", "nan"], 2, "--confidence"),
        ([str(good), "--confidence", "1"], 2, "confidence must be between 0 and 1"),
        ([str(good), "--confidence", "inf"], 2, "--confidence"),
        ([str(good), "--seed", "-1"], 2, "--seed"),
        ([str(good), "--seed", "1099511627776"], 2, "--seed"),
        ([str(good), "--seed", "2147483647"], 0, ""),
        ([str(deep)], 3, "not a JSON object"),
        ([str(bad)], 3, "patient_id must be text or a whole number"),
        (["~no_such_user/p.jsonl"], 2, "nobody has that name"),
    ]
    commands = [["score", *arguments, "--json"] for arguments, _, _ in table]
    for (arguments, code, words), found in zip(table, run_all(commands), strict=True):
        assert (found["code"] or 0) == code, (arguments, found)
        assert words in found["told"], (arguments, found)
        if not code:
            scores = json.loads(found["shown"])
            assert scores["has_few_patients"] is True and scores["num_patients"] == 1
            assert (scores["hierarchical_f1_low"], scores["hierarchical_f1_high"]) == (0.0, 1.0)


NODES: list[tuple[str, str]] = [
    # what is asked for, the node that it names
    ("i25.10", "I25.10"),
    ("  I25.10\t", "I25.10"),
    ("I25.10\n", "I25.10"),
    ("I25..10", "I25.10"),
    ("I25\n.10", "I25.10"),
    ("I25.-", "I25"),
    ("\uff29\uff12\uff15", "I25"),
    ("\ufeffI25.10", "I25.10"),
    ("I25\u200b.10", "I25.10"),
    ("c7a.00", "C7A.00"),
    ("u07.1", "U07.1"),
    ("I00-I99", "IX"),
    ("a00\u2013b99", "I"),
    ("chapter 9", "IX"),
    ("xxii", "XXII"),
    ("22", "XXII"),
    ("A00 to A09", "A00-A09"),
    ("a00-09", "A00-A09"),
    ("B20-B20", "B20-B20"),
]
NO_NODES: list[tuple[str, str]] = [
    # what is asked for, what the refusal offers
    ("W21.89A", "near it: W21.89XA"),
    ("T07.XXXXD", "near it: T07.XXXD"),
    ("I25.1O", "near it: I25.10"),
    ("I25.10\x00", "near it: I25.10"),
    ("I25.10\ud800", "near it: I25.10"),
    ("ICD-10: I25.10", "near it: I25.10"),
    ("A00-A10", "near it: A00-A09, I"),
    ("I99-I00", "near it: I99, I00"),
    ("Z99.999", "near it: Z99"),
    *((text, "give a code such as I25.10") for text in (
        *("", " ", ".", "-", "\x00", "\x1b[31m", "\ud800", "\ud83d", "\ufffd", "nan", "null"),
        *("0", "23", "9" * 5000, "A" * 10**6, "I25.10 " * 10**5, "\u0663", "\xdf", "%s%n"),
        *("9" * 33 + "-" + "9" * 33, "IX-X", "../../etc/passwd", "I" * 10**6 + "-I99"),
    )),
]  # fmt: skip


def test_codes_show_names_or_refuses_hostile_values_within_2_gb() -> None:
    asked = [text for text, _ in NODES + NO_NODES]
    found = run_all([["codes", "show", "--json", "--", text] for text in asked])
    for (text, node), answer in zip(NODES, found, strict=False):
        shown = json.loads(answer["shown"])
        assert (answer["code"] or 0) == 0 and shown.get("code", shown.get("node")) == node, text
    for (text, offer), answer in zip(NO_NODES, found[len(NODES) :], strict=True):
        assert answer["code"] == 3 and offer in answer["told"], (text[:99], answer)
        assert answer["shown"] == "" and len(answer["told"]) < 300
        # Nothing that moves a cursor, breaks a line or cannot be written.
        assert answer["told"].removesuffix("\n").isprintable()

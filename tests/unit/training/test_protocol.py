"""Messages between runner and driver: what was sent arrives, and what is no message is refused."""

import math
import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd.config import Experiment, parse_experiment
from deepicd.errors import TrainingError
from deepicd.training.process.protocol import (
    Done,
    Ended,
    Failed,
    Job,
    Message,
    OtherEngine,
    Ready,
    Stage,
    Start,
    Step,
    Stop,
    Stopped,
    TrialEnd,
    TrialInput,
    decode,
    encode,
)

TEXT = st.text(max_size=20)
PATH = st.from_regex(r"/[a-z0-9_ /é]{1,20}", fullmatch=True).map(Path)
NUMBER = st.floats(allow_nan=False)
RANGE = {"type": "loguniform", "low": 1e-6, "high": 1e-2}
EXPERIMENT = st.builds(
    lambda seed, weight, rate: parse_experiment(
        {
            "seed": seed,
            "rewards": {"weights": {"format": weight}},
            "training": {"learning_rate": rate},
            "sweep": {"search": {"training.learning_rate": RANGE}},
        },
        "here",
    ),
    st.integers(0, 2**31),
    st.floats(0.01, 1),
    st.floats(1e-9, 1e-2),
)
JOB = st.builds(
    Job,
    name=TEXT,
    experiment=EXPERIMENT,
    inputs=st.builds(TrialInput, PATH, PATH, PATH),
    out=PATH,
    address=TEXT,
    sweep=TEXT,
    env=st.dictionaries(TEXT, TEXT, max_size=3),
    resume=st.none() | PATH,
)
MESSAGE = st.one_of(
    st.builds(Start, JOB),
    st.builds(Stage, TEXT, TEXT),
    st.builds(Ready, st.booleans(), TEXT),
    st.builds(Step, st.integers(), st.dictionaries(TEXT, NUMBER, max_size=4), st.none() | PATH),
    st.builds(Failed, TEXT, TEXT, st.lists(TEXT, max_size=3).map(tuple)),
    st.builds(Ended, st.none() | st.integers()),
    st.sampled_from([Stop(), OtherEngine(), Done(), Stopped()]),
)


@given(message=MESSAGE)
def test_what_is_sent_is_what_arrives_and_takes_one_line(message):
    line = encode(message)
    assert decode(line) == message
    assert line.endswith("\n") and line.count("\n") == 1


def test_a_metric_that_is_no_number_arrives_as_one():
    found = decode(encode(Step(1, {"objective": math.nan, "best": math.inf}, None)))
    assert isinstance(found, Step)
    assert math.isnan(found.metrics["objective"]) and found.metrics["best"] == math.inf


def test_every_end_of_a_trial_is_a_message():
    assert set(get_args(TrialEnd)) < set(get_args(Message))
    assert isinstance(Done(), TrialEnd) and not isinstance(Stop(), TrialEnd)


@pytest.mark.parametrize("line", ["", "{", "[1]", '"text"', "7", '{"name": "x"}', "Traceback\n"])
def test_a_line_that_is_no_message_is_refused_and_shown(line):
    with pytest.raises(TrainingError, match=f"line that is no message: {re.escape(repr(line))}"):
        decode(line)


@pytest.mark.parametrize("kind", ['"Begin"', "null", '["Step"]', "3"])
def test_a_message_of_unknown_kind_is_refused_with_those_that_are_known(kind):
    with pytest.raises(TrainingError, match=r"unknown kind .*; known are Start, Stop, Stage"):
        decode(f'{{"kind": {kind}}}')


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ('"kind": "Step", "step": 1, "metrics": {}', "checkpoint: Field required"),
        ('"kind": "Stage", "name": 3', "name: Input should be a valid string"),
        ('"kind": "Done", "code": 3', "code: Unexpected keyword argument"),
        ('"kind": "Ended", "code": "x"', "code: Input should be a valid integer"),
    ],
)
def test_a_message_with_other_values_than_its_kind_is_refused_with_the_place(values, words):
    kind = re.findall(r"\w+", values)[1]
    with pytest.raises(TrainingError, match=f"message {kind} cannot be read: {re.escape(words)}"):
        decode(f"{{{values}}}")


def test_an_experiment_of_another_version_is_refused_and_none_of_its_values_is_shown():
    job = Job("t", Experiment(), TrialInput(*[Path("/x")] * 3), Path("/o"), "", "", {})
    line = encode(Start(job)).replace('"seed":', '"sed":')
    with pytest.raises(TrainingError, match=r"cannot be read: job\.experiment\.sed: Extra inputs"):
        decode(line)


def test_log_and_configuration_lie_in_the_trials_folder():
    job = Job("t", Experiment(), TrialInput(*[Path("/x")] * 3), Path("/o"), "", "", {})
    assert (job.log, job.verl_config) == (Path("/o/verl.log"), Path("/o/verl.yaml"))

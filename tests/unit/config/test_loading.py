"""Experiment files: read, merged with their bases, overridden, refused with the words that help."""

from functools import reduce
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from deepicd.config import (
    MAX_SEED,
    Experiment,
    dump_experiment,
    fingerprint,
    known_addresses,
    load_experiment,
    nearest,
    override,
    parse_experiment,
    read_experiment,
    single_training,
    with_values,
)
from deepicd.errors import ConfigError, MissingError


def write(folder: Path, text: str) -> Path:
    path = folder / "experiment.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("table", "unknown", "close"),
    [
        ({"training": {"learning_rat": 1.0}}, "training.learning_rat", "training.learning_rate"),
        ({"trainig": {"learning_rate": 1.0}}, "trainig", "training"),
        ({"data": {"num_note": 500}}, "data.num_note", "data.num_notes"),
        ({"sweep": {"num_trial": 3}}, "sweep.num_trial", "sweep.num_trials"),
        ({"sed": 3}, "sed", "seed"),
    ],
)
def test_an_unknown_key_is_refused_and_names_the_nearest(table, unknown, close):
    with pytest.raises(ConfigError, match=rf"^here: unknown key {unknown} \(nearest: {close}"):
        parse_experiment(table, "here")


def test_every_fault_of_a_file_is_reported_at_once():
    table = {"seed": -1, "training": {"temperature": 0, "nonsense_xyzzy": 1}}
    with pytest.raises(ConfigError) as caught:
        parse_experiment(table, "here")
    for part in ("seed", "training.temperature", "training.nonsense_xyzzy"):
        assert part in str(caught.value)


def test_a_missing_file_names_the_known_ones(tmp_path, monkeypatch):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "demo.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingError, match=r"no experiment file at nope\.toml.*demo\.toml"):
        load_experiment("nope.toml")


@pytest.mark.parametrize("content", [b"seed = ", b"seed = 1\nseed = 2\n", b"\xff\xfe"])
def test_broken_toml_is_a_config_error_that_names_the_file(tmp_path, content):
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"broken\.toml is not valid TOML"):
        load_experiment(path)


def test_an_override_wins_over_the_file_and_the_file_over_the_default(tmp_path):
    path = write(tmp_path, "[training]\ntotal_steps = 7\nrollout_n = 4\n")
    experiment = load_experiment(path, ["training.total_steps=9"])
    assert experiment.training.total_steps == 9
    assert experiment.training.rollout_n == 4
    assert experiment.training.temperature == Experiment().training.temperature


@pytest.mark.parametrize(
    ("override", "address", "value"),
    [
        ("name=night", "name", "night"),
        ('name="night"', "name", "night"),
        ("data.max_prompt_tokens=512", "data.max_prompt_tokens", 512),
        ("rewards.weights.outcome=0.5", "rewards.weights", {"outcome": 0.5}),
        ("training.use_kl_loss=true", "training.use_kl_loss", True),
        ("data.split_shares=[0.7, 0.1, 0.1, 0.1]", "data.split_shares", (0.7, 0.1, 0.1, 0.1)),
        ("verl.trainer.x.y=1", "verl", {"trainer.x.y": 1}),
        ("training.learning_rate=3e-5", "training.learning_rate", 3e-5),
    ],
)
def test_an_override_is_read_in_toml_syntax(tmp_path, override, address, value):
    found = load_experiment(write(tmp_path, ""), [override])
    for part in address.split("."):
        found = getattr(found, part)
    assert found == value


@pytest.mark.parametrize("override", ["training.total_steps", "=3", " =3"])
def test_an_override_without_address_or_value_says_its_form(tmp_path, override):
    with pytest.raises(ConfigError, match="an override is ADDRESS=VALUE"):
        load_experiment(write(tmp_path, ""), [override])


def test_an_override_cannot_go_below_a_value(tmp_path):
    with pytest.raises(ConfigError, match=r"seed\.deep: seed is a value, not a table"):
        load_experiment(write(tmp_path, "seed = 3\n"), ["seed.deep=3"])


@given(rate=st.floats(1e-7, 1e-1), rollouts=st.sampled_from([2, 4, 8]), weight=st.floats(0.01, 10))
def test_a_trial_differs_from_its_experiment_in_the_given_values_only(rate, rollouts, weight):
    experiment = Experiment()
    values = {
        "training.learning_rate": rate,
        "training.rollout_n": rollouts,
        "rewards.weights.hierarchy": weight,
    }
    trial = with_values(experiment, values)
    assert trial.training.learning_rate == rate and trial.training.rollout_n == rollouts
    assert trial.rewards.weights == {"hierarchy": weight}
    undone = with_values(
        trial,
        {
            "training.learning_rate": experiment.training.learning_rate,
            "training.rollout_n": experiment.training.rollout_n,
        },
    )
    assert undone.training == experiment.training
    assert trial.data == experiment.data and trial.sft == experiment.sft


@given(
    seed=st.integers(0, MAX_SEED),
    steps=st.integers(1, 500),
    name=st.from_regex("[a-z0-9]{1,8}", fullmatch=True),
)
def test_a_dumped_experiment_reads_back_equal(tmp_path_factory, seed, steps, name):
    path = tmp_path_factory.mktemp("dump") / "experiment.json"
    given_experiment = with_values(
        Experiment(), {"seed": seed, "training.total_steps": steps, "name": name}
    )
    dump_experiment(given_experiment, path)
    assert Experiment.model_validate_json(path.read_text()) == given_experiment


@given(first=st.floats(0.1, 5), second=st.floats(0.1, 5))
def test_a_fingerprint_is_equal_exactly_when_the_values_are(first, second):
    one, other = (
        with_values(Experiment(), {"rewards.weights.outcome": value}).rewards
        for value in (first, second)
    )
    assert (fingerprint(one) == fingerprint(other)) == (first == second)


def test_every_address_of_the_defaults_can_be_set_to_its_own_value():
    experiment = Experiment()
    table = experiment.model_dump(mode="json")
    for address in known_addresses():
        value = table
        for part in address.split("."):
            value = value[part]
        assert with_values(experiment, {address: value}) == experiment


@given(st.sampled_from(known_addresses()), st.data())
def test_the_nearest_name_survives_one_lost_letter(address, data):
    place = data.draw(st.integers(0, len(address) - 1))
    lost = address[:place] + address[place + 1 :]
    found = nearest(lost, known_addresses())
    assert found.startswith(" (nearest: ")
    assert lost in known_addresses() or len(found) - len(" (nearest: )") in range(
        len(lost) - 1, len(lost) + 2
    )


EXPERIMENTS = sorted(Path(__file__).parents[3].glob("experiments/*.toml"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.name)
def test_every_experiment_in_the_repository_parses(path):
    experiment = load_experiment(path)
    assert experiment.name and experiment.question, "an experiment file asks a question"


def write_as(folder, name, text):
    path = folder / name
    path.write_text(text)
    return path


SEARCHED = '"training.learning_rate"'


def test_a_file_begins_from_others_and_later_values_win(tmp_path):
    write_as(tmp_path, "small.toml", "seed = 3\n[data]\nnum_notes = 500\nnum_codes = 9\n")
    domain = f"[sweep.search]\n{SEARCHED} = {{type = 'uniform', low = 0.1, high = 0.2}}\n"
    write_as(tmp_path, "question.toml", f"base = 'small.toml'\nquestion = 'why?'\n{domain}")
    write_as(tmp_path, "large.toml", "[data]\nnum_notes = 900\n")
    choice = f"[sweep.search]\n{SEARCHED} = {{type = 'choice', values = [0.1]}}\n"
    both = "base = ['question.toml', 'large.toml']\n"
    experiment = load_experiment(write_as(tmp_path, "both.toml", both + choice), ["seed=4"])
    assert (experiment.seed, experiment.question) == (4, "why?")
    assert (experiment.data.num_notes, experiment.data.num_codes) == (900, 9)
    assert experiment.sweep.search["training.learning_rate"].type == "choice"


def test_a_base_that_is_missing_or_a_circle_is_refused(tmp_path):
    with pytest.raises(MissingError, match=r"no experiment file at .*none\.toml"):
        load_experiment(write_as(tmp_path, "a.toml", "base = 'none.toml'"))
    write_as(tmp_path, "b.toml", "base = 'c.toml'")
    with pytest.raises(ConfigError, match=r"c\.toml begins from itself"):
        load_experiment(write_as(tmp_path, "c.toml", "base = 'b.toml'"))


def test_a_run_that_goes_on_may_change_its_machines_and_nothing_it_learns():
    allowed = ("training.num_gpus", "training.ppo_micro_batch_size_per_gpu")
    found = override(Experiment(), ["training.num_gpus=2"], allowed=allowed)
    assert found.training.num_gpus == 2
    with pytest.raises(ConfigError, match=r"may change training.num_gpus, .* nothing else"):
        override(Experiment(), ["training.learning_rate=1"], allowed=allowed)


def path_addresses(model=Experiment, prefix=""):
    """Addresses of values that are places, by their type."""
    for name, info in model.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from path_addresses(kind, f"{prefix}{name}.")
        elif Path in get_args(kind) or kind is Path or "Path" in str(kind):
            yield f"{prefix}{name}"


def value_at(experiment, address):
    return reduce(getattr, address.split("."), experiment)


def test_the_places_of_an_experiment_are_known_by_their_type():
    assert set(path_addresses()) == {
        "data.file",
        "data.root",
        "data.splits",
        "model.path",
        "sft.traces",
        "rewards.judge.cache",
        "sweep.start_from",
    }


@pytest.mark.parametrize("address", [*path_addresses(), "promotion.registry"])
def test_every_path_is_absolute_once_it_is_read(address, tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("STORE", "there")
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path, "")
    for written, meant in [
        ("a/../b", "b"),
        ("~/b", "home/b"),
        ("$STORE/b", "there/b"),
        ("${HOME}/${STORE}", "home/there"),
        (str(tmp_path / "c"), "c"),
    ]:
        experiment = load_experiment(file, [f"{address}={written}"])
        assert value_at(experiment, address) in (tmp_path / meant, str(tmp_path / meant))
    dump_experiment(experiment, tmp_path / "experiment.json")
    monkeypatch.chdir("/")  # as a resume from elsewhere reads it
    assert read_experiment(tmp_path / "experiment.json") == experiment


@pytest.mark.parametrize("address", path_addresses())
@pytest.mark.parametrize("value", ["", "s3://bucket/x"])
def test_a_path_that_is_none_is_refused(address, value, tmp_path):
    with pytest.raises(ConfigError, match=r"an empty path|not a URL"):
        load_experiment(write(tmp_path, ""), [f"{address}={value}"])


@pytest.mark.parametrize("registry", ["s3://b/{run}", "registries/{run}", "{run}extra"])
def test_the_runs_folder_stands_at_the_beginning_of_a_registry_or_nowhere(registry):
    with pytest.raises(ConfigError, match=r"promotion\.registry: .* nothing stands before it"):
        parse_experiment({"promotion": {"registry": registry}}, "here")


@pytest.mark.parametrize("registry", ["", "s3://bucket/x", "memory://x", "{run}/registry"])
def test_a_registry_by_url_or_in_the_run_stays_as_it_is(registry, tmp_path):
    experiment = load_experiment(write(tmp_path, ""), [f"promotion.registry={registry}"])
    assert experiment.promotion.registry == registry


def test_a_home_or_a_variable_that_is_not_there_is_a_config_error(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "gone"))
    monkeypatch.delenv("NOWHERE", raising=False)
    file = write(tmp_path, "")
    for address in (*path_addresses(), "promotion.registry"):
        with pytest.raises(ConfigError, match=rf"{address}: ~ in ~/x is no home: there is no"):
            load_experiment(file, [f"{address}=~/x"])
        with pytest.raises(ConfigError, match=rf"{address}: \$NOWHERE in \$NOWHERE/x is not set"):
            load_experiment(file, [f"{address}=$NOWHERE/x"])


def test_an_unknown_home_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="write the path out"):
        load_experiment(write(tmp_path, ""), ["data.root=~nobody_of_that_name/x"])


def test_a_single_training_keeps_what_guards_a_trial():
    table = {"sweep": {"num_trials": 9, "num_seeds": 2, "max_failures": 3, "keep_top": 2}}
    sweep = single_training(parse_experiment(table, "here")).sweep
    assert (sweep.total_trials, sweep.scheduler, sweep.search) == (1, "none", {})
    assert (sweep.max_failures, sweep.keep_top) == (3, 2)


def test_contradictions_of_one_table_are_told_together():
    sweep = {"max_cost": 1.0, "freeze": ["seed"], "confirm_top": 9, "objectives": ["gpu_hours"]}
    with pytest.raises(ConfigError) as caught:
        parse_experiment({"sweep": sweep}, "here")
    for words in ("gpu_hour_price", "set start_from", "more than num_trials", "lacks the metric"):
        assert words in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_in_front_of_an_experiment_goes(tmp_path, encoding):
    path = tmp_path / "marked.toml"
    path.write_bytes("seed = 7\r\n".encode(encoding))
    assert load_experiment(path).seed == 7

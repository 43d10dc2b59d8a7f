"""Evaluation for real: a tiny model that has learnt a few notes by heart, asked by vLLM in Ray."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deepicd import checkpoints, cli
from deepicd.answers import parse_answer
from deepicd.config import Experiment, ModelConfig, dump_experiment
from deepicd.errors import CheckpointError, DataError
from deepicd.evaluation import majority_predictions, predict
from deepicd.inference import offline
from deepicd.inference.offline import OfflineEngine, Sampling, load_model
from deepicd.notes.split_files import write_split
from deepicd.paths import RunPaths
from deepicd.promotion.examine import ask_for_calibration, examine, measure_calibration
from deepicd.promotion.registry import Registry
from deepicd.promotion.versions import CARD
from deepicd.prompts import END_OF_TURN, PromptEncoder, prompt_token_ids, response_text
from deepicd.prompts.encode import load_backend
from deepicd.records import Limits, Note

CODES = ("I25.10", "J18.9", "N17.9", "K35.80", "A41.9", "G40.909")
TEXTS = ("chest pain", "cough and fever", "no urine", "belly ache", "rigors", "seizure")
SIZES = ModelConfig(vocab_size=700, hidden_size=64, num_layers=2, num_heads=2)
LIMITS = Limits(64, 48, "filter")
USES_LIGHT_RAY = True


def build_notes(codes: tuple[str, ...] = CODES, texts: tuple[str, ...] = TEXTS) -> list[Note]:
    return [
        Note(f"n{i}", f"p{i}", f"a{i}", text, code.replace(".", ""))
        for i, (text, code) in enumerate(zip(texts, codes, strict=True))
    ]


def learn_by_heart(folder: Path) -> None:
    """Train until every note is answered with its code, the reasoning block included."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)  # more threads wait for each other on a busy machine
    torch.manual_seed(0)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    samples = []
    for text, code in zip(TEXTS, CODES, strict=True):
        prompt = prompt_token_ids(tokenizer, text)
        answer = tokenizer.encode(response_text("seen before", code) + END_OF_TURN)
        samples.append((prompt + answer, len(prompt)))
    longest = max(len(ids) for ids, _ in samples)
    pad = tokenizer.pad_token_id
    ids = torch.tensor([ids + [pad] * (longest - len(ids)) for ids, _ in samples])
    labels = ids.masked_fill(ids == pad, -100)
    for row, (_, length) in enumerate(samples):
        labels[row, :length] = -100
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(300):
        loss = model(input_ids=ids, attention_mask=(ids != pad).long(), labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if loss.item() < 5e-3:
            break
    assert loss.item() < 0.05
    model.save_pretrained(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from deepicd.training.start_model import build_model

    folder = tmp_path_factory.mktemp("model") / "tiny"
    build_model(SIZES, [*TEXTS, *CODES] * 3, folder, seed=0)
    learn_by_heart(folder)
    checkpoints.write_manifest(folder)
    return folder


@pytest.fixture
def split(tmp_path: Path) -> Path:
    path = tmp_path / "test.parquet"
    write_split(build_notes(), path)
    return path


@pytest.mark.usefixtures("light_ray")
def test_every_note_gets_its_own_answer_and_the_engines_process_is_gone_afterwards(
    model: Path, split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, find_processes
) -> None:
    started: list[int] = []
    await_exit = offline._await_exit
    monkeypatch.setattr(offline, "_await_exit", lambda pid: (started.append(pid), await_exit(pid)))
    swapped = tmp_path / "swapped.parquet"
    notes = build_notes()
    long = Note("long", "p", "a", TEXTS[0] * 40, "I2510")
    write_split([notes[3], long, *notes[:2]], swapped)

    with load_model(model, limits=LIMITS, engine=OfflineEngine(batch_size=4)) as loaded:
        found = loaded.answer_split(split)
        others = loaded.answer_split(swapped)

    assert [(row.note_id, row.patient_id, row.gold, row.prediction) for row in found] == [
        (note.note_id, note.patient_id, note.code, note.code) for note in notes
    ]
    assert all(row.num_tokens and row.shares is None for row in found)
    assert others == [found[3], found[0], found[1]]  # the long one is left out
    (pid,) = started  # one engine for both splits
    assert not Path(f"/proc/{pid}").exists()
    assert not find_processes("_EngineActor")


@pytest.mark.usefixtures("light_ray")
def test_samples_say_how_sure_an_answer_is_and_the_same_seed_says_the_same(
    model: Path, split: Path
) -> None:
    sampling = Sampling(4, 1.5, seed=3)
    known = [replace(note, sex="F") for note in build_notes()]
    write_split(known, split)
    with load_model(model, limits=LIMITS) as loaded:
        first, again = (loaded.answer_split(split, sampling=sampling) for _ in range(2))
        odd = Note("odd", "p", "a", "belly ache and fever and seizure", "K3580")
        (unsure,) = loaded.answer_notes([odd], sampling=Sampling(8, 1.5))
        (too_long,) = loaded.answer_notes([replace(odd, text=TEXTS[0] * 40)])
        examined = examine(loaded, known, first, sampling=sampling)
        few = ask_for_calibration(loaded, split, num_notes=5, sampling=sampling)
        assert few == first[:5] and measure_calibration(few, sampling=sampling) is None
        assert ask_for_calibration(loaded, split, num_notes=0, sampling=sampling) == []
    assert first == again
    for row in first:
        assert row.shares is not None and row.groups == {"sex": "F"}
        assert 0.2 <= row.shares["code"] <= row.shares["category"] <= row.shares["chapter"] <= 1
    assert too_long is None and unsure is not None
    assert examined.seconds is not None and examined.seconds > 0
    tests = {test: len(passed) for test, passed in examined.behaviour.items()}
    assert tests["minimum_function"] == tests["direction"] == 12
    assert tests["invariance_names"] == len(known)


@pytest.mark.usefixtures("light_ray")
def test_weights_that_are_swapped_in_answer_as_in_an_engine_of_their_own(
    model: Path, split: Path, tmp_path: Path
) -> None:
    untrained = checkpoints.export(model, tmp_path / "untrained")
    rewrite_weights(untrained, lambda tensors: tensors["model.norm.weight"].zero_())
    wrong_shape = checkpoints.export(model, tmp_path / "wrong")
    rewrite_weights(wrong_shape, lambda tensors: tensors.pop("model.norm.weight"))
    with load_model(untrained, limits=LIMITS) as loaded:
        before = loaded.answer_split(split)
        loaded.swap(model)
        after = loaded.answer_split(split)
        with pytest.raises(CheckpointError, match=r"vLLM failed on .*wrong: .*got no new weight"):
            loaded.swap(wrong_shape)
    assert [row.prediction for row in before] == [None] * len(CODES)
    assert [row.prediction for row in after] == [note.code for note in build_notes()]
    with load_model(model, limits=LIMITS) as loaded:
        assert loaded.answer_split(split) == after


def test_the_snippet_of_a_model_card_runs_as_it_stands_and_answers_as_evaluation_does(
    model: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    limits = {"max_prompt_tokens": 64, "max_response_tokens": 48}
    version = Registry(tmp_path / "registry").register(
        model, lineage={"stage": "by hand"}, card={"limits": limits}
    )
    card = (version.path / CARD).read_text()
    (snippet,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", snippet],
        cwd=version.path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (note,) = re.findall(r'^note = "(.*)"$', snippet, re.MULTILINE)
    (prompt,) = PromptEncoder.of_model(model, LIMITS).encode([note])
    asked = torch.tensor([prompt.token_ids])
    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    loaded = AutoModelForCausalLM.from_pretrained(model)
    answer = loaded.generate(asked, max_new_tokens=48, do_sample=False)[0, asked.shape[1] :]
    assert done.stdout.strip() == tokenizer.decode(answer, skip_special_tokens=True).strip()
    assert parse_answer(done.stdout, is_prefilled=True).code is not None


@pytest.mark.usefixtures("light_ray")
def test_a_cut_off_answer_is_a_miss_with_its_reason(model: Path, split: Path) -> None:
    (first, second) = predict(model, split, limits=Limits(64, 2), limit=2)
    assert (first.note_id, second.note_id) == ("n0", "n1")
    assert first.prediction is None and first.reason is not None


@pytest.mark.usefixtures("light_ray")
def test_a_model_that_vllm_cannot_load_is_an_error_and_never_a_score(
    model: Path, split: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    checkpoints.export(model, broken)
    config = broken / "config.json"
    config.write_text(config.read_text().replace('"hidden_size": 64', '"hidden_size": 96'))
    with pytest.raises(CheckpointError, match=r"vLLM failed on .*broken"):
        predict(broken, split, limits=LIMITS)


@pytest.mark.usefixtures("light_ray")
def test_a_split_whose_notes_are_all_too_long_is_refused(model: Path, split: Path) -> None:
    encoder = PromptEncoder(load_backend(model), 20, "filter")
    loaded = offline.LoadedModel(None, encoder, batch_size=4, model=model)
    with pytest.raises(DataError, match="has a prompt that fits"):
        loaded.answer_split(split)


@pytest.mark.usefixtures("light_ray")
def test_promote_asks_both_models_on_the_promotion_split_and_moves_the_alias(
    model: Path, tmp_path: Path
) -> None:
    paths = RunPaths(tmp_path)
    paths.notes.mkdir()
    write_split(build_notes(), paths.split("promotion"))
    settings = {
        "data": {"max_prompt_tokens": 64},
        "training": {"max_response_tokens": 48},
        # Six patients: an interval of so few holds 0 whatever they answer.
        "promotion": {"min_patients": 2, "require_significance": False},
    }
    dump_experiment(Experiment.model_validate(settings), paths.experiment)
    untrained = tmp_path / "untrained"
    checkpoints.export(model, untrained)
    rewrite_weights(untrained, lambda tensors: tensors["model.norm.weight"].zero_())
    registry = Registry(tmp_path / "registry")
    for folder in (untrained, model):
        registry.register(folder, lineage={"from": folder.name})
    registry.promote("v0001", reason="start")
    command = ["promote", "v0002", "--registry", str(registry.root), "--json"]
    result = CliRunner().invoke(cli.app, command, catch_exceptions=False)
    found = json.loads(result.stdout)
    assert (found["accepted"], found["champion"]) == (True, "v0002")
    assert found["numbers"]["candidate_hierarchical_f1"] == 1.0
    assert found["numbers"]["champion_share_unparsable"] == 1.0
    assert registry.aliases() == {"champion": "v0002"}


def test_an_export_counts_only_after_it_was_loaded(model: Path, tmp_path: Path) -> None:
    target = checkpoints.export(model, tmp_path / "export")
    found = checkpoints.verify_by_loading(target, reference=model)
    assert found["num_parameters"] > found["vocab_size"] * SIZES.hidden_size
    assert found["max_logit_difference"] == 0.0


def rewrite_weights(folder: Path, change: Any) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def test_a_changed_broken_or_incomplete_export_is_refused(model: Path, tmp_path: Path) -> None:
    def spoil(tensors: dict[str, Any]) -> None:
        tensors["model.norm.weight"][0] = float("nan")

    def nudge(tensors: dict[str, Any]) -> None:
        tensors["model.norm.weight"] *= 1.01

    def drop(tensors: dict[str, Any]) -> None:
        del tensors["model.layers.1.mlp.up_proj.weight"]

    cases = {"not finite": spoil, "logits differ": nudge, "do not fit the configuration": drop}
    for message, change in cases.items():
        folder = checkpoints.export(model, tmp_path / "changed")
        rewrite_weights(folder, change)
        with pytest.raises(CheckpointError, match=message):
            checkpoints.verify_by_loading(folder, reference=model)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(CheckpointError, match="is refused"):
        checkpoints.verify_by_loading(folder)


def test_the_majority_baseline_knows_training_only(split: Path, tmp_path: Path) -> None:
    train = tmp_path / "train.parquet"
    write_split(build_notes(("J18.9", "J18.9", "A41.9"), TEXTS[:3]), train)
    assert {row.prediction for row in majority_predictions(train, split)} == {"J189"}

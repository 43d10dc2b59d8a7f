"""What Serve is given to run, without a cluster: versions, options, and what survives pickling."""

import json
from pathlib import Path

import cloudpickle
import pytest

from deepicd.serving import ServedModel, ServingSettings, applications
from deepicd.serving.deployments import asks_for_stream
from deepicd.serving.routing import Backend, TrafficSplit
from deepicd.serving.settings import EngineSettings

SPLIT = TrafficSplit(champion=Backend(app="engine-1", version="v1"))


@pytest.fixture
def model(tmp_path: Path) -> ServedModel:
    return ServedModel(path=tmp_path, version="v1")


def deployment_of(run_target) -> object:
    """The deployment that Serve would run."""
    return run_target.target._bound_deployment


def test_another_model_or_split_reconfigures_a_replica_and_does_not_restart_it(model):
    settings = ServingSettings()
    engine = deployment_of(applications.engine_run_target(model, settings, "engine-1"))
    other = model.model_copy(update={"version": "v2"})
    changed = deployment_of(applications.engine_run_target(other, settings, "engine-1"))
    gateway = deployment_of(applications.gateway_run_target(settings, SPLIT))
    assert engine.version == changed.version == gateway.version == "1"
    assert engine.user_config["version"] == "v1" and changed.user_config["version"] == "v2"
    assert gateway.user_config["champion"] == {"app": "engine-1", "version": "v1"}


def test_serve_deploy_keeps_versions_and_the_gateways_user_config_to_itself(model):
    settings = ServingSettings().model_dump(mode="json")
    arguments = {"model": model.model_dump(mode="json"), "settings": settings}
    engine = applications.build_engine(arguments)._bound_deployment
    gateway = applications.build_gateway({"settings": settings})._bound_deployment
    assert engine.version is gateway.version is None
    assert engine.user_config["version"] == "v1" and gateway.user_config is None


def test_an_engine_gets_what_its_settings_ask_for(model):
    engine = EngineSettings(device="cuda", tensor_parallel_size=2, num_cpus=3, num_replicas=4)
    run_target = applications.engine_run_target(model, ServingSettings(engine=engine), "e")
    deployment = deployment_of(run_target)
    assert deployment.num_replicas == 4
    assert deployment.ray_actor_options == {"num_cpus": 3, "num_gpus": 2}
    assert cloudpickle.loads(cloudpickle.dumps(run_target.target)) is not None


def test_a_new_engine_has_a_name_of_its_own_from_which_odd_characters_are_gone(model):
    odd = model.model_copy(update={"version": "v 2/é"})
    names = {applications.engine_app_name(odd) for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("deepicd-engine-v-2-") and name.isascii() for name in names)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (json.dumps({"stream": True}), True),
        (json.dumps({"stream": False}), False),
        (json.dumps({"prompt": "x"}), False),
        (json.dumps([{"stream": True}]), False),
        ('{"stream": true', False),
        ("", False),
    ],
)
def test_a_stream_is_what_the_body_asks_for(body, expected):
    assert asks_for_stream(body.encode()) is expected

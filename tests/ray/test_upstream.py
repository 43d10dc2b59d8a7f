"""Private code of others that we rely on: it must be what it was when it was read.

A row that fails says that upstream has changed the code behind a reach. Read the change, mend our
side, then set the version in `require_version` and the digest here.
"""

import hashlib
import inspect
from functools import reduce
from importlib import import_module

import pytest

REACHES: dict[str, str] = {
    "optuna.study.study:Study.enqueue_trial": "ac4c26a48262",
    "ray._private.state:actors": "96a84dd8aeb2",
    "ray._private.state:available_resources_per_node": "f1243af7e6c3",
    "ray._private.state:jobs": "e48499720b15",
    "ray.train.v2._internal.execution.checkpoint.checkpoint_manager"
    ":CheckpointManager": "bf0b59a978ca",
    "ray.train.v2._internal.execution.controller.placement_group_cleaner"
    ":PlacementGroupCleaner": "82a5ec4420fd",
    "ray.train.v2.api.data_parallel_trainer:DataParallelTrainer": "e335a9854d3d",
    "ray.tune.execution.tune_controller:TuneController._get_trial_checkpoints": "5a962522c82a",
    "ray.tune.execution.tune_controller:TuneController.save_to_dir": "2c98de717fd2",
    "ray.tune.experiment.trial:Trial.get_json_state": "ed697ebaada3",
    "ray.tune.impl.tuner_internal:TunerInternal.__init__": "976963143ed1",
    "ray.tune.schedulers.async_hyperband:AsyncHyperBandScheduler": "5680db10d801",
    "ray.tune.schedulers.async_hyperband:_Bracket": "b7e6ec89b26f",
    "ray.tune.schedulers.median_stopping_rule:MedianStoppingRule": "066a1246dd31",
    "ray.tune.search.optuna.optuna_search:OptunaSearch": "2e1760b48070",
    "ray.tune.search.search_generator:SearchGenerator": "bd79f94aafe3",
    "torch.distributed.device_mesh:DeviceMesh.__getstate__": "3d4c150bac1b",
    "torch.distributed.device_mesh:DeviceMesh.__init__": "a74b152eb301",
    "torch.distributed.device_mesh:DeviceMesh.__setstate__": "a01bfa51995f",
    "transfer_queue.interface:_init_from_existing": "ed43e32c550d",
    "transfer_queue.interface:init": "4a75f86c544e",
    "verl.experimental.reward_loop.reward_loop:RewardLoopWorker.__init__": "89d97a377ad9",
    "verl.single_controller.ray.base:RayResourcePool.get_placement_groups": "0e5cc2df0de4",
    "verl.single_controller.ray.base:ResourcePoolManager": "e4a11d1ef0dd",
    "verl.single_controller.ray.base:create_colocated_worker_cls": "2a540c7849dd",
    "verl.trainer.ppo.v1.agent_loop_tq:AgentLoopManagerTQ": "1addecc8302c",
    "verl.trainer.ppo.v1.agent_loop_tq:AgentLoopWorkerTQ.__init__": "75f92c33be85",
    "verl.trainer.ppo.v1.trainer_base:PPOTrainer._balance_batch": "f9b6e887d750",
    "verl.trainer.ppo.v1.trainer_base:PPOTrainer._build_replay_buffer": "c6c5bd078331",
    "verl.trainer.ppo.v1.trainer_base:PPOTrainer._compute_metrics": "9c5c55578788",
    "verl.trainer.ppo.v1.trainer_base:PPOTrainer._fetch_one_gen_batch": "d62e586d5205",
    "verl.trainer.ppo.v1.trainer_base:PPOTrainer._init_dataloader": "86cf3749e087",
    "verl.trainer.ppo.v1.trainer_base:PPOTrainer._init_dump_executor": "05f0fe277e75",
    "verl.trainer.ppo.v1.trainer_base:PPOTrainer._init_resource_pool_mgr": "9eaa3bab711e",
    "verl.trainer.ppo.v1.trainer_base:PPOTrainer._init_tokenizer": "c4c19f471702",
    "verl.trainer.ppo.v1.trainer_base:PPOTrainer._load_checkpoint": "bb446d77c48a",
    "verl.trainer.ppo.v1.trainer_base:PPOTrainer._save_checkpoint": "8c2435b577e5",
    "verl.trainer.ppo.v1.trainer_base:PPOTrainer._setup": "248aee497276",
    "verl.trainer.ppo.v1.trainer_base:PPOTrainer._shutdown_dump_executor": "8746f0f38229",
    "verl.trainer.ppo.v1.trainer_base:PPOTrainer._val_metrics_update": "8cecd418b501",
    "verl.trainer.ppo.v1.trainer_base:PPOTrainer.fit": "7d83a81c2e62",
    "verl.trainer.sft_trainer:SFTTrainer._init_engine": "0140f0899f7f",
    "verl.utils.distributed:": "1ba360150779",
    "verl.utils.fsdp_utils:_select_fsdp2_wrap_targets": "d0407bee733b",
    "verl.workers.engine.fsdp.transformer_impl:FSDPEngine._build_fsdp_module": "35b7b5398584",
    "verl.workers.engine_workers:ActorRolloutRefWorker.__init__": "7ec3b78b884c",
    "verl.workers.engine_workers:ActorRolloutRefWorker.init_model": "d1598903d824",
    "verl.workers.rollout.vllm_rollout.bucketed_weight_transfer"
    ":BucketedWeightReceiver": "d527ee7d849e",
    "verl.workers.rollout.vllm_rollout.utils"
    ":vLLMColocateWorkerExtension._get_zmq_handle": "b823b8e182a4",
    "verl.workers.rollout.vllm_rollout.utils"
    ":vLLMColocateWorkerExtension.update_weights_from_ipc": "21edd41f704f",
    "verl.workers.rollout.vllm_rollout.vllm_async_server"
    ":vLLMHttpServer._get_worker_extension_cls": "f2a2ee36d248",
    "verl.workers.rollout.vllm_rollout.vllm_async_server:vLLMReplica.__init__": "a43756da3be1",
    "vllm.model_executor.layers.vocab_parallel_embedding"
    ":UnquantizedEmbeddingMethod.process_weights_after_loading": "3f18c9f56bcc",
    "vllm.model_executor.model_loader.reload:finalize_layerwise_reload": "10b5e19091c0",
    "vllm.model_executor.model_loader.reload:initialize_layerwise_reload": "0487a168bbd9",
    "fastapi.applications:FastAPI.build_middleware_stack": "f9ae51bfad91",
    "ray.serve.deployment:Deployment.options": "9c7a166872a0",
    "starlette.applications:Starlette.__call__": "5bf3135c4e85",
    "starlette.applications:Starlette.build_middleware_stack": "aca3f8e780a2",
    "vllm.entrypoints.launchers.api_server.app_state:init_app_state": "abf2ff13d7ab",
    "vllm.entrypoints.launchers.app:build_app": "93357cf1997f",
    "vllm.entrypoints.launchers.cli_args:FrontendArgs": "540810cd13b3",
    "vllm.entrypoints.openai.models.serving:OpenAIModelRegistry": "0a6c091ce1ba",
    "vllm.entrypoints.openai.models.serving:OpenAIServingModels": "2c898ed7e4bc",
}
"""`module:object` → first 12 characters of the SHA-256 of its source."""


def source_digest(reach: str) -> str:
    module, _, name = reach.partition(":")
    found = reduce(getattr, name.split("."), import_module(module)) if name else None
    source = inspect.getsource(found or import_module(module))
    return hashlib.sha256(source.encode()).hexdigest()[:12]


@pytest.mark.parametrize("reach", sorted(REACHES))
def test_upstream_has_not_changed_what_we_reach_into(reach):
    assert source_digest(reach) == REACHES[reach]


@pytest.mark.parametrize("reach", sorted(REACHES))
def test_the_list_of_reaches_names_it(root, reach):
    text = (root / "docs" / "decisions" / "upstream.md").read_text()
    assert reach.rpartition(":")[2].rpartition(".")[2] in text


def test_a_change_of_the_source_changes_the_digest():
    assert source_digest("hashlib:new") != source_digest("inspect:getsource")

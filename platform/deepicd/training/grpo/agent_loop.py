"""Single-turn rollouts from ready token ids.

In: a row of `training.grpo.dataset.NotesDataset`, whose `raw_prompt` holds the token ids that
`prompts` rendered. Out: verl's `AgentLoopOutput`. verl's own loop renders messages again and drops
a `<think>` prefill (verl issue 656); this one hands the ids on untouched, so training sees exactly
what evaluation and serving see.
"""

from hashlib import blake2b
from typing import Any
from uuid import uuid4

from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopOutput, register
from verl.utils.profiler import simple_timer

NAME = "deepicd_single_turn"


@register(NAME)
class ReadyTokensAgentLoop(AgentLoopBase):
    """Generate one answer to one ready prompt."""

    async def run(
        self, sampling_params: dict[str, Any], priority: int = 0, **row: Any
    ) -> AgentLoopOutput:
        """Ask the rollout server for one answer.

        Args:
            sampling_params: vLLM sampling parameters chosen by verl; the seed is added here.
            priority: verl's scheduling priority.
            row: columns of the dataset row; read are `raw_prompt` (token ids), and what names the
                answer: `global_steps`, `index` and `session_id`.
        """
        names = (row["global_steps"], row["index"], row["session_id"])
        seed = _request_seed(self.rollout_config.seed, *(int(name) for name in names))
        prompt_ids = [int(token) for token in row["raw_prompt"]]
        metrics: dict[str, Any] = {}
        with simple_timer("generate_sequences", metrics):
            output = await self.server_manager.generate(
                request_id=uuid4().hex,
                prompt_ids=prompt_ids,
                sampling_params={**sampling_params, "seed": seed},
                priority=int(priority),
            )
        preempted = output.num_preempted
        # From here on as verl's own single-turn loop has it: -1 for unknown, two turns (prompt and
        # answer), and both lists, which only its loop with tools fills.
        metrics.setdefault("num_preempted", -1 if preempted is None else preempted)
        length = self.rollout_config.response_length
        return AgentLoopOutput(
            prompt_ids=prompt_ids,
            response_ids=output.token_ids[:length],
            response_mask=[1] * min(len(output.token_ids), length),
            response_logprobs=output.log_probs[:length] if output.log_probs else None,
            num_turns=2,
            metrics=metrics,
            extra_fields={**output.extra_fields, "turn_scores": [], "tool_rewards": []},
        )


def _request_seed(seed: int, step: int, index: int, session: int) -> int:
    """Seed of one answer: the same in every run, whatever else the engine computes beside it.

    Without it vLLM draws from one stream for all requests, in the order in which they are served.
    """
    name = f"{seed}/{step}/{index}/{session}".encode()
    return int.from_bytes(blake2b(name, digest_size=4).digest(), "big")

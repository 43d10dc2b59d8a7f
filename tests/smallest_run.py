"""The smallest experiment that walks every stage with the real verl, vLLM and Ray."""

PORT = 8137
MODEL = """[model]
vocab_size = 800
hidden_size = 64
num_layers = 1
num_heads = 2"""
BATCH = """train_batch_size = 8
ppo_mini_batch_size = 8
ppo_micro_batch_size_per_gpu = 32
rollout_n = 4"""
"""Of the table `[training]`."""
EXPERIMENT = f"""
name = "kills"
[data]
num_notes = 400
max_prompt_tokens = 192
num_validation = 16
num_codes = 12
{MODEL}
[sft]
num_traces = 120
epochs = 1
batch_size = 16
learning_rate = 5e-3
max_trace_tokens = 72
[training]
{BATCH}
max_response_tokens = 24
entropy_coeff = 0.01
total_steps = 2
validate_every = 1
[promotion] # two steps teach nothing: what is shown is the way, so every candidate may pass
min_difference = -1.0
max_unparsable = 1.0
max_nonexistent = 1.0
max_chapter_loss = 1.0
max_subgroup_loss = 1.0
max_behaviour_loss = 1.0
max_latency_ratio = 100.0
max_length_ratio = 100.0
min_patients = 5
num_calibration = 16
[serving]
port = {PORT}
num_samples = 2
num_check_notes = 4
"""

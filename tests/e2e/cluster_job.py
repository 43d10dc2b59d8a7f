"""A job for the cluster: says which slots it has and runs one task on a GPU slot."""

import json

import ray

ray.init(logging_level="warning")
slots = ray.cluster_resources()
answer = ray.get(ray.remote(num_gpus=1)(lambda: "a task ran").remote())
print("job found", json.dumps({name: slots[name] for name in ("CPU", "GPU")}), answer)

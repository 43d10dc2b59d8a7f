#!/bin/bash
# Inside the private machine, at the root of the repository: what docs/clusters.md tells a reader to type.
set -euo pipefail
shown() { printf '\n== %s\n' "$1"; }
token=$HOME/token/token

shown up
ray up --yes --no-config-cache "$1"

shown job
ray job submit --address http://127.0.0.1:8265 -- \
    sh -c "${2:-cd ~/deepicd-cluster/repository && deepicd --version && python tests/e2e/cluster_job.py}"

shown "status with the token: $(curl -s -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $(cat "$token")" http://127.0.0.1:8265/api/jobs/)"
shown "status without it: $(curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8265/api/jobs/)"

shown down
ray down --yes "$1"
shown "raylets left: $(pgrep -c raylet || true)"

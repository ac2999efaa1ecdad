#!/usr/bin/env bash
# Pre-trains over several machines, called on each: NUM_NODES=2 NODE_RANK=0 MASTER_ADDR=<first> bash scripts/torchrun_pretrain.sh
# Also in the environment: METHOD (bassl), NUM_PROC_PER_NODE (8), MASTER_PORT (29500; on one machine any that is free),
# BASSL_SEED (in place of config.SEED; drawn on one machine).
# Settings follow as config.KEY=VALUE. When a process ends with an error, torchrun ends the others; after a signal to the
# processes they save, and config.RESUME=true resumes (torchrun's own status is then 1).
set -euo pipefail
root="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
PATH="${VIRTUAL_ENV:-$root/.venv}/bin:$PATH"
meet=(--rdzv-backend=static --rdzv-endpoint="${MASTER_ADDR:-localhost}:${MASTER_PORT:-29500}")
[ "${NUM_NODES:-1}${MASTER_PORT:-}" != 1 ] || meet=(--standalone)
# Without config.SEED all processes draw from this one; over several machines it has to be set, the same on each.
[ "${NUM_NODES:-1}" != 1 ] || export BASSL_SEED="${BASSL_SEED:-$((RANDOM << 15 | RANDOM))}"

exec "${PYTHON:-python3}" -m torch.distributed.run \
    --nnodes="${NUM_NODES:-1}" \
    --node-rank="${NODE_RANK:-0}" \
    --nproc-per-node="${NUM_PROC_PER_NODE:-8}" \
    "${meet[@]}" \
    "$root/bassl/pretrain/main.py" \
    +method="${METHOD:-bassl}" \
    config.EXPR_NAME="${METHOD:-bassl}" \
    config.DISTRIBUTED.NUM_NODES="${NUM_NODES:-1}" \
    config.DISTRIBUTED.NUM_PROC_PER_NODE="${NUM_PROC_PER_NODE:-8}" \
    config.TRAIN.BATCH_SIZE.effective_batch_size=256 \
    "$@"

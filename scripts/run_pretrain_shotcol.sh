#!/usr/bin/env bash
# Pre-trains ShotCoL, i.e. SimCLR (NN), on 8 GPUs: bash scripts/run_pretrain_shotcol.sh [config.KEY=VALUE ...]
set -euo pipefail
root="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
PATH="${VIRTUAL_ENV:-$root/.venv}/bin:$PATH"

exec "${PYTHON:-python3}" "$root/bassl/pretrain/main.py" \
    +method=shotcol \
    config.EXPR_NAME=shotcol \
    config.DISTRIBUTED.NUM_NODES=1 \
    config.DISTRIBUTED.NUM_PROC_PER_NODE=8 \
    config.TRAIN.BATCH_SIZE.effective_batch_size=256 \
    "$@"

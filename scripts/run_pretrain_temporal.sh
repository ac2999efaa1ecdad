#!/usr/bin/env bash
# Pre-trains SimCLR (temporal) on 8 GPUs: bash scripts/run_pretrain_temporal.sh [config.KEY=VALUE ...]
set -euo pipefail
root="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
PATH="${VIRTUAL_ENV:-$root/.venv}/bin:$PATH"

exec "${PYTHON:-python3}" "$root/bassl/pretrain/main.py" \
    +method=temporal \
    config.EXPR_NAME=temporal \
    config.DISTRIBUTED.NUM_NODES=1 \
    config.DISTRIBUTED.NUM_PROC_PER_NODE=8 \
    config.TRAIN.BATCH_SIZE.effective_batch_size=256 \
    "$@"

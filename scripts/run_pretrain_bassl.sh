#!/usr/bin/env bash
# Pre-trains BaSSL on 8 GPUs: bash scripts/run_pretrain_bassl.sh [config.KEY=VALUE ...]
set -euo pipefail
root="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
PATH="${VIRTUAL_ENV:-$root/.venv}/bin:$PATH"

exec "${PYTHON:-python3}" "$root/bassl/pretrain/main.py" \
    +method=bassl \
    config.EXPR_NAME=bassl \
    config.DISTRIBUTED.NUM_NODES=1 \
    config.DISTRIBUTED.NUM_PROC_PER_NODE=8 \
    config.TRAIN.BATCH_SIZE.effective_batch_size=256 \
    "$@"

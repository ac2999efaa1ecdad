#!/usr/bin/env bash
# Extracts shot features, then fine-tunes a shot-level method: bash scripts/finetune_shot-level_baseline.sh [config.KEY=VALUE ...]
# In the environment: LOAD_FROM (the pre-trained EXPR_NAME, Simclr_NN), EXTRACT_ARGS (config.KEY=VALUE ... for the extraction).
set -euo pipefail
set -f  # EXTRACT_ARGS is cut at blanks, its [ ] and * stay as they are
root="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
PATH="${VIRTUAL_ENV:-$root/.venv}/bin:$PATH"
load_from="${LOAD_FROM:-Simclr_NN}"

"${PYTHON:-python3}" "$root/bassl/pretrain/extract_shot_repr.py" \
    config.DISTRIBUTED.NUM_NODES=1 \
    config.DISTRIBUTED.NUM_PROC_PER_NODE=1 \
    +config.LOAD_FROM="$load_from" \
    ${EXTRACT_ARGS:-}

exec "${PYTHON:-python3}" "$root/bassl/finetune/main.py" \
    config.TRAIN.BATCH_SIZE.effective_batch_size=1024 \
    config.EXPR_NAME="finetune_scratch_$load_from" \
    config.DISTRIBUTED.NUM_NODES=1 \
    config.DISTRIBUTED.NUM_PROC_PER_NODE=1 \
    config.TRAIN.OPTIMIZER.lr.base_lr=0.000025 \
    +config.PRETRAINED_LOAD_FROM="$load_from" \
    "$@"

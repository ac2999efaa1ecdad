#!/usr/bin/env bash
# Extracts shot features, then fine-tunes a shot-level method: bash scripts/finetune_shot-level_baseline.sh [config.KEY=VALUE ...]
# In the environment: LOAD_FROM (the pre-trained EXPR_NAME, Simclr_NN), EXTRACT_ARGS (config.KEY=VALUE ... for the extraction;
# config.DATA_PATH and the other folders are passed on to it).
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/finetune.bash"

extract_and_finetune "${LOAD_FROM:-Simclr_NN}" finetune_scratch 0.000025 "$@"

#!/usr/bin/env bash
# Extracts shot features, then fine-tunes BaSSL: bash scripts/finetune_bassl.sh [config.KEY=VALUE ...]
# In the environment: LOAD_FROM (the pre-trained EXPR_NAME, bassl), EXTRACT_ARGS (config.KEY=VALUE ... for the extraction,
# which is told config.DATA_PATH and the other places by itself).
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/finetune.bash"

extract_and_finetune "${LOAD_FROM:-bassl}" transfer_finetune 0.0000025 "$@"

#!/usr/bin/env bash
# Extracts shot features, then fine-tunes BaSSL: bash scripts/finetune_bassl.sh [config.KEY=VALUE ...]
# In the environment: LOAD_FROM (the pre-trained EXPR_NAME, bassl), EXTRACT_ARGS (config.KEY=VALUE ... for the extraction;
# config.DATA_PATH and the other folders are passed on to it).
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/finetune.bash"

extract_and_finetune "${LOAD_FROM:-bassl}" transfer_finetune 0.0000025 "$@"

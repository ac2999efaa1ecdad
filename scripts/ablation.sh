#!/usr/bin/env bash
# Runs an experiment into one table and a picture: bash scripts/ablation.sh sample [config.KEY=VALUE ...]
set -euo pipefail
root="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
PATH="${VIRTUAL_ENV:-$root/.venv}/bin:$PATH"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"

exec "${PYTHON:-python3}" -m bassl.sweep.main "$@"

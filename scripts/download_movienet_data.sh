#!/usr/bin/env bash
# Downloads MovieNet into bassl/data/movienet: bash scripts/download_movienet_data.sh --keyframes URL --annotations URL
# Can be stopped and called again; --help tells the rest.
set -euo pipefail
root="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
PATH="${VIRTUAL_ENV:-$root/.venv}/bin:$PATH"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"

exec "${PYTHON:-python3}" -m bassl.download.main "$@"

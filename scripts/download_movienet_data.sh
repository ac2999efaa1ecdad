#!/usr/bin/env bash
# Downloads MovieNet into bassl/data/movienet: bash scripts/download_movienet_data.sh --keyframes URL --annotations URL
# An interrupted download resumes when called again; see --help.
set -euo pipefail
root="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
PATH="${VIRTUAL_ENV:-$root/.venv}/bin:$PATH"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"

exec "${PYTHON:-python3}" -m bassl.download.main "$@"

#!/usr/bin/env bash
# Sets up the environment and runs the whole test suite: bash scripts/test.sh [pytest arguments]
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.bash"
set_up_environment "[dev,video]"
cd "$root"
# One process per core with one thread each, one file at a time: torch processes with more threads slow each other down.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder "$@"

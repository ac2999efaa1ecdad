#!/usr/bin/env bash
# Sets up the environment and runs the whole test suite: bash scripts/test.sh [pytest arguments]
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.bash"
set_up_environment "[dev,video]"
cd "$root"
exec python -m pytest "$@"

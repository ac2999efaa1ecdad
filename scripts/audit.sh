#!/usr/bin/env bash
# Looks for known vulnerabilities in the installed packages: bash scripts/audit.sh [--format=json ...] (see pip-audit --help)
# Needs the internet. pip-audit itself is installed into a folder that is removed afterwards; the status is 1 for findings,
# and also where the service knows nothing about a package: an audit of nothing must not pass.
set -euo pipefail
root="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
PATH="${VIRTUAL_ENV:-$root/.venv}/bin:$PATH"
PIPAPI_PYTHON_LOCATION="$(command -v "${PYTHON:-python3}")" # the environment to audit
export PIPAPI_PYTHON_LOCATION
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT

"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/python3" -m pip install --quiet pip-audit
"$folder/bin/python3" -m pip_audit --strict --skip-editable "$@"

# Sourced by quickstart.sh and test.sh: the active virtual environment, or conda environment other than base, else
# <root>/.venv (made if missing), with the package and its requirements installed. Takes the extras to install ("[dev]").
root="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"

set_up_environment() {
    local extras="$1" folder="${VIRTUAL_ENV:-$root/.venv}"
    if [ -z "${VIRTUAL_ENV:-}" ] && [ "${CONDA_DEFAULT_ENV:-base}" != base ] && [ -x "${CONDA_PREFIX:-}/bin/python" ]; then
        folder="$CONDA_PREFIX"
    fi
    local python="$folder/bin/python"
    if [ ! -x "$python" ]; then
        echo "making $root/.venv"
        "${PYTHON:-python3}" -m venv "$root/.venv"
    fi
    local wanted have="$folder/.bassl-installed$extras"
    wanted="$(cat "$root/requirements.txt" "$root/pyproject.toml" | cksum) $root"
    if [ "$(cat "$have" 2>/dev/null)" != "$wanted" ]; then
        echo "installing the requirements and the package (torch takes a few minutes)"
        "$python" -m pip install --quiet --disable-pip-version-check -r "$root/requirements.txt" -e "$root$extras"
        echo "$wanted" > "$have"
    fi
    PATH="$(dirname "$python"):$PATH"
}

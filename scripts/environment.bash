# Sourced by quickstart.sh and test.sh: the active virtual environment, else <root>/.venv (made if missing), with the
# package and its requirements installed. Takes the extras to install, such as "[dev]".
root="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"

set_up_environment() {
    local extras="$1" python="${VIRTUAL_ENV:-$root/.venv}/bin/python"
    if [ ! -x "$python" ]; then
        echo "making $root/.venv"
        "${PYTHON:-python3}" -m venv "$root/.venv"
    fi
    local wanted have="${VIRTUAL_ENV:-$root/.venv}/.bassl-installed$extras"
    wanted="$(cat "$root/requirements.txt" "$root/pyproject.toml" | cksum) $root"
    if [ "$(cat "$have" 2>/dev/null)" != "$wanted" ]; then
        echo "installing the requirements and the package (torch takes a few minutes)"
        "$python" -m pip install --quiet --disable-pip-version-check -r "$root/requirements.txt" -e "$root$extras"
        echo "$wanted" > "$have"
    fi
    PATH="$(dirname "$python"):$PATH"
}

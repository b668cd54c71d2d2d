#!/usr/bin/env bash
# Runs the tests on the lowest, or on the highest, versions that setup.cfg allows.
#   bash scripts/test_pins.sh lowest|highest [pytest's arguments]
# PYTHON names the interpreter (python3.10 and python3.13 are the outermost), VENV the folder.
set -euo pipefail
case ${1:-} in
  lowest) resolution=lowest-direct python=python3.10 ;;
  highest) resolution=highest python=python3.13 ;;
  *) echo "usage: bash scripts/test_pins.sh lowest|highest [pytest's arguments]" >&2; exit 2 ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export VENV=${VENV:-$PWD/.venv-$1}

"${PYTHON:-$python}" -m venv "$VENV"
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check uv
"$VENV/bin/uv" pip install --quiet --python "$VENV/bin/python" --resolution "$resolution" \
  --upgrade --editable ".[test]"
# So that test.sh takes the environment as it is.
touch "$VENV/.installed[test]"
bash scripts/test.sh "${@:2}"

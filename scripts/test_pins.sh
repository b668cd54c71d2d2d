#!/usr/bin/env bash
# Runs the tests with the lowest or the highest versions that pyproject.toml allows.
#   bash scripts/test_pins.sh lowest|highest [pytest's arguments]
# PYTHON names the interpreter (by default python3.10 or python3.13), VENV the folder.
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
# This stamp tells test.sh that the environment is ready.
touch "$VENV/.installed[test]"
bash scripts/test.sh "${@:2}"

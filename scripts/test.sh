#!/usr/bin/env bash
# Sets up its environment and runs the checks: lint, format, types, documentation, wheel, tests.
#   bash scripts/test.sh [--all] [pytest's arguments]      --all: the slow tests too
set -euo pipefail
EXTRAS="[test]"
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
cd "$root"
ruff check .
ruff format --check .
# Types, documentation and the wheel are checked beside the tests; what they say comes at the end.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(
  mypy
  NO_MKDOCS_2_WARNING=true mkdocs build --quiet --strict --config-file docs/mkdocs.yml \
    --site-dir "$work/site"
  bash scripts/check_wheel.sh
) >"$work/log" 2>&1 &
# One thread of linear algebra for each process: the matrices are small, and two processes run.
selection=(-m "not slow")
if [ "${1-}" = --all ]; then
  selection=(-m "")
  shift
fi
status=0
OPENBLAS_NUM_THREADS=1 python -m pytest -q -n 2 --dist loadfile "${selection[@]}" "$@" || status=$?
wait $! || status=$?
cat "$work/log"
exit "$status"

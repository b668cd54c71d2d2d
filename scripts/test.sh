#!/usr/bin/env bash
# Sets itself up and runs the tests; arguments go to pytest (as: -m "not slow").
set -euo pipefail
EXTRAS="[test]"
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
cd "$root"
ruff check .
mypy
NO_MKDOCS_2_WARNING=true mkdocs build --quiet --strict --config-file docs/mkdocs.yml \
  --site-dir "$(mktemp -d)"
# Small matrices: threads of the linear algebra would only wait for each other.
OPENBLAS_NUM_THREADS=1 python -m pytest -q -n 2 --dist loadfile "$@"

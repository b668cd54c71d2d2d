#!/usr/bin/env bash
# Builds the wheel, installs it into an empty folder, and uses the package from there.
#   bash scripts/check_wheel.sh [--figures [--data-dir DIR]]
# With --figures it also evaluates each trained model on its test set, which takes long.
# Nothing is downloaded once the test environment is made. The wheel is built from a copy, because
# setuptools leaves files next to the sources and packs what an earlier build has left.
set -euo pipefail
EXTRAS="[test]"
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir "$work/source"
cp -r "$root/iresnet_tf" "$root/pyproject.toml" "$root/README.md" "$root/LICENSE" "$work/source"
pip=(python -m pip --quiet --disable-pip-version-check)
cd "$work"
"${pip[@]}" wheel --no-deps --no-build-isolation --wheel-dir "$work" "$work/source" \
  >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
"${pip[@]}" install --no-deps --no-index --target "$work/site" "$work"/*.whl

PYTHONPATH=$work/site python - "$work" <<'PYTHON'
import pathlib
import sys

import iresnet_tf as irn

work = pathlib.Path(sys.argv[1])
package = work / "site" / "iresnet_tf"
imported = pathlib.Path(irn.__file__).parent
assert imported.samefile(package), f"Expected the package in {package}; imported {imported}."

needed = {"py.typed", "pretrained/digits-density.keras", "pretrained/digits-density.json"}
for pattern in ("**/*.py", "pretrained/*.keras", "pretrained/*.json"):
    source = work / "source" / "iresnet_tf"
    needed |= {str(path.relative_to(source)) for path in source.glob(pattern)}
missing = sorted(name for name in needed if not (package / name).is_file())
assert not missing, f"The wheel lacks {missing}."

for name in irn.training.pretrained_names():
    bounds = irn.load(name).lipschitz_bounds()
    stated = irn.training.card(name).figures.lipschitz.certified_max
    # Each of the three layers of a branch has a certificate that is at most 0.1 % above its norm,
    # and may lie anywhere in between, by the rounding of the processor.
    tolerance = 3.1e-3
    assert abs(max(bounds.values()) - stated) <= tolerance * stated, (name, bounds, stated)
    assert max(bounds.values()) < 1.0, (name, bounds)
print(f"The wheel of version {irn.__version__} has {len(needed)} files and loads its models.")
PYTHON

if [ "${1-}" = --figures ]; then
  PYTHONPATH=$work/site python "$root/scripts/check_figures.py" "${@:2}"
fi

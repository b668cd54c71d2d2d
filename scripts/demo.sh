#!/usr/bin/env bash
# Sets up its environment, trains the density model of scikit-learn's digits, prints its test
# likelihood with the errors, and draws samples. It continues a run that was interrupted.
#   bash scripts/demo.sh [RUN]      (by default runs/demo)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
run=${1:-$root/runs/demo}

iresnet train digits-density --out "$run" --resume
[ -f "$run/samples.png" ] || iresnet sample "$run" --count 64 --out "$run/samples.png"

python - "$run" <<'PYTHON'
import json, pathlib, sys

from iresnet_tf.analysis.results import rounded_up

run = pathlib.Path(sys.argv[1])
figure = json.loads((run / "result.json").read_text())["bits_per_dim"]
print(f"""
test bits/dim   {figure['mean']:.4f} ± {figure['standard_error']:.4f} (noise), \
± {figure['sampling_error']:.4f} ({figure['examples']} test digits), \
truncation ≤ {rounded_up(figure['truncation_bound'], 1)} ({figure['estimator']})
samples         {run / 'samples.png'}
TensorBoard     {sys.executable.replace('/python', '/tensorboard')} --logdir {run / 'tensorboard'}""")
PYTHON

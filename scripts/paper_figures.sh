#!/usr/bin/env bash
# Makes the pictures of docs/pages/figures.md: the paper's figures for the small digits model.
# Trains the model first if RUNS does not have it, which takes minutes.
#   bash scripts/paper_figures.sh RUNS
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
run=${1:?the folder for the runs}/digits-density
iresnet train digits-density --out "$run" --resume data.preprocessing=center \
  model.blocks=16 model.dense_blocks=0 optimizer.log_det_share=1

for study in spectrum log-det inverse; do
  [ -f "$run/analysis/$study.png" ] || iresnet analyze "$run" "$study"
done

python - "$run" "$root/docs/pages/images" <<'PYTHON'
import pathlib, sys
from PIL import Image

run, images = map(pathlib.Path, sys.argv[1:])
for study in ("spectrum", "log-det", "inverse"):
    picture = Image.open(run / "analysis" / f"{study}.png").convert("RGB")
    picture.quantize(64).save(images / f"figure_{study}.png", optimize=True)
PYTHON

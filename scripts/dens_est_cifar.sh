#!/usr/bin/env bash
# Trains the published CIFAR-10 density model: 16-16-16 blocks, 25 million parameters, 200 epochs.
# Given again, it continues a run that was cut off.
#   bash scripts/dens_est_cifar.sh RUN [FIELD=VALUE …] [options of iresnet train]
# For a quick look, make it smaller:
#   bash scripts/dens_est_cifar.sh RUN model.blocks=1,1,1 model.width=64 --epochs 2
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
iresnet train cifar10-density --out "${1:?the run folder}" --resume "${@:2}"

#!/usr/bin/env bash
# Trains the published CIFAR-10 classifier: 7-7-7 blocks, 4.9 million parameters, 200 epochs.
# Given again, it continues a run that was cut off.
#   bash scripts/classify_cifar.sh RUN [FIELD=VALUE …] [options of iresnet train]
# For a quick look, make it smaller:
#   bash scripts/classify_cifar.sh RUN model.blocks=1,1,1 model.width=16,32,64 --epochs 2
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
iresnet train cifar10-classifier --out "${1:?the run folder}" --resume "${@:2}"

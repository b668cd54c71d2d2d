#!/usr/bin/env bash
# Trains the models that ship with the package, and draws their pictures into RUNS/pictures.  It
# says before each how long it takes on this machine.  Given again, it continues where it was cut
# off, and keeps what has finished.
#   bash scripts/small_models.sh RUNS [options of iresnet train, for example --data-dir DIR]
# Options hold for every model: `--steps 4 evaluation_examples=64` tries the script in minutes.
# A run then ships by `python scripts/publish_pretrained.py RUNS/NAME NAME`.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
runs="${1:?the folder for the runs}"

train() {
  local command=(iresnet train "$2" --out "$runs/$1" --resume "${@:3}")
  "${command[@]}" --estimate
  "${command[@]}"
}

train digits-density digits-density "${@:2}"
for name in mnist-{density,classifier} cifar10-{density,classifier}; do
  train "$name" "$name-small" "${@:2}"
done
# The hybrid trains twice: the second time on shifted images, with less weight of the density.
train mnist-hybrid-first mnist-hybrid-small "${@:2}"
train mnist-hybrid mnist-hybrid-small initial_weights="$runs/mnist-hybrid-first" \
  data.augmentation=shift steps=7500 optimizer.learning_rate=0.015 \
  task.likelihood_weight=0.0015 task.dropout=0.2 "${@:2}"

# The pictures are drawn from the same data.
pictures=(python "$root/scripts/pictures.py" --runs "$runs" --out "$runs/pictures")
for ((place = 2; place <= $#; place++)); do
  case "${!place}" in
    --data-dir) next=$((place + 1)) && pictures+=(--data-dir "${!next}") ;;
    --data-dir=*) pictures+=("${!place}") ;;
  esac
done
"${pictures[@]}"

#!/usr/bin/env bash
# Trains the small image models of docs/pages/results.md, each about half an hour on one CPU core,
# and draws the figures of that page. Given again, it continues where it was cut off.
#   bash scripts/small_models.sh RUNS [options of iresnet train, for example --data-dir DIR]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
runs="${1:?the folder for the runs}"

train() { iresnet train "$1" --out "$runs/$1" --resume "${@:2}"; }

adam=(optimizer.name=adam optimizer.schedule=cosine optimizer.weight_decay=0)
flow=(model.activation=lipswish model.preactivation=false model.last_act_norm=true
  model.power_iterations=1 model.log_det.distribution=rademacher
  optimizer.warmup_steps=100 optimizer.ema=0.995 optimizer.learning_rate=4e-3)
logit=(data.preprocessing=logit data.alpha=1e-6)

train mnist-classifier --batch-size 128 --steps 5060 "${adam[@]}" \
  model.blocks=3,3 model.width=32,64 model.squeeze=true model.padding=3 \
  model.activation=lipswish model.preactivation=false \
  optimizer.learning_rate=3e-3 optimizer.warmup_steps=200 "${@:2}"

train mnist-density --batch-size 64 --steps 3200 steps_per_epoch=200 evaluation_examples=1000 \
  "${adam[@]}" "${flow[@]}" "${logit[@]}" \
  model.blocks=2,14 model.width=32,96 model.factor_out=false optimizer.clip_norm=1 "${@:2}"

train mnist-hybrid --batch-size 64 --steps 3000 steps_per_epoch=200 evaluation_examples=1000 \
  "${flow[@]}" "${logit[@]}" \
  model.blocks=2,10 model.width=32,96 model.dense_blocks=2 "${@:2}"

train cifar10-density --batch-size 32 --steps 2340 steps_per_epoch=180 evaluation_examples=500 \
  "${adam[@]}" "${flow[@]}" \
  model.blocks=8,4,2 model.width=64,96,96 model.factor_out=false "${@:2}"

train cifar10-classifier --batch-size 64 --steps 7650 steps_per_epoch=765 "${adam[@]}" \
  model.blocks=3,3,3 model.width=64 model.squeeze=true model.padding=1 \
  model.activation=lipswish optimizer.learning_rate=3e-3 optimizer.warmup_steps=200 "${@:2}"

python "$(dirname "${BASH_SOURCE[0]}")/results_figures.py" "$runs"

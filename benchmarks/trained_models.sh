#!/usr/bin/env bash
# Trains small models for inverse.py and roulette.py in a few minutes, and prints their folders.
#   bash benchmarks/trained_models.sh FOLDER
# TFDS_DATA_DIR is the folder of MNIST and CIFAR-10.
set -euo pipefail
folder=${1:?the folder to train into}

train() {
  run=$folder/$1
  [ -d "$run" ] || iresnet train "${@:2}" --out "$run" >&2
  echo "$run"
}

small=(steps_per_epoch=300 optimizer.warmup_steps=30 data.validation_examples=100
  evaluation_examples=20)
train 8gaussians toy-8gaussians --steps 600
train 8gaussians-0.99 toy-8gaussians --steps 600 model.blocks=3 model.coeff=0.99
train checkerboard-0.998 toy-checkerboard --steps 600 model.blocks=2 model.coeff=0.998
train checkerboard-elu-0.995 toy-checkerboard --steps 600 model.blocks=2 model.coeff=0.995 \
  model.activation=elu
train digits-0.99 digits-density --steps 300 model.blocks=4 model.coeff=0.99
train mnist mnist-density --steps 300 --batch-size 64 "${small[@]}" model.blocks=2,6 model.width=32
train cifar10-0.98 cifar10-density --steps 300 --batch-size 32 "${small[@]}" model.blocks=3,2,1 \
  model.width=48 model.coeff=0.98
train cifar10-0.98-wide cifar10-density --steps 200 --batch-size 32 steps_per_epoch=200 \
  optimizer.warmup_steps=30 evaluation_examples=10 model.blocks=2,2,2 model.width=128 model.coeff=0.98

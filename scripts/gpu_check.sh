#!/usr/bin/env bash
# Runs the tests that matter on a GPU, times training steps in float32, TF32 and bfloat16 on one GPU
# and on all, and writes both as Markdown. Without a GPU it does so on the CPU.
#   bash scripts/gpu_check.sh [REPORT [options of benchmarks/gpu.py]]      (by default gpu_check.md)
set -euo pipefail
# NVIDIA's libraries are needed only where there is a GPU.
EXTRAS="[test]"
gpus=$(nvidia-smi --query-gpu=name --format=csv,noheader 2> /dev/null | paste -sd , || true)
if [ -n "$gpus" ]; then EXTRAS="[test,cuda]"; fi
report=$(realpath -m "${1:-gpu_check.md}")
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
cd "$root"
# Tests start processes of their own, which share the GPU's memory.
export TF_FORCE_GPU_ALLOW_GROWTH=true

tests=(
  tests/numerics/test_tensor_float_32.py tests/numerics/test_linear_operators.py
  tests/numerics/test_linearization.py tests/numerics/test_log_det.py
  tests/numerics/test_fixed_point.py tests/numerics/test_implicit_gradient.py
  tests/layers/test_every_layer.py tests/layers/test_recompute.py tests/layers/test_spectral.py
  tests/layers/test_xla.py tests/models/test_gpu_kernels.py tests/models/test_compiled_models.py
  tests/models/test_density_fit.py tests/models/test_classifier.py
  tests/models/test_conditional_model.py tests/training/test_strategies.py
)
{
  echo "# Check of ${gpus:-a machine without a GPU}, $(date -u +%F)"
  echo
  echo '```text'
  status=0
  # -rs gives the reason of every test that is skipped.
  OPENBLAS_NUM_THREADS=1 python -m pytest -q -rs "${tests[@]}" 2>&1 | tail -n 40 || status=$?
  echo '```'
  echo
  python benchmarks/gpu.py "${@:2}"
  exit "$status"
} | tee "$report"

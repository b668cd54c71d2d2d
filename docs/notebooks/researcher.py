# %% [markdown]
# # For the researcher
#
# This notebook trains a preset with two estimators of the log-determinant, and evaluates each
# run. Every figure comes with its error.

# %%
import json
import pathlib
import tempfile

import matplotlib.pyplot as plt
import numpy as np

import iresnet_tf as irn
from iresnet_tf.data import densities

runs = pathlib.Path(tempfile.mkdtemp())

# %% [markdown]
# On the command line this is `iresnet train toy-8gaussians --out RUN model.blocks=2 …`. A hundred
# steps are enough to see the figures, but not to fit the density. Training logs its own estimate.
# The evaluation is exact in two dimensions, whatever estimator training used.

# %%
small = ["model.blocks=2", "model.width=32", "model.depth=2", "evaluation_examples=2000"]
estimators = {
    "one term": ["model.log_det.estimator=power-series", "model.log_det.terms=1"],
    "exact": ["model.log_det.estimator=exact"],
}
for name, overrides in estimators.items():
    preset = irn.presets.get("toy-8gaussians", [*small, *overrides])
    result = irn.training.train(preset.with_length(steps=100), runs / name, seed=0)
    trained = json.loads((runs / name / "history.jsonl").read_text().splitlines()[-1])
    figure = result["nll"]
    print(
        f"{name:10} logged {trained['loss']:.3f}, evaluated {figure['mean']:.3f} "
        f"± {figure['sampling_error']:.3f} nats ({figure['estimator']})"
    )
print("entropy of the data:", round(densities.entropy("8gaussians"), 3))

# %% [markdown]
# A run is a folder with these files.

# %%
sorted(path.name for path in (runs / "exact").iterdir())

# %% [markdown]
# The certificate bounds every layer's norm from above and compares it with the layer's
# coefficient.

# %%
model = irn.load(runs / "exact")
certificate = irn.analysis.certify(model)
for block in certificate.blocks:
    print(f"Lip(g) ≤ {block.lipschitz_bound:.4f}", block.certified)
assert certificate.certified

# %% [markdown]
# The study computes bias and noise of the power series on test points in closed form: it draws no
# probes.

# %%
study = irn.analysis.study_log_det(model, densities.test_set("8gaussians", 64))
errors = [error for error in study.estimates if error.probes == 1]
terms = [error.terms for error in errors]
figure, axes = plt.subplots(figsize=(4.5, 3), layout="constrained")
axes.semilogy(terms, [max(abs(error.bias), 1e-8) for error in errors], "o-", label="|bias|")
axes.semilogy(terms, [error.truncation_bound for error in errors], "--", label="certified bound")
axes.semilogy(terms, [error.noise for error in errors], ":", label="noise of one probe")
axes.set(xlabel="terms", ylabel="nats a dimension")
axes.legend(fontsize=8)
plt.show()
assert all(error.max_abs_bias <= error.truncation_bound for error in errors)

# %% [markdown]
# The inverse comes with a certified bound on its error.

# %%
x = densities.test_set("8gaussians", 1000)
result = model.flow.inverse(model.encode(x))
error = np.linalg.norm(result.x - x, axis=1)
print("largest error", error.max(), "largest bound", np.max(result.error_bound))
assert np.all(error <= result.error_bound)

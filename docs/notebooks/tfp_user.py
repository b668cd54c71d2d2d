# %% [markdown]
# # For the TFP user
#
# This notebook uses a residual block as a bijector. It composes the block with TFP's bijectors,
# fits it to points as a density, and fits it to an unnormalised posterior as a variational guide.

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import iresnet_tf as irn
from iresnet_tf.data import densities

tfd, tfb = tfp.distributions, tfp.bijectors
keras.utils.set_random_seed(0)


def block():
    g = irn.layers.Contraction.mlp(units=(32, 32), coeff=0.95)
    return irn.layers.ResidualBlock(g, log_det=irn.log_det.Exact())


# %% [markdown]
# ## A density
#
# `Residual(block)` maps data to latents. A chain of it with TFP's bijectors, inverted, makes a
# distribution over the data. TFP finds the variables of all layers in it.

# %%
chain = tfb.Chain(
    [irn.bijectors.Residual(block()), tfb.Scale([0.6, 0.6]), irn.bijectors.Residual(block())]
)
chain.forward(tf.zeros([1, 2]))  # builds the blocks
flow = tfd.TransformedDistribution(tfd.Sample(tfd.Normal(0.0, 1.0), 2), tfb.Invert(chain))
points = tf.constant(densities.sample("circles", 2000, seed=0))
optimizer = keras.optimizers.Adam(1e-2)


@tf.function(autograph=False)
def step(batch):
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(flow.log_prob(batch))
    return loss, tape.gradient(loss, flow.trainable_variables)


optimizer.build(flow.trainable_variables)
losses = []
for _ in range(150):
    loss, gradients = step(points)
    optimizer.apply_gradients(zip(gradients, flow.trainable_variables))
    losses.append(float(loss))
print(f"{len(flow.trainable_variables)} variables; {losses[0]:.2f} to {losses[-1]:.2f} nats")
assert losses[-1] < losses[0]

# %% [markdown]
# Keras's constraints hold the norms, and the bare variables carry them too: every optimizer of
# Keras updates the singular vectors with its step. `refresh` refines them before a certificate.

# %%
for bijector in (chain.bijectors[0], chain.bijectors[2]):
    irn.layers.refresh(bijector.layer)
    print(bijector.layer.lipschitz_bound())
    assert bijector.layer.lipschitz_bound() < 1.0

# %%
samples = flow.sample(1000, seed=1)
figure, panels = plt.subplots(1, 2, figsize=(5, 2.5), layout="constrained")
for panel, cloud, title in zip(panels, (points[:1000], samples), ("data", "samples")):
    panel.scatter(*np.transpose(cloud), s=2)
    panel.set(title=title, aspect="equal", xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## A variational guide
#
# Here the direction is reversed: the block maps the base distribution to the posterior, so that a
# sample takes one evaluation. The reparametrised ELBO fits the guide. The target is a banana.


# %%
def log_target(x):
    return -0.5 * x[:, 0] ** 2 - 2.0 * (x[:, 1] - 0.5 * x[:, 0] ** 2) ** 2


guide = tfb.Chain([irn.bijectors.Residual(block()), irn.bijectors.Residual(block())])
base = tfd.Sample(tfd.Normal(0.0, 1.0), 2)
guide.forward(tf.zeros([1, 2]))
optimizer = keras.optimizers.Adam(1e-2)
optimizer.build(guide.trainable_variables)


@tf.function(autograph=False)
def negative_elbo(seed):
    z = tf.random.stateless_normal([256, 2], seed)
    with tf.GradientTape() as tape:
        x = guide.forward(z)
        log_q = base.log_prob(z) - guide.forward_log_det_jacobian(z)
        loss = tf.reduce_mean(log_q - log_target(x))
    return loss, tape.gradient(loss, guide.trainable_variables)


elbos = []
for number in range(200):
    loss, gradients = negative_elbo(tf.constant([number, 0]))
    optimizer.apply_gradients(zip(gradients, guide.trainable_variables))
    elbos.append(-float(loss))
evidence = np.log(np.pi)  # ∫ exp(log_target) = √(2π) · √(2π/4) = π
print(f"ELBO {np.mean(elbos[-20:]):.2f}, from {elbos[0]:.2f}; the evidence is {evidence:.2f}")
assert elbos[0] < np.mean(elbos[-20:]) < evidence

# %%
side = np.linspace(-3, 3, 80, dtype="float32")
plane = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
pushed = tfd.TransformedDistribution(base, guide)
figure, panels = plt.subplots(1, 2, figsize=(5, 2.5), layout="constrained")
for panel, values, title in zip(
    panels, (log_target(plane), pushed.log_prob(plane)), ("posterior", "guide")
):
    panel.imshow(np.exp(np.reshape(values, (80, 80))), origin="lower")
    panel.set(title=title, xticks=[], yticks=[])
plt.show()

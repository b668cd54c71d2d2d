# %% [markdown]
# # For the Keras user
#
# This notebook trains an invertible classifier of digits. It is a Keras model: `compile` and
# `fit` train it, `save` saves it, and its inverse returns the inputs.

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np

import iresnet_tf as irn
from iresnet_tf.data import digits
from iresnet_tf.models.architectures import image_flow

keras.utils.set_random_seed(0)
x_train, y_train = digits.load("train")
x_test, y_test = digits.load("test")
x_train.shape, x_test.shape

# %% [markdown]
# The trunk is a list of invertible layers, and `image_flow` makes the usual one. Padding with
# channels of zeros gives a classifier more dimensions. The model adds the head itself.

# %%
layers = image_flow(blocks=(2, 2), width=32, coeff=0.9, padding=3, power_iterations=3)
standardize = irn.layers.Standardize(x_train.mean(), x_train.std())
model = irn.models.Classifier(layers, classes=10, preprocessing=[standardize])
model.compile(optimizer=keras.optimizers.Adam(3e-3))
history = model.fit(
    x_train.astype("float32"),
    y_train,
    batch_size=128,
    epochs=8,
    verbose=0,
    callbacks=[irn.callbacks.Certificate()],  # warns where a block is no contraction
)
model.evaluate(x_test.astype("float32"), y_test, verbose=0, return_dict=True)["accuracy"]

# %%
figure, axes = plt.subplots(figsize=(4, 2.5), layout="constrained")
axes.plot(history.history["accuracy"])
axes.set(xlabel="epoch", ylabel="training accuracy")
plt.show()

# %% [markdown]
# Every block is certified: this is an upper bound on the Lipschitz constant of its branch, from
# the current weights.

# %%
model.lipschitz_bounds()

# %% [markdown]
# The digits can therefore be computed from the latent, although the network was trained only to
# classify.

# %%
x = x_test[:8].astype("float32")
latent = model.encode(x)
back = np.asarray(model.decode(latent))
print("largest error, of 16 levels:", np.abs(back - x).max())

figure, rows = plt.subplots(2, 8, figsize=(6, 1.6), layout="constrained")
for panel, image in zip(rows.flat, [*x, *back]):
    panel.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=16)
    panel.set_axis_off()
plt.show()
assert np.abs(back - x).max() < 0.01

# %% [markdown]
# Keras saves and loads the model.

# %%
model.save("classifier.keras")
again = keras.saving.load_model("classifier.keras")
np.array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))

# %% [markdown]
# The layers with a bounded norm work in any Keras model. This network has a Lipschitz constant of
# at most 0.9² · ‖the last layer‖.

# %%
plain = keras.Sequential(
    [
        keras.layers.Flatten(),
        irn.layers.SpectralDense(32, coeff=0.9),
        irn.layers.MaxMin(),
        irn.layers.SpectralDense(32, coeff=0.9),
        irn.layers.MaxMin(),
        keras.layers.Dense(10),
    ]
)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
plain.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
plain.fit(x_train / 16.0, y_train, epochs=10, verbose=0)
irn.layers.refresh(plain)
norms = [layer.lipschitz_bound() for layer in irn.layers.spectral_layers(plain)]
print(norms)
assert max(norms) < 0.9 * 1.001

"""Measures how many class-conditional samples a separately trained classifier recognises.

    python benchmarks/class_samples.py mnist-hybrid --temperature 0.8 --data-dir DIR

The classifier is a small convolutional network of stock Keras layers, trained on the training
images of the model's data without the model. The script also prints its test accuracy.
"""

import click
import keras
import measuring
import numpy as np

import iresnet_tf as irn
from iresnet_tf.training import open_source


def classifier(source, epochs):
    """Returns a trained network ``images → logits``; images are levels."""
    network = keras.Sequential(
        [
            keras.layers.Rescaling(1.0 / (source.levels - 1)),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(64, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(source.classes),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile("adam", loss, metrics=["accuracy"])
    network.fit(*source.examples("train"), batch_size=128, epochs=epochs, verbose=0)
    return network


@click.command()
@click.argument("model")
@click.option("--count", default=1000, help="Number of samples, the same of every class.")
@click.option("--temperature", default=1.0, help="Factor of the prior's scale.")
@click.option("--epochs", default=3, help="Of the classifier.")
@click.option("--seed", default=0)
@click.option("--data-dir", help="The TFDS directory.")
@click.option("--out", type=click.Path(dir_okay=False), help="JSON file.")
def main(model, count, temperature, epochs, seed, data_dir, out):
    """Samples MODEL, the name of a trained hybrid model, by class."""
    measuring.set_threads(1)
    keras.utils.set_random_seed(seed)
    source = open_source(irn.training.card(model).run.preset, data_dir=data_dir)
    network = classifier(source, epochs)
    x, y = source.examples("test")
    labels = np.arange(count) % source.classes
    hybrid = irn.load(model)
    parts = [
        hybrid.sample(len(each), temperature=temperature, seed=seed + index, labels=each)
        for index, each in enumerate(np.array_split(labels, max(1, count // 100)))
    ]
    found = network.predict(np.concatenate(parts), verbose=0).argmax(-1)
    share = float(np.mean(found == labels))
    row = {
        "model": model,
        "temperature": temperature,
        "samples": count,
        "recognised": share,
        "standard error": float(np.sqrt(share * (1.0 - share) / count)),
        "test accuracy of the classifier": float(
            np.mean(network.predict(x, verbose=0).argmax(-1) == y)
        ),
    }
    measuring.show([row], out)


if __name__ == "__main__":
    main()

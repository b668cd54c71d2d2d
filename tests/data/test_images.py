"""Image sets of TensorFlow Datasets: real ones where they are prepared, else none."""

import os
import pathlib

import numpy as np
import pytest
import tensorflow_datasets as tfds

from iresnet_tf.data import images, sources

SHARED = pathlib.Path(__file__).parents[3] / "shared" / "data" / "tfds"
DATA_DIR = os.environ.get("TFDS_DATA_DIR", str(SHARED))


def prepared(name):
    return tfds.builder(name, data_dir=DATA_DIR).is_prepared()


def raw(name, split):
    """The first examples, one by one, as TFDS gives them."""
    dataset = tfds.load(name, split=split, data_dir=DATA_DIR, shuffle_files=False)
    return list(tfds.as_numpy(dataset.take(20)))


@pytest.mark.parametrize(
    "name, shape, train, test",
    [("mnist", (28, 28, 1), 60_000, 10_000), ("cifar10", (32, 32, 3), 50_000, 10_000)],
)
def test_real_images_come_as_tfds_has_them(name, shape, train, test):
    if not prepared(name):
        pytest.skip(f"{name} is not prepared in {DATA_DIR}")
    source = sources.get(name, data_dir=DATA_DIR, validation_examples=1000)
    assert (source.event_shape, source.levels, source.classes) == (shape, 256, 10)
    x, y = source.examples("test")
    assert x.shape == (test, *shape) and x.dtype == np.float32
    for example, image, label in zip(raw(name, "test"), x, y):
        np.testing.assert_array_equal(example["image"], image)
        assert example["label"] == label
    assert len(source.examples("train")[0]) == train - 1000
    held_out = raw(name, f"train[{train - 1000}:]")
    np.testing.assert_array_equal(held_out[0]["image"], source.examples("validation")[0][0])
    batch, labels = next(iter(source.stream(32, seed=1)))
    again, _ = next(iter(source.stream(32, seed=1)))
    assert batch.shape == (32, *shape) and labels.shape == (32,)
    np.testing.assert_array_equal(batch, again)


def test_fewer_bits_keep_the_upper_ones():
    if not prepared("mnist"):
        pytest.skip(f"mnist is not prepared in {DATA_DIR}")
    source = sources.get("mnist", data_dir=DATA_DIR, bits=5)
    whole = sources.get("mnist", data_dir=DATA_DIR).examples("test")[0]
    assert source.levels == 32
    np.testing.assert_array_equal(source.examples("test")[0], np.floor(whole / 8.0))


@pytest.fixture
def no_network(monkeypatch):
    def fail(self, **kwargs):
        raise OSError("Failed to resolve host")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)


@pytest.mark.parametrize("name", [*images.NAMES, "tfds:fashion_mnist"])
def test_a_set_that_cannot_be_had_is_named_with_its_folder(name, tmp_path, no_network):
    with pytest.raises(FileNotFoundError) as raised:
        sources.get(name, data_dir=tmp_path)
    message = str(raised.value)
    full_name = images.NAMES.get(name, name.removeprefix("tfds:"))
    assert full_name in message and str(tmp_path) in message and "--data-dir" in message
    assert "Failed to resolve host" in message


def test_a_set_that_tfds_does_not_have(tmp_path):
    with pytest.raises(ValueError, match="no set 'no_such_images'"):
        sources.get("tfds:no_such_images", data_dir=tmp_path)


class Pictures(tfds.core.GeneratorBasedBuilder):
    """Colour pictures of many shapes: a column of each is its number, so orders can be told."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {"image": tfds.features.Image(shape=(None, None, 3))}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(40), "validation": self._generate_examples(5)}

    def _generate_examples(self, count):
        for number in range(count):
            # A bright square in the middle of a dark and longer picture.
            image = np.zeros((8 + number, 8, 3), np.uint8)
            top = (len(image) - 8) // 2
            image[top : top + 8] = 5 * number
            yield number, {"image": image}


def test_a_set_that_is_missing_is_prepared(tmp_path):
    source = sources.get("tfds:pictures", data_dir=tmp_path, size=4)
    assert source.event_shape == (4, 4, 3) and source.classes is None
    assert tfds.builder("pictures", data_dir=tmp_path).is_prepared()


def test_the_central_square_is_resized(tmp_path):
    x, y = sources.get("tfds:pictures", data_dir=tmp_path, size=4).examples("train")
    assert y is None and x.shape == (40, 4, 4, 3)
    # Constant squares stay what they are: the dark parts are cut off.
    numbers = x[:, 0, 0, 0] / 5
    np.testing.assert_array_equal(np.sort(numbers), np.arange(40))
    np.testing.assert_array_equal(x, np.broadcast_to(x[:, :1, :1, :1], x.shape))
    with pytest.raises(ValueError, match="data.size"):
        sources.get("tfds:pictures", data_dir=tmp_path)


class Faces(tfds.core.GeneratorBasedBuilder):
    """One picture of CelebA's shape."""

    VERSION = tfds.core.Version("1.0.0")
    PICTURE = np.random.default_rng(0).integers(0, 256, (218, 178, 3)).astype(np.uint8)

    def _info(self):
        features = {"image": tfds.features.Image(shape=(218, 178, 3), encoding_format="png")}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": [(0, {"image": self.PICTURE})]}

    def _generate_examples(self):
        """Nothing beside what the split itself gives."""


def test_celeb_a_is_cropped_to_the_face_and_shrunk(tmp_path, monkeypatch):
    builder = Faces(data_dir=tmp_path)
    builder.download_and_prepare()
    builder.name = "celeb_a"
    monkeypatch.setattr(tfds, "builder", lambda name, data_dir: builder)
    source = sources.get("celeb_a", data_dir=tmp_path)
    assert (source.event_shape, source.levels) == ((64, 64, 3), 256)
    x, _ = source.examples("train")
    # 148 × 148 about the centre of 218 × 178; shrinking with antialiasing keeps the mean.
    face = Faces.PICTURE[35 : 35 + 148, 15 : 15 + 148]
    np.testing.assert_allclose(x[0].mean((0, 1)), face.mean((0, 1)), atol=0.5)
    assert x[0].std() < 0.5 * face.std()


def test_a_large_split_is_mapped_from_disk_and_the_same(tmp_path, monkeypatch):
    in_memory = sources.get("tfds:pictures", data_dir=tmp_path, validation_examples=4, size=4)
    expected = [batch.numpy() for batch in in_memory.stream(8, seed=1).take(7)]
    monkeypatch.setattr(images, "IN_MEMORY", 1000)
    loaded = images.ImageSet("tfds:pictures", tmp_path, size=4).load("train")
    assert isinstance(loaded.x, np.memmap)
    # Written once: the second time it is only mapped.
    monkeypatch.setattr(images.ImageSet, "_write", None)
    mapped = sources.get("tfds:pictures", data_dir=tmp_path, validation_examples=4, size=4)
    for batch, again in zip(expected, mapped.stream(8, seed=1).take(7)):
        np.testing.assert_array_equal(batch, again)
    np.testing.assert_array_equal(
        mapped.examples("validation")[0], in_memory.examples("validation")[0]
    )


def test_a_mapping_that_is_cut_short_leaves_no_file(tmp_path, monkeypatch):
    image_set = images.ImageSet("tfds:pictures", tmp_path, size=4)
    before = set(tmp_path.rglob("*"))
    monkeypatch.setattr(images, "IN_MEMORY", 1000)

    def fail(self, x, split):
        raise KeyboardInterrupt

    monkeypatch.setattr(images.ImageSet, "_fill", fail)
    with pytest.raises(KeyboardInterrupt):
        image_set.load("train")
    assert set(tmp_path.rglob("*")) == before


def test_one_class_alone():
    if not prepared("mnist"):
        pytest.skip(f"mnist is not prepared in {DATA_DIR}")
    whole, classes = sources.get("mnist", data_dir=DATA_DIR).examples("test")
    source = sources.get("mnist", data_dir=DATA_DIR, only_class=3)
    x, y = source.examples("test")
    assert source.classes == 10 and set(y) == {3}
    np.testing.assert_array_equal(x, whole[classes == 3])
    with pytest.raises(ValueError, match="10 classes"):
        sources.get("mnist", data_dir=DATA_DIR, only_class=10)


def test_a_set_without_images(tmp_path):
    tfds.testing.DummyDataset(data_dir=tmp_path).download_and_prepare()
    with pytest.raises(ValueError, match="no 8-bit images"):
        sources.get("tfds:dummy_dataset", data_dir=tmp_path)


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match="cifar100"):
        sources.get("cifar")

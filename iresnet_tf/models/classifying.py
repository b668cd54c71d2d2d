"""The base class of models that score classes: the classifier and the hybrid model."""

from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf

from iresnet_tf.layers import Invertible
from iresnet_tf.models import inputs
from iresnet_tf.models.batches import elements, first_of, is_batched
from iresnet_tf.models.flow import FlowModel
from iresnet_tf.models.head import ClassifierHead, require_classes
from iresnet_tf.models.serving import as_signatures


class ClassifyingModel(FlowModel):
    """``H(F(x))``: a head ``H`` that scores classes, on the latent of an invertible ``F``.

    ``classes``, ``dropout`` and ``pooling`` are those of `ClassifierHead`; the other options are
    those of the second base class of the model, or of `FlowModel`.
    """

    def __init__(
        self,
        layers: Iterable[Invertible],
        classes: int,
        *,
        dropout: float = 0.0,
        pooling: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(layers, **kwargs)
        self.head = ClassifierHead(classes, dropout, pooling, name="head", dtype=self.dtype_policy)

    @property
    def classes(self) -> int:
        return self.head.classes

    def build(self, input_shape: Sequence[int | None]) -> None:
        super().build(input_shape)
        if not self.head.built:
            self.head.build((None, *self.flow._last_latent_shape()))

    def _first_examples(self, x, y, wanted, held_out=0.0):
        if not inputs.are_pairs(x, y):
            raise ValueError(
                f"{type(self).__name__} needs the classes of the examples: fit(x, y), or batches "
                "of (x, y); received no classes. Use DensityModel for data without classes."
            )
        self._require_targets(first_of(elements(x))[1] if is_batched(x) else y)
        return super()._first_examples(x, y, wanted, held_out)

    def _require_targets(self, y) -> None:
        """Raises `ValueError` for targets that are not classes."""
        require_classes(y, self.classes)

    def classify(self, x: tf.Tensor) -> tf.Tensor:
        """Returns the logits of the classes, ``[batch, …event] → [batch, classes]``."""
        return self.head(self.flow._last_latent(self.encode(x)))

    def signatures(self) -> dict[str, Any]:
        x = tf.TensorSpec([None, *self.flow.event_shape], self.compute_dtype)

        def classify(x):
            """Returns the logits of the classes at points x of data space."""
            return {"logits": self.classify(x)}

        return {**super().signatures(), **as_signatures((classify, x))}

    def get_config(self) -> dict[str, Any]:
        head = {"classes": self.classes, "dropout": self.head.rate, "pooling": self.head.pooling}
        return {**super().get_config(), **head}

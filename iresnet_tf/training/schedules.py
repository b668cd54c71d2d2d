"""Learning rates over a run."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("iresnet_tf")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """``rate(t) = r(0) (t + 1)/n`` for ``t < n``, then ``r(t − n)``.

    Args:
        schedule: ``r``, a Keras schedule.
        steps: ``n``; 0 for no warm-up.
    """

    def __init__(self, schedule: keras.optimizers.schedules.LearningRateSchedule, steps: int):
        self.schedule, self.steps = schedule, steps

    def __call__(self, step: int | tf.Tensor) -> tf.Tensor:
        step = tf.cast(step, tf.float32)
        rate = self.schedule(tf.maximum(step - self.steps, 0.0))
        return rate * tf.minimum(1.0, (step + 1.0) / max(1, self.steps))

    def get_config(self) -> dict[str, Any]:
        schedule = keras.optimizers.schedules.serialize(self.schedule)
        return {"schedule": schedule, "steps": self.steps}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "WarmUp":
        schedule = keras.optimizers.schedules.deserialize(config["schedule"])
        return cls(schedule, config["steps"])

"""The state of TensorFloat-32 (TF32), in which GPUs may multiply ``float32`` numbers.

TF32 rounds the factors of a product to 11 significant bits, a relative error of up to 5·10⁻⁴.
TensorFlow uses it by default on NVIDIA GPUs since Ampere.  Norms, inverses and log-determinants
would then be off by about 10⁻³, and no bound on their error would hold.

The state belongs to the whole process: TensorFlow reads it when it multiplies, not when a graph is
made.  It also keeps the kernel that it has chosen for a convolution under a key without the state,
so switching TF32 on for training and off for the rest would not be safe.
"""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

_measured = False


class TensorFloat32Error(RuntimeError):
    """A computation would multiply ``float32`` numbers in TF32."""


def switch_off() -> None:
    """Switches TF32 off in the whole process."""
    tf.config.experimental.enable_tensor_float_32_execution(False)


def require_off(what: str, dtype: tf.DType | str) -> None:
    """Raises `TensorFloat32Error` if products of the dtype would be computed in TF32.

    Args:
        what: the computation, for the message; begins with a capital letter.
        dtype: of its products; TF32 concerns ``float32`` alone.
    """
    if (
        tf.config.experimental.tensor_float_32_execution_enabled()
        and tf.as_dtype(dtype) == tf.float32
        and tf.config.get_visible_devices("GPU")
    ):
        raise TensorFloat32Error(
            f"{what} needs float32 products, but TensorFlow multiplies them in TF32 on this "
            "machine's GPU, which is off by 1e-3. Importing iresnet_tf switches TF32 off, and "
            "something has switched it on since. Call "
            "tf.config.experimental.enable_tensor_float_32_execution(False) before the first "
            "computation."
        )


def require_off_unless_measured(what: str, dtype: tf.DType | str) -> None:
    """Does the same as `require_off`, but accepts TF32 in the context of `measured`."""
    if not _measured:
        require_off(what, dtype)


@contextlib.contextmanager
def measured() -> Iterator[None]:
    """Switches TF32 on in its context, in which forward passes and training steps accept it.

    It serves to measure their time.  Inverses, certificates and evaluations still refuse TF32.
    Nothing else should be computed in that process afterwards.
    """
    global _measured
    _measured = True
    tf.config.experimental.enable_tensor_float_32_execution(True)
    try:
        yield
    finally:
        _measured = False
        switch_off()

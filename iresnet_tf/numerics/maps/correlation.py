"""Cross-correlations of images whose gradient by the kernel may be one matrix product."""

import tensorflow as tf

from iresnet_tf.internals import is_traced_for_xla


def correlation(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Returns ``x ⋆ K``, of stride 1 and padded with zeros to the size of ``x``.

    It is differentiable any number of times.

    Args:
        x: ``[batch, h, w, in]``.
        kernel: ``K``, ``[height, width, in, out]``.

    Returns:
        ``[batch, h, w, out]``.
    """
    function = _by_product if _product_is_quicker(x, kernel) else _convolved
    return function(x, kernel)


def _convolved(x, kernel):
    return tf.nn.conv2d(x, kernel, strides=1, padding="SAME")


@tf.custom_gradient
def _by_product(x, kernel):
    """Takes the gradient by the kernel from patches of ``x`` or of the cotangent."""

    def gradient(cotangent):
        sizes = [x.shape[axis] or tf.shape(x)[axis] for axis in range(4)]
        to_x = tf.nn.conv2d_transpose(cotangent, kernel, sizes, strides=1, padding="SAME")
        return to_x, _kernel_gradient(x, cotangent, kernel.shape)

    return _convolved(x, kernel), gradient


def _product_is_quicker(x, kernel):
    """Returns whether a product takes less time than oneDNN's gradient; measured, not derived.

    It does for one image, and for many kernels in bfloat16.
    """
    if is_traced_for_xla() or tf.config.list_physical_devices("GPU"):
        return False
    inputs, outputs = kernel.shape[2:]
    # To make patches of few channels takes longer than the product saves, unless that is large.
    is_large = min(inputs, outputs) >= 16 or max(inputs, outputs) >= 256
    return x.shape[0] == 1 or x.dtype == tf.bfloat16 and (is_large or inputs > outputs)


def _kernel_gradient(x, cotangent, shape):
    """Multiplies the images of more channels by the patches of those of fewer."""
    *size, inputs, outputs = shape
    if inputs <= outputs:
        product = tf.matmul(_patches(x, size), _pixels(cotangent), transpose_a=True)
        return tf.reshape(product, shape)
    # The same sum over pixels, taken at the pixels of x: from there the taps run backwards.
    patches = _patches(cotangent, size, backwards=True)
    product = tf.matmul(_pixels(x), patches, transpose_a=True)
    taps = tf.reshape(product, [inputs, size[0] * size[1], outputs])
    return tf.reshape(tf.transpose(taps, [1, 0, 2]), shape)


def _patches(images, size, *, backwards=False):
    """Returns ``[pixels, taps · channels]``, the surroundings of each pixel."""
    paddings = [((taps - 1) // 2, taps // 2) for taps in size]
    if backwards:
        paddings = [(after, before) for before, after in paddings]
    padded = tf.pad(images, [(0, 0), *paddings, (0, 0)])
    rows, columns = (images.shape[axis] or tf.shape(images)[axis] for axis in (1, 2))
    places = [(top, left) for top in range(size[0]) for left in range(size[1])]
    taps = [
        padded[:, top : top + rows, left : left + columns]
        for top, left in (reversed(places) if backwards else places)
    ]
    return _pixels(tf.concat(taps, -1))


def _pixels(images):
    return tf.reshape(images, [-1, images.shape[-1]])

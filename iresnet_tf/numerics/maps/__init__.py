"""Maps and linear operators: functions of a batch that know their Jacobian products."""

from iresnet_tf.numerics.maps.activations import (
    ConcatenatedSwish,
    Elementwise,
    PairSort,
    ScaledSwish,
)
from iresnet_tf.numerics.maps.automatic import Automatic
from iresnet_tf.numerics.maps.base import (
    InDtype,
    Linearization,
    Map,
    Rounding,
    diagonal,
    diagonal_product,
)
from iresnet_tf.numerics.maps.chain import Affine, Composition, Shift
from iresnet_tf.numerics.maps.concatenation import Concatenation, Scaling
from iresnet_tf.numerics.maps.derived import Derived, derived
from iresnet_tf.numerics.maps.fused import Fused
from iresnet_tf.numerics.maps.low_precision import in_bfloat16, operator_in_bfloat16
from iresnet_tf.numerics.maps.operators import Convolution, Dense, Operator, UnrolledConvolution

__all__ = [
    "Affine",
    "Automatic",
    "Composition",
    "ConcatenatedSwish",
    "Concatenation",
    "Convolution",
    "Dense",
    "Derived",
    "Elementwise",
    "Fused",
    "InDtype",
    "Linearization",
    "Map",
    "Operator",
    "PairSort",
    "Rounding",
    "ScaledSwish",
    "Scaling",
    "Shift",
    "UnrolledConvolution",
    "derived",
    "diagonal",
    "diagonal_product",
    "in_bfloat16",
    "operator_in_bfloat16",
]

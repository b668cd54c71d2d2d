"""Estimators with the interface of scikit-learn.

`iresnet_tf` imports this module when it is first used, as ``irn.sklearn``.
"""

_REMEDY = "Install it: pip install 'iresnet_tf[sklearn]'."

try:
    from sklearn.utils.validation import validate_data as _  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"iresnet_tf.sklearn needs scikit-learn. {_REMEDY}") from error
except ImportError as error:
    raise ImportError(
        f"iresnet_tf.sklearn needs scikit-learn 1.6 or newer ({error}). {_REMEDY}"
    ) from error

from iresnet_tf.sklearn.classifier import ResidualFlowClassifier  # noqa: E402
from iresnet_tf.sklearn.density import ResidualFlowDensity  # noqa: E402

__all__ = ["ResidualFlowClassifier", "ResidualFlowDensity"]

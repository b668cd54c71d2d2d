"""A residual flow as an inference network of BayesFlow.

`iresnet_tf` imports this module when it is first used, as ``irn.bayesflow``.
"""

try:
    import bayesflow as _  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"iresnet_tf.bayesflow needs BayesFlow 2 ({error}). Install it: pip install "
        "'iresnet_tf[bayesflow]'."
    ) from error

from iresnet_tf.bayesflow.residual_flow import ResidualFlow  # noqa: E402

__all__ = ["ResidualFlow"]

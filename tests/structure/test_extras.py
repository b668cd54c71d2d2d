"""Tests the package without its extras."""

import subprocess
import sys

import pytest

WITHOUT = """
import sys
sys.modules |= {"sklearn": None, "bayesflow": None}
import iresnet_tf as irn
for name in ("sklearn", "bayesflow"):
    assert f"iresnet_tf.{name}" not in sys.modules
    try:
        getattr(irn, name)
    except ModuleNotFoundError as error:
        print(error)
"""

OLD = """
import iresnet_tf as irn
import sklearn.utils.validation
del sklearn.utils.validation.validate_data
try:
    irn.sklearn
except ImportError as error:
    print(error)
"""


def printed(program):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_package_imports_without_them_and_says_how_to_install_them():
    text = printed(WITHOUT)
    assert "needs scikit-learn. Install it: pip install 'iresnet_tf[sklearn]'" in text
    assert "Install it: pip install 'iresnet_tf[bayesflow]'" in text


@pytest.mark.slow
def test_an_old_scikit_learn_is_named():
    assert "needs scikit-learn 1.6 or newer" in printed(OLD)

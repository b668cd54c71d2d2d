"""Tests the package without scikit-learn, and with one that is too old."""

import subprocess
import sys

WITHOUT = """
import sys
sys.modules["sklearn"] = None
import iresnet_tf as irn
assert "iresnet_tf.sklearn" not in sys.modules
try:
    irn.sklearn
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


def test_the_package_imports_without_scikit_learn_and_says_how_to_install_it():
    assert "needs scikit-learn. Install it: pip install 'iresnet_tf[sklearn]'" in printed(WITHOUT)


def test_an_old_scikit_learn_is_named():
    assert "needs scikit-learn 1.6 or newer" in printed(OLD)

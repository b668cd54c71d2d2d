# The other scripts source this file. It puts the project's own virtual environment first on the
# PATH; on first use, and after a change of pyproject.toml, it installs the package there.
#   PYTHON  the interpreter that makes the environment (default python3)
#   VENV    the environment's folder (default .venv in the clone)
#   EXTRAS  the package's extras to install, for example [test]
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${VENV:-$root/.venv}
extras=${EXTRAS:-}
stamp=$venv/.installed$extras

if [ ! -x "$venv/bin/python" ]; then
  "${PYTHON:-python3}" -m venv "$venv"
fi
if [ ! -f "$stamp" ] || [ "$root/pyproject.toml" -nt "$stamp" ]; then
  echo "Installing into $venv …"
  # The pip that comes with Python 3.10 takes very long to find versions that fit together.
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade "pip>=24"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$root$extras"
  touch "$stamp"
fi

export PATH="$venv/bin:$PATH"
# Without this, TensorFlow reports every GPU library that it does not find.
export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-3}

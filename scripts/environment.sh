# Sourced by the other scripts: the project's own virtual environment, made and
# filled on first use.  PYTHON names the interpreter, VENV the folder, EXTRAS what
# is installed beyond the package, as [test].
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${VENV:-$root/.venv}
extras=${EXTRAS:-}
stamp=$venv/.installed$extras

if [ ! -x "$venv/bin/python" ]; then
  "${PYTHON:-python3}" -m venv "$venv"
fi
if [ ! -f "$stamp" ] || [ "$root/setup.cfg" -nt "$stamp" ]; then
  echo "Installing into $venv …"
  # The pip that comes with Python 3.10 searches for the dependencies' versions for very long.
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade "pip>=24"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$root$extras"
  touch "$stamp"
fi

export PATH="$venv/bin:$PATH"
# TensorFlow notes every library that a machine without a GPU lacks.
export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-3}

"""A process that is terminated while it waits outside Python."""

import os
import subprocess
import sys

from iresnet_tf.training import termination

PROGRAM = """
import ctypes, runpy, sys, tempfile

before_termination = runpy.run_path(sys.argv[1])["before_termination"]
folder = tempfile.TemporaryDirectory()
before_termination(folder.cleanup)
print(folder.name, flush=True)
while True:
    ctypes.CDLL(None).sleep(100)
"""


def test_a_terminated_process_cleans_up(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, termination.__file__],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    name = process.stdout.readline().strip()
    assert [str(path) for path in tmp_path.iterdir()] == [name]
    process.terminate()
    assert process.wait(timeout=20) == 143
    assert not list(tmp_path.iterdir())

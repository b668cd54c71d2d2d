"""Measures time, memory and the rate of the machine."""

import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

import numpy as np


def alternating(calls, rounds):
    """Returns the median wall and CPU seconds of each call; the calls alternate.

    Args:
        calls: name → function without arguments.
        rounds: number of counted calls of each, after one that is not counted.

    Returns:
        name → ``{"wall": …, "cpu": …}``.
    """
    for call in calls.values():
        call()
    times = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {
        name: {
            "wall": statistics.median(wall for wall, _ in taken),
            "cpu": statistics.median(cpu for _, cpu in taken),
        }
        for name, taken in times.items()
    }


def matrix_products(size=1024, count=20, dtype="float32"):
    """Returns a call that multiplies matrices on all threads or a GPU, and its operations."""
    import tensorflow as tf

    from iresnet_tf.numerics.execution.threads import number_of_parts

    beside = number_of_parts()
    pairs = [tf.cast(tf.random.normal([2, size, size]), dtype) for _ in range(beside)]
    product = tf.function(lambda: [tf.matmul(*tf.unstack(pair)) for pair in pairs])

    def products():
        for _ in range(count):
            product()
        # A GPU may still be multiplying.
        tf.test.experimental.sync_devices()

    return products, count * beside * 2 * size**3


def product_rate():
    """Returns the operations per wall second of `matrix_products`."""
    products, operations = matrix_products()
    return operations / alternating({"products": products}, 3)["products"]["wall"]


def resident_bytes(peak=False):
    """Returns the memory of the process, or its peak since `reset_peak`."""
    field = "VmHWM" if peak else "VmRSS"
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}: memory is measured on Linux only.")


def reset_peak():
    """Sets the peak of `resident_bytes` back to the present memory."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")


def seconds_since_start():
    """Returns the wall seconds since this process began, imports included."""
    import psutil

    return time.time() - psutil.Process().create_time()


def set_threads(threads, inside=1):
    """Sets TensorFlow's threads and those inside one operation, 0 for all.

    TensorFlow refuses this after its first operation.
    """
    import tensorflow as tf

    tf.config.threading.set_inter_op_parallelism_threads(threads)
    tf.config.threading.set_intra_op_parallelism_threads(inside)


def in_fresh_process(script, *arguments):
    """Runs a script in a new process and returns the JSON that it prints last."""
    command = [sys.executable, script, *map(str, arguments)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def machine():
    """Describes the machine and the versions of the software."""
    import tensorflow as tf

    name = next(
        (
            line.split(":")[1].strip()
            for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "processor": name,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
    }


def show(rows, out=None):
    """Prints rows (dicts with equal keys) as a Markdown table, and writes them as JSON."""
    keys = list(rows[0])
    lines = [keys, ["---"] * len(keys), *([_text(row.get(key)) for key in keys] for row in rows)]
    for line in lines:
        print("| " + " | ".join(line) + " |")
    if out:
        report = {"machine": machine(), "rows": rows}
        pathlib.Path(out).write_text(json.dumps(report, indent=2) + "\n")


def _text(value):
    return f"{value:.3g}" if isinstance(value, float) else str(value)

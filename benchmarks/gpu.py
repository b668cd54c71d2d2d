"""Times training steps by precision and number of GPUs, against the floor of matrix products.

    python benchmarks/gpu.py --workload cifar-small --terms 5

It prints two tables in Markdown.  The first has the seconds of a step in float32, in TF32 and with
products in bfloat16: on one GPU, compiled by XLA on one, and on all.  The *floor* is (n + 5) F
operations at the rate of a matrix product of the same precision, measured in the same process,
where F is the operations of one evaluation of all ``g``.  Every device takes a batch of the given
size.  The second table has the errors of products, in an order that shows whether TensorFlow goes
on multiplying in TF32 after it is switched off.

Each step is measured in a new process.  What cannot be measured is skipped, with the reason.
Without a GPU the CPU is measured; ``--cpus 2`` shares it among two logical devices, to try the code
for several.
"""

import contextlib
import inspect
import json

import click
import measuring
import workloads

PRODUCT_DTYPE = "product_dtype"
"""The option of ``compile`` that chooses the dtype of the products of a training step."""

PRECISIONS = ("float32", "TF32", "bfloat16")
AMPERE = (8, 0)  # compute capability of the first NVIDIA GPUs with TF32


@click.group(invoke_without_command=True)
@click.option("--workload", type=click.Choice(list(workloads.WORKLOADS)), default="cifar-small")
@click.option("--batch-size", default=0, help="Of every device; 0 for the preset's.")
@click.option("--terms", default=5, help="Of the power series.")
@click.option("--rounds", default=7)
@click.option("--size", type=int, help="Of the matrices; by default 8192 on a GPU, 1024 on a CPU.")
@click.option("--cpus", default=1, help="Logical devices of a machine without a GPU.")
@click.pass_context
def main(context, workload, batch_size, terms, rounds, size, cpus):
    """Measures training steps on one and on all GPUs."""
    if context.invoked_subcommand:
        return
    machine = measuring.in_fresh_process(__file__, "describe")
    print(f"{machine['devices']}. TensorFlow {machine['tensorflow']}. ", end="")
    print(f"The workload is {workload} with {terms} terms.\n")
    count = machine["gpus"] or cpus
    size = size or (8192 if machine["gpus"] else 1024)
    rows = []
    for xla, devices in ((False, 1), (True, 1), (False, count)):
        for precision in PRECISIONS:
            row = dict.fromkeys(("batch", "step s", "floor s", "step / floor", "TFLOP/s"), "")
            skipped = machine["skipped"].get(precision, "")
            if xla and not machine["gpus"]:
                skipped = "XLA makes a step on a CPU slower"
            elif len(rows) >= 2 * len(PRECISIONS) and count == 1:
                skipped = "there is one device"
            if not skipped:
                arguments = (workload, batch_size, terms, precision, devices, int(xla))
                row = measuring.in_fresh_process(__file__, "step", *arguments, rounds, size)
            of = "all" if len(rows) >= 2 * len(PRECISIONS) else "one"
            name = {"devices": of, "compiled": "XLA" if xla else "", "precision": precision}
            rows.append({**name, **row, "skipped": skipped})
    measuring.show(rows)
    print()
    measuring.show(measuring.in_fresh_process(__file__, "errors", int(machine["has TF32"])))


@main.command(hidden=True)
def describe():
    import tensorflow as tf

    from iresnet_tf.models import DensityModel

    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    names = [each.get("device_name", "unknown GPU") for each in details]
    has_tf32 = any(each.get("compute_capability", (0, 0)) >= AMPERE for each in details)
    skipped = {} if has_tf32 else {"TF32": "no GPU has TF32"}
    if PRODUCT_DTYPE not in inspect.signature(DensityModel.compile).parameters:
        skipped["bfloat16"] = f"compile has no {PRODUCT_DTYPE}"
    described = measuring.machine()
    row = {"devices": ", ".join(names) or described["processor"], "gpus": len(gpus)}
    row |= {"tensorflow": described["tensorflow"], "has TF32": has_tf32, "skipped": skipped}
    print(json.dumps(row))


@main.command(hidden=True)
@click.argument("workload")
@click.argument("batch_size", type=int)
@click.argument("terms", type=int)
@click.argument("precision")
@click.argument("devices", type=int)
@click.argument("xla", type=int)
@click.argument("rounds", type=int)
@click.argument("size", type=int)
def step(workload, batch_size, terms, precision, devices, xla, rounds, size):
    strategy = _strategy(devices)
    options = {"jit_compile": True} if xla else {}
    if precision == "bfloat16":
        options[PRODUCT_DTYPE] = "bfloat16"
    with _multiplying_in(precision):
        with strategy.scope():
            series = workloads.estimator(str(terms))
            model, batch = workloads.make(workload, series, batch_size or None, **options)
            workloads.skip_initialisation(model)
        dtype = "bfloat16" if precision == "bfloat16" else "float32"
        products, operations = measuring.matrix_products(size, dtype=dtype)
        calls = {"step": _training_step(model, batch, strategy), "products": products}
        taken = measuring.alternating(calls, rounds)
    rate = operations / taken["products"]["wall"]
    floor = workloads.floor_flops(model, len(batch), terms) / rate
    seconds = taken["step"]["wall"]
    row = {"batch": len(batch) * strategy.num_replicas_in_sync, "step s": seconds}
    row |= {"floor s": floor, "step / floor": seconds / floor, "TFLOP/s": rate / 1e12}
    print(json.dumps(row))


@main.command(hidden=True)
@click.argument("has_tf32", type=int)
def errors(has_tf32):
    """Measures errors of products relative to the largest entry, against float64."""
    import tensorflow as tf

    x = tf.random.stateless_normal([32, 16, 16, 64], [0, 1], dtype=tf.float64)
    kernel = tf.random.stateless_normal([3, 3, 64, 64], [0, 2], dtype=tf.float64)
    products = {
        "matrix product": lambda x, k: tf.matmul(tf.reshape(x, [-1, 64]), k[0, 0]),
        "convolution": lambda x, k: tf.nn.conv2d(x, k, 1, "SAME"),
    }

    def error(product, dtype="float32"):
        with tf.device("CPU"):
            exact = product(x, kernel)
        found = tf.cast(product(tf.cast(x, dtype), tf.cast(kernel, dtype)), tf.float64)
        return float(tf.reduce_max(tf.abs(found - exact)) / tf.reduce_max(tf.abs(exact)))

    rows = []
    for name, product in products.items():
        row = {"product": name, "float32": error(product), "TF32": "", "float32 after TF32": ""}
        if has_tf32:
            with _multiplying_in("TF32"):
                row["TF32"] = error(product)
            row["float32 after TF32"] = error(product)
        rows.append({**row, "bfloat16": error(product, "bfloat16")})
    print(json.dumps(rows))


def _multiplying_in(precision):
    """Returns a context in which float32 products are computed in TF32, if that is asked for."""
    from iresnet_tf.numerics.execution import tensor_float_32

    return tensor_float_32.measured() if precision == "TF32" else contextlib.nullcontext()


def _strategy(devices):
    """Returns the strategy of several GPUs, or of as many logical CPUs, or of one device."""
    import tensorflow as tf

    from iresnet_tf.training import strategies

    if devices > 1 and not tf.config.list_physical_devices("GPU"):
        (cpu,) = tf.config.list_physical_devices("CPU")
        parts = [tf.config.LogicalDeviceConfiguration() for _ in range(devices)]
        tf.config.set_logical_device_configuration(cpu, parts)
    return strategies.get("mirrored" if devices > 1 else "one")


def _training_step(model, batch, strategy):
    """Returns a call that takes a training step with the given batch on every device."""
    import numpy as np
    import tensorflow as tf

    from iresnet_tf.models.replicated import parted

    replicas = strategy.num_replicas_in_sync
    data = tf.data.Dataset.from_tensors(np.concatenate([batch] * replicas)).repeat()
    batches = iter(data if replicas == 1 else parted(data, strategy, 1)[0])
    model.make_train_function()
    # Conversion to numbers waits for the end of the step.
    return lambda: {key: float(each) for key, each in model.train_function(batches).items()}


if __name__ == "__main__":
    main()

"""``python -m iresnet_tf``: the ``iresnet`` command."""

from iresnet_tf.cli import main

main(prog_name="iresnet")

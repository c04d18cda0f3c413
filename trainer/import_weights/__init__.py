"""Weights of the original CornerNet, of CornerNet-Lite and of mmdetection, read without executing anything in them.

Start with importer.py; weight_file.py reads the files, wrapping.py takes off what programs put around
the weights, key_names.py knows what each project calls a tensor.
"""

from cornernet.trainer.import_weights.importer import import_checkpoint

__all__ = ["import_checkpoint"]

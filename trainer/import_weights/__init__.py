"""Weights of the original CornerNet, of CornerNet-Lite and of mmdetection, read without executing anything in them."""

from cornernet.trainer.import_weights.importer import import_checkpoint

__all__ = ["import_checkpoint"]

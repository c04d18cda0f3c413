"""Typed errors: what is wrong with a file, a picture, a machine. Each says what, got, expected, and what to do.

A wrong argument (text for a number, a threshold of 50) is the caller's mistake, not bad input: TypeError or ValueError
with the same words, from arguments.py. No other exception leaves a public function.
"""


class CornerNetError(Exception):
    """Base of every error this package raises on purpose."""


class ImageError(CornerNetError, ValueError):
    """An image cannot be used: unreadable, wrong type or shape, too large. In a batch it becomes `Detections.error`."""


class ModelError(CornerNetError, ValueError):
    """A model file cannot be used: wrong format, no card, corrupted, built for something else."""


class BackendError(CornerNetError, RuntimeError):
    """A runtime is missing, broken or failed while running; the message carries the command that mends it."""


class DatasetError(CornerNetError, ValueError):
    """A data set cannot be used: no annotation file, unreadable JSON, nothing left after dropping bad entries."""


class TrainingError(CornerNetError, RuntimeError):
    """Training cannot go on: loss not finite, disk full, checkpoint of another network."""


class ExportError(CornerNetError, RuntimeError):
    """A model cannot be exported: impossible settings, disk full, or the file would compute something else."""


class OutputError(CornerNetError, OSError):
    """A file is not written: it is an input, it is somebody else's, or there is no place for it."""


class DownloadError(CornerNetError, OSError):
    """A file cannot be fetched: no connection, no such address, or not the bytes that were expected."""

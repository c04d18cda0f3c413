"""Every test here: no thread is left."""

from thread_watch import nothing_is_left_behind

__all__ = ["nothing_is_left_behind"]

"""CornerNet as an inference engine."""

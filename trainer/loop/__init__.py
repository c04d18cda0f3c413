"""The training run: configuration, steps, losses, validation, checkpoints, resume, several processes.

Start with train.py, which composes the others; config.py lists what can be set; method.py says what differs between
kinds of networks.
"""

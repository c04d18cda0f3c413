"""Where else a run's numbers go: TensorBoard, Weights & Biases, MLflow. Start with open_log.py.

A log is a context manager that gives a function; it is called with each row of metrics.jsonl. A new one is a file here
that imports its package, and a line in open_log.py.
"""

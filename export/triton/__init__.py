"""A model repository for NVIDIA's Triton Inference Server: the network, and a model in front of it that gives boxes.

Start with triton_repository.py, which decides and writes; triton_config.py is the text of the configuration files.
What runs inside the server is `cornernet.engine.serving.triton_model`.
"""

# NVIDIA's Triton with `cornernet` in its Python, for repositories of `cornernet triton`. From the root of the checkout:
#   docker build --file engine/serving/containers/triton.Dockerfile --tag cornernet:triton .
ARG RELEASE=26.07
FROM nvcr.io/nvidia/tritonserver:${RELEASE}-py3
WORKDIR /source
COPY pyproject.toml CMakeLists.txt README.md LICENSE ./
COPY cornernet cornernet
COPY engine engine
COPY trainer trainer
COPY export export
COPY plugins plugins
COPY benchmarks benchmarks
# Without extras: reading and post-processing run here, the network runs in the server.
RUN PIP_CONSTRAINT= pip install --no-cache-dir --break-system-packages . && rm -rf /source
WORKDIR /
# Engines that carry their plugins are version compatible, which TensorRT loads only where it is told that it may.
CMD ["tritonserver", "--model-repository=/repository", "--backend-config=tensorrt,version-compatible=true"]

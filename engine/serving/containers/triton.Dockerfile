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
# What the engine needs to read pictures and to post-process; the network runs in the server. NVIDIA still builds the
# Python backend for numpy 1 (a server that does not know numpy 2 hands over empty arrays), and OpenCV from 4.12 on wants
# numpy 2: so these two are older than pyproject.toml has them. `make triton-check` runs the same.
RUN PIP_CONSTRAINT= pip install --no-cache-dir --break-system-packages 'numpy<2' 'opencv-python-headless<4.12' pydantic \
    && PIP_CONSTRAINT= pip install --no-cache-dir --break-system-packages --no-deps . && rm -rf /source
WORKDIR /
# Engines that carry their plugins are version compatible, which TensorRT loads only where it is told that it may.
CMD ["tritonserver", "--model-repository=/repository", "--backend-config=tensorrt,version-compatible=true"]

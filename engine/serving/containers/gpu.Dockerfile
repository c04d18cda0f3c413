# cornernet on an NVIDIA GPU, with the TensorRT, its headers and the CUDA compiler of NVIDIA's image. From the checkout:
#   docker build --file engine/serving/containers/gpu.Dockerfile --tag cornernet:gpu .
#   docker run --rm --gpus all --volume "$PWD:/work" cornernet:gpu build model.onnx -o model.engine
# An engine runs in the TensorRT that built it: this image and Triton's are of one release.
ARG RELEASE=26.07
FROM nvcr.io/nvidia/tensorrt:${RELEASE}-py3
WORKDIR /source
COPY pyproject.toml CMakeLists.txt README.md LICENSE ./
COPY cornernet cornernet
COPY engine engine
COPY trainer trainer
COPY export export
COPY plugins plugins
COPY benchmarks benchmarks
# Not the extra `gpu`: it would lay a second TensorRT over the image's own. The image pins versions, some below ours.
RUN PIP_CONSTRAINT= CORNERNET_PLUGINS=1 pip install --no-cache-dir --break-system-packages '.[inspect]' 'cuda-python>=12.9.1' \
    && rm -rf /source
ENV XDG_CACHE_HOME=/tmp/cache
WORKDIR /work
ENTRYPOINT ["cornernet"]
CMD ["doctor"]

# cornernet on a CPU, with ONNX Runtime. From the root of the checkout:
#   docker build --file engine/serving/containers/cpu.Dockerfile --tag cornernet:cpu .
#   docker run --rm --volume "$PWD:/work" cornernet:cpu predict model.onnx photos -o found
FROM python:3.12-slim AS build
# For the small library of post-processing; the image that is shipped has no compiler.
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY pyproject.toml CMakeLists.txt README.md LICENSE ./
COPY cornernet cornernet
COPY engine engine
COPY trainer trainer
COPY export export
COPY plugins plugins
COPY benchmarks benchmarks
RUN python -m venv /opt/cornernet && /opt/cornernet/bin/pip install --no-cache-dir '.[cpu]'

FROM python:3.12-slim
COPY --from=build /opt/cornernet /opt/cornernet
# Any user may be given with `docker run --user`; what is measured and fetched is kept where all of them may write.
ENV PATH=/opt/cornernet/bin:$PATH XDG_CACHE_HOME=/tmp/cache
WORKDIR /work
USER 1000:1000
ENTRYPOINT ["cornernet"]
CMD ["--help"]

# hetc on a CPU:  docker build -t hetc . && docker run --rm -v "$PWD:/work" hetc compile model.onnx
FROM python:3.12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN pip wheel --no-cache-dir --no-deps -w /wheels /src

FROM python:3.12-slim
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir /wheels/*.whl && rm -r /wheels
WORKDIR /work
ENTRYPOINT ["hetc"]
CMD ["--help"]

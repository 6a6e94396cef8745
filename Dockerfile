# The command line, without a graphics card: docker build --tag graphseg .
FROM python:3.12-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY graphseg graphseg
RUN pip wheel --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
COPY --from=build /wheels /wheels
# PyTorch for processors only, which is a sixth of the size.
RUN pip install --no-cache-dir torch --index-url https://download.pytorch.org/whl/cpu \
    && pip install --no-cache-dir "$(echo /wheels/graphseg-*.whl)[dask,zarr]"
WORKDIR /data
ENTRYPOINT ["graphseg"]
CMD ["--help"]

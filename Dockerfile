# upsell-stream as an image: a virtual environment by hash from locks/, run by nobody in particular on a read-only root.
# Build: docker build -t upsell-stream .          Details, mirrors and digests: docs/how-to/deploy.md
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY locks/build.txt locks/core.txt locks/
# Two environments, so that what builds is not in what runs. The secret is for who must use a mirror; most have none.
# Only wheels: a hash of a source distribution says nothing about what its build would fetch.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv /opt/build \
    && python3 -m venv --without-pip /opt/upsell-stream \
    && /opt/build/bin/pip install --require-hashes --only-binary=:all: -r locks/build.txt \
    && /opt/build/bin/pip --python /opt/upsell-stream/bin/python install --require-hashes --only-binary=:all: -r locks/core.txt
COPY pyproject.toml README.md ./
COPY stream stream
COPY deploy/generate/sbom.py ./
RUN /opt/build/bin/pip wheel --no-deps --no-index --no-build-isolation --wheel-dir dist . \
    && /opt/build/bin/pip --python /opt/upsell-stream/bin/python install --no-deps --no-index dist/*.whl \
    && /opt/upsell-stream/bin/python sbom.py >/opt/upsell-stream/sbom.cdx.json

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="upsell-stream" \
      org.opencontainers.image.description="Live upsell and cross-sell rates from checkout and subscription events in Kafka" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/upsell-stream /opt/upsell-stream
# Of the settings only where the pages are served: the health check asks there. Inside a container loopback is reached by nobody else.
ENV PATH=/opt/upsell-stream/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 UPSELL_HTTP_HOST=0.0.0.0 UPSELL_HTTP_PORT=8080
# By number: orchestrators that demand a user other than root cannot look up a name.
USER 10001:10001
WORKDIR /tmp
EXPOSE 8080
# A worker leaves its group and ends within 25 s: give it 30 (`docker stop -t 30`, stop_grace_period).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['UPSELL_HTTP_PORT']}/livez\", timeout=4)"]
ENTRYPOINT ["upsell-stream"]
CMD ["worker"]

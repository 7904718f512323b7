# upsell-stream as an image: packages from locks/, checked by hash. Runs as an unprivileged user on a read-only root file system.
# Build: docker build -t upsell-stream .          Details, mirrors and digests: docs/how-to/deploy.md
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY locks/build.txt locks/core.txt locks/
# Two environments, so that build tools are not in the image. The secret is a pip.conf, for builds that must use a mirror.
# Only wheels: the hash of a source distribution does not cover what its build would download.
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
# A new volume that is mounted here belongs to the user below. Workers write no files.
RUN install -d -o 10001 -g 10001 /var/lib/upsell-stream
# The health check needs the port. Outside the container nobody can reach its loopback interface, so the server listens on all.
ENV PATH=/opt/upsell-stream/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 UPSELL_HTTP_HOST=0.0.0.0 UPSELL_HTTP_PORT=8080
# A number: Kubernetes (runAsNonRoot) cannot check a name.
USER 10001:10001
WORKDIR /tmp
EXPOSE 8080
# A worker needs up to 25 s to leave its consumer group and stop: give it 30 s (`docker stop -t 30`, stop_grace_period).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['UPSELL_HTTP_PORT']}/livez\", timeout=4)"]
ENTRYPOINT ["upsell-stream"]
CMD ["worker"]

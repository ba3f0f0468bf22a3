# The image of every part: `sync-worker` with a command behind it. Packages come from the lock files, checked by hash.

FROM python:3.13-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY requirements.lock requirements-dev.lock ./
# What builds the wheel is locked as well, and stays out of the image.
RUN python -m venv /build && /build/bin/pip install --require-hashes --requirement requirements-dev.lock
RUN python -m venv /app && /app/bin/pip install --require-hashes --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY sync_worker sync_worker
COPY handlers handlers
COPY mappings mappings
RUN /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /app/bin/pip install --no-deps --no-index /wheels/*.whl

FROM python:3.13-slim-bookworm
RUN groupadd --gid 10001 worker \
    && useradd --uid 10001 --gid worker --no-create-home --shell /usr/sbin/nologin worker \
    && install --directory --owner worker --group worker --mode 0700 /var/lib/sync-worker
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SYNC_CONFIG=/etc/sync-worker/sync.toml \
    SYNC_DATA_DIR=/var/lib/sync-worker \
    SYNC_LOG_FORMAT=json
USER worker
WORKDIR /var/lib/sync-worker
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["sync-worker"]
CMD ["run", "--host", "0.0.0.0"]

# One image for the head, the decoders and the engines of a KubeRay cluster.
#   docker build -t registry.example.com/rayjob:0.1.0 .
# Without vLLM, for decode nodes alone: --build-arg EXTRAS=export
# CUDA's compiler is in the base because vLLM builds some kernels when it starts.
FROM nvidia/cuda:13.0.3-devel-ubuntu24.04

# wget: KubeRay's probes call it.
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-venv python3-dev gcc g++ wget ca-certificates \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 10001 ray
ENV VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH
RUN python3 -m venv /opt/venv

ARG EXTRAS=gpu
WORKDIR /opt/rayjob
# Dependencies before the code, so that a change of the code does not fetch them again.
COPY pyproject.toml constraints.txt LICENSE ./
# It holds the version.
COPY rayjob/__init__.py rayjob/__init__.py
RUN mkdir actors schemas && touch actors/__init__.py schemas/__init__.py \
    && pip install --no-cache-dir -c constraints.txt ".[$EXTRAS]"

COPY rayjob rayjob
COPY actors actors
COPY schemas schemas
COPY deploy/job.yaml deploy/job.yaml
RUN pip install --no-cache-dir --no-deps --force-reinstall .

USER ray
WORKDIR /home/ray

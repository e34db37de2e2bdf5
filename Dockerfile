# The commands without root, in a folder /project that outlives the container:
#   docker build -t pitchquest .
#   docker build --build-arg FEATURES=pq-score/object-store,pq-monitor/object-store,pq-register/object-store -t pitchquest .   # for buckets
#   docker run --rm -v "$PWD:/project" pitchquest pq-collect
#   docker run --rm -p 127.0.0.1:7860:7860 -v "$PWD:/project" pitchquest
FROM rust:1.92-slim-bookworm AS build
# A linker comes with the image.
RUN apt-get update \
    && apt-get install -y --no-install-recommends make g++ \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
# As cargo takes them, by command: `pq-score/object-store,…`.
ARG FEATURES=""
RUN make build FEATURES="$FEATURES"

FROM debian:bookworm-slim
# Certificates for what the commands ask of services. LibreOffice, which PowerPoint files need, is half a gigabyte: add
# `libreoffice-impress` here where such files come in.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 pitchquest \
    && install -d -o pitchquest -g pitchquest /project /home/pitchquest/.cache
COPY --from=build /source/target/release/pq-collect /source/target/release/pq-label /source/target/release/pq-train \
    /source/target/release/pq-validate /source/target/release/pq-register /source/target/release/pq-score \
    /source/target/release/pq-monitor /source/target/release/pq-trigger /source/target/release/pq-project /usr/local/bin/
COPY --chown=pitchquest:pitchquest config /project/config
USER 10001
WORKDIR /project
# Configuration, decks, ratings, runs, releases; and the checkpoints of the Hub.
VOLUME ["/project", "/home/pitchquest/.cache"]
EXPOSE 7860
# Reached from outside the container, the page asks for an invitation: its link is on stderr when it starts for the first time.
CMD ["pq-label", "--host", "0.0.0.0", "--port", "7860", "--public-url", "http://127.0.0.1:7860"]

# syntax=docker/dockerfile:1

# A stripped binary names none of its crates: the list of what is in the image is made of Cargo.lock.
ARG BUILDKIT_SBOM_SCAN_CONTEXT=true

# A static binary of the build machine's own libc: nothing of the image is needed at run time but a CA bundle.
FROM rust:1.95-bookworm AS build
ARG TARGETARCH
WORKDIR /src
COPY Cargo.toml Cargo.lock rust-toolchain.toml ./
COPY src ./src
# An explicit target keeps the procedural macros of the build dynamic, which they have to be.
# Where the linker is LLD, functions that are the same are one, and relocations take a bit each in the place of 24 bytes.
RUN set -eu; \
    static="-C target-feature=+crt-static"; \
    small="-C link-arg=-Wl,--icf=all -C link-arg=-Wl,-z,pack-relative-relocs"; \
    case "$TARGETARCH" in \
      amd64) target=x86_64-unknown-linux-gnu; flags="$static $small" ;; \
      arm64) target=aarch64-unknown-linux-gnu; flags="$static" ;; \
      *) echo "no image is made for $TARGETARCH" >&2; exit 1 ;; \
    esac; \
    RUSTFLAGS="$flags" cargo build --release --locked --target "$target"; \
    install -D -m 0755 "target/$target/release/spot-interrupt-handler" /out/spot-interrupt-handler

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/spot-interrupt-handler /spot-interrupt-handler
USER 65532:65532
ENTRYPOINT ["/spot-interrupt-handler"]
CMD ["run"]

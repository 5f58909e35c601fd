# The image of a release: the executable and the libraries that it needs. It has no shell, no package manager and no npm.
#
# Build from the top of the repository, for both processors:
#
#     npm ci && npm run package
#     docker buildx build --platform linux/amd64,linux/arm64 -f examples/docker/release.Dockerfile dist/release
#
# The base is pinned to the major version of Debian, so a rebuild includes its security fixes.

# Docker sets it; buildah 1.28 needs --build-arg.
ARG BUILDPLATFORM

# Only the builder's own programs run here, so a build for another processor needs no emulator.
FROM --platform=$BUILDPLATFORM debian:12-slim AS root
ARG TARGETARCH
WORKDIR /packages
RUN if [ "$TARGETARCH" != "$(dpkg --print-architecture)" ]; then dpkg --add-architecture "$TARGETARCH"; fi \
    && apt-get update -q \
    && apt-get download libc6:$TARGETARCH libgcc-s1:$TARGETARCH libstdc++6:$TARGETARCH ca-certificates
# Scanners find the packages in status.d. Node.js converts no character sets, so it needs no gconv modules.
WORKDIR /root-filesystem
RUN mkdir -p etc/ssl/certs var/lib/dpkg/status.d home/nonroot tmp \
    && for package in /packages/*.deb; do \
         dpkg-deb --fsys-tarfile "$package" \
           | tar -x --exclude='*/gconv' --exclude='*/audit' --exclude=./usr/share/locale --exclude=./usr/share/lintian \
               --exclude=./usr/share/man --exclude=./usr/sbin --exclude=./etc/ld.so.conf.d --exclude='*/changelog*' \
         && dpkg-deb --field "$package" >"var/lib/dpkg/status.d/$(dpkg-deb --field "$package" Package)" \
         || exit 1; \
       done \
    && cat usr/share/ca-certificates/mozilla/*.crt >etc/ssl/certs/ca-certificates.crt \
    && rm -r usr/share/ca-certificates etc/ca-certificates \
    && echo 'root:x:0:0:root:/:/sbin/nologin' >etc/passwd \
    && echo 'nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin' >>etc/passwd \
    && printf 'root:x:0:\nnonroot:x:65532:\n' >etc/group \
    && echo 'hosts: files dns' >etc/nsswitch.conf \
    && chmod 1777 tmp \
    && chown 65532:65532 home/nonroot

FROM --platform=$BUILDPLATFORM debian:12-slim AS executable
ARG TARGETARCH
COPY mysql-iam-proxy-*-linux-* THIRD-PARTY-NOTICES /release/
RUN if [ "$TARGETARCH" = amd64 ]; then name=x64; else name=$TARGETARCH; fi \
    && install -D -m 755 /release/*-linux-$name /image/usr/bin/mysql-iam-proxy \
    && install -D -m 644 /release/THIRD-PARTY-NOTICES /image/usr/share/doc/mysql-iam-proxy/THIRD-PARTY-NOTICES

FROM scratch
COPY --from=root /root-filesystem /
COPY --from=executable /image /
ENV PATH=/usr/bin HOME=/home/nonroot
# A number, because Kubernetes' runAsNonRoot can't resolve names.
USER 65532:65532
WORKDIR /home/nonroot
EXPOSE 3306
# The proxy is process 1 and receives the signals itself.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/mysql-iam-proxy"]

# Two images: `plist` (the daemon and the tool) and `nginx` (NGINX with the generated
# configuration).
#
#   docker build --target plist -t plist .
#   docker build --target nginx -t plist-nginx .

FROM debian:12-slim AS build
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      gcc libc6-dev make autoconf automake pkg-config liblua5.4-dev libpq-dev librdkafka-dev libmicrohttpd-dev libgnutls28-dev \
      libyaml-dev libcjson-dev libssl-dev libcurl4-openssl-dev libsmartcols-dev libgmp-dev uthash-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN autoreconf -i && mkdir /build && cd /build \
    && /source/configure --prefix=/usr --sysconfdir=/etc --localstatedir=/var \
    && make -j"$(nproc)" && make install-strip DESTDIR=/image

FROM debian:12-slim AS plist
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      liblua5.4-0 libpq5 librdkafka1 libmicrohttpd12 libgnutls30 libyaml-0-2 libcjson1 libssl3 libcurl4 libsmartcols1 libgmp10 ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --user-group --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin plist \
    && install -d -o plist -g plist /run/plist
COPY --from=build /image /
USER plist
ENV PORT=8000
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=5 \
  CMD curl -fsS "http://127.0.0.1:${PORT}/health" || exit 1
STOPSIGNAL SIGTERM
CMD ["plistd", "--config", "/etc/plist/plist.yaml"]

FROM plist AS nginx
USER root
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends nginx-light \
    && rm -rf /var/lib/apt/lists/* && install -d -o plist -g plist /run/nginx \
    && ln -s /dev/stdout /run/nginx/access.log && ln -s /dev/stderr /run/nginx/error.log
USER plist
ENV NGINX_LISTEN=8080
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=5 \
  CMD curl -fsS http://127.0.0.1:8080/nginx-health || exit 1
STOPSIGNAL SIGQUIT
CMD ["/bin/sh", "-c", "plist-admin --config /etc/plist/plist.yaml nginx > /run/nginx/nginx.conf && exec nginx -p /run/nginx/ -c /run/nginx/nginx.conf -e stderr -g 'daemon off;'"]

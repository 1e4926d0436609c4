#!/bin/sh
# Makes the certificates of docker-compose.tls.yml in a folder, unless they are there and last
# for another week: two authorities, one for clients and one for the parts among themselves,
# and a certificate for each part.
#
#   certificates.sh FOLDER [NAME]      NAME: the host name by which clients reach NGINX
#
# Each part can read its own keys only. Run by root, the keys are given to the users of the
# images; run by somebody else, they stay with that user.
set -eu
folder=$1
site=${2:-localhost}
days=90
week=604800
umask 077
mkdir -p "$folder/plist" "$folder/postgres-us" "$folder/postgres-eu" "$folder/kafka"
cd "$folder"
chmod 755 . plist postgres-us postgres-eu kafka

lasts() { [ -f "$1" ] && openssl x509 -in "$1" -noout -checkend "$week" >/dev/null; }

# authority NAME
authority() {
  lasts "$1.crt" && return
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/O=plist/CN=$1" \
    -keyout "$1.key" -out "$1.crt"
  chmod 644 "$1.crt"
}

# certificate AUTHORITY FILE USE [NAME...]: FILE.crt and FILE.key, for these host names.
certificate() {
  authority=$1 file=$2 use=$3
  shift 3
  lasts "$file.crt" && openssl verify -CAfile "$authority.crt" "$file.crt" >/dev/null 2>&1 && return
  names=$(printf ',DNS:%s' "$@")
  {
    printf 'basicConstraints=CA:FALSE\nextendedKeyUsage=%s\n' "$use"
    [ "$#" -eq 0 ] || printf 'subjectAltName=%s\n' "${names#,}"
  } >"$file.ext"
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/O=plist/CN=$(basename "$file")" -keyout "$file.key" -out "$file.csr"
  openssl x509 -req -in "$file.csr" -CA "$authority.crt" -CAkey "$authority.key" -CAcreateserial -days "$days" -extfile "$file.ext" -out "$file.crt"
  rm "$file.csr" "$file.ext"
  chmod 644 "$file.crt"
}

authority public-ca
authority internal-ca
certificate public-ca plist/site serverAuth "$site"
certificate internal-ca plist/nginx clientAuth
certificate internal-ca plist/plistd serverAuth plistd
certificate internal-ca plist/kafka-client clientAuth
certificate internal-ca postgres-us/server serverAuth db-us
certificate internal-ca postgres-eu/server serverAuth db-eu
certificate internal-ca kafka/broker serverAuth,clientAuth kafka
cat kafka/broker.key kafka/broker.crt >kafka/broker.pem # as Kafka wants them

if [ "$(id -u)" -eq 0 ]; then
  if id plist >/dev/null 2>&1; then chown plist plist/*; fi
  chown 999 postgres-us/* postgres-eu/* # the user of the image postgres
  chown 1000 kafka/*                    # the user of the image apache/kafka
fi

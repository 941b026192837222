#!/bin/sh
# Makes what deploy/compose.yaml needs: certificates, passwords, keys. What is there already is kept; certificates are
# made again within 30 days of their end, and the parts read them again by themselves.
#
#   STRIPE_API_KEY=sk_… STRIPE_WEBHOOK_SECRET=whsec_… deploy/compose/prepare.sh [FOLDER]
#
# FOLDER, else the one of compose.yaml, gets `.env` and `secrets/`. Wants OpenSSL 3. The files of secrets/ can be read by
# anybody who reaches them, as the containers' users have to; the folder keeps everybody out on this machine.
set -eu
umask 077
folder=${1:-$(dirname "$0")/..}
secrets=$folder/secrets
parts="gateway user product inventory order payment notification order-worker codec-server"
services="user product inventory order payment notification"
tls="sslmode=verify-full&sslrootcert=/run/secrets/servers-ca.crt"
mkdir -p "$secrets" "$folder/authorities"

# keep NAME: standard input, unless there is such a secret already.
keep() {
  if [ -s "$secrets/$1" ]; then cat >/dev/null; else cat >"$secrets/$1"; fi
}

password() {
  [ -s "$secrets/$1" ] || openssl rand -hex 24 | tr -d '\n' >"$secrets/$1"
  cat "$secrets/$1"
}

# authority NAME: a CA; its key stays in authorities/.
authority() {
  [ -s "$secrets/$1.crt" ] && return
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/CN=Ordersaga $1" \
    -addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign,cRLSign \
    -keyout "$folder/authorities/$1.key" -out "$secrets/$1.crt" 2>/dev/null
}

# certificate AUTHORITY NAME SUBJECT-ALTERNATIVE-NAMES USAGES: one for 90 days. Written in place: containers see the
# file, not its name.
certificate() {
  openssl x509 -checkend 2592000 -noout -in "$secrets/$2.crt" >/dev/null 2>&1 && return
  made=$(mktemp -d)
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$2" \
    -keyout "$made/key" -out "$made/request" 2>/dev/null
  printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n' >"$made/extensions"
  printf 'extendedKeyUsage=%s\nsubjectAltName=%s\nauthorityKeyIdentifier=keyid\n' "$4" "$3" >>"$made/extensions"
  openssl x509 -req -days 90 -in "$made/request" -CA "$secrets/$1.crt" -CAkey "$folder/authorities/$1.key" \
    -set_serial "0x$(openssl rand -hex 16)" -extfile "$made/extensions" -out "$made/certificate" 2>/dev/null
  cat "$made/key" >"$secrets/$2.key"
  cat "$made/certificate" >"$secrets/$2.crt"
  rm -r "$made"
}

base64url() {
  openssl base64 -A | tr '+/' '-_' | tr -d '='
}

# The parts trust a CA that signs for nobody else; what they connect to has another.
authority parts-ca
for part in $parts; do
  certificate parts-ca "$part" "DNS:$part.ordersaga,URI:spiffe://ordersaga/$part" serverAuth,clientAuth
done
for operator in ${OPERATORS:-}; do # for people with the command, and in no container
  certificate parts-ca "operator-$operator" "URI:spiffe://ordersaga/operator/$operator" clientAuth
done
authority servers-ca
for server in postgres temporal kafka mail; do
  certificate servers-ca "$server" "DNS:$server,DNS:localhost" serverAuth,clientAuth
done
for client in temporal-client kafka-setup kafka-notification kafka-relay; do
  certificate servers-ca "$client" "DNS:$client" clientAuth
done
cat "$secrets/kafka.key" "$secrets/kafka.crt" >"$secrets/kafka.pem" # Kafka wants both in one file

# PostgreSQL: one database per service, an owner who makes its tables, and a role for the service itself.
dsn() {
  echo "postgresql://$1:$(password "password-$1")@postgres:5432/$2?$tls"
}
# by_service ROLE: a JSON object, service to DSN; %s stands for the service.
by_service() {
  separator='{'
  for service in $services; do
    # shellcheck disable=SC2059  # the role is a format
    printf '%s"%s":"%s"' "$separator" "$service" "$(dsn "$(printf "$1" "$service")" "ordersaga_$service")"
    separator=,
  done
  echo '}'
}
for service in $services; do
  dsn "ordersaga_$service" "ordersaga_$service" | keep "${service}_dsn"
done
by_service ordersaga_%s_owner | keep owner_dsns
by_service relay | keep relay_dsns
by_service audit | keep audit_dsns
role() {
  echo "CREATE ROLE $1 LOGIN PASSWORD '$(password "password-$1")';"
}
{
  role temporal
  echo "CREATE DATABASE temporal OWNER temporal;"
  echo "CREATE DATABASE temporal_visibility OWNER temporal;"
  role relay
  role audit
  for service in $services; do
    database=ordersaga_$service
    role "$database"
    role "${database}_owner"
    echo "CREATE DATABASE $database OWNER ${database}_owner;"
    echo "GRANT CONNECT ON DATABASE $database TO $database, relay, audit;"
  done
  for database in postgres temporal temporal_visibility; do
    echo "REVOKE ALL ON DATABASE $database FROM PUBLIC;"
  done
  for service in $services; do
    echo "REVOKE ALL ON DATABASE ordersaga_$service FROM PUBLIC;"
  done
} | keep postgres-init.sql
password password-postgres >/dev/null

# Access tokens: an Ed25519 key, and its public half as a JWK set (RFC 8037) with its thumbprint (RFC 7638).
[ -s "$secrets/jwt_private_key" ] || openssl genpkey -algorithm ed25519 -out "$secrets/jwt_private_key"
x=$(openssl pkey -in "$secrets/jwt_private_key" -pubout -outform DER | tail -c 32 | base64url)
kid=$(printf '{"crv":"Ed25519","kty":"OKP","x":"%s"}' "$x" | openssl dgst -sha256 -binary | base64url)
keys='{"keys":[{"kty":"OKP","crv":"Ed25519","x":"'$x'","kid":"'$kid'","use":"sig","alg":"EdDSA"}]}'
[ -s "$folder/.env" ] || echo "ORDERSAGA_JWT_PUBLIC_KEYS='$keys'" >"$folder/.env"

# What is in Temporal's histories is encrypted.
[ -s "$secrets/temporal_payload_keys" ] || echo "{\"first\":\"$(openssl rand -base64 32)\"}" >"$secrets/temporal_payload_keys"

password smtp_password >/dev/null
password admin_password >/dev/null
printf %s "${STRIPE_API_KEY:-}" | keep stripe_api_key
printf %s "${STRIPE_WEBHOOK_SECRET:-}" | keep stripe_webhook_secret
for secret in stripe_api_key stripe_webhook_secret; do
  [ -s "$secrets/$secret" ] || { echo "$secrets/$secret is empty: set $(echo $secret | tr a-z A-Z), or write it" >&2; exit 2; }
done
chmod 0644 "$secrets"/*

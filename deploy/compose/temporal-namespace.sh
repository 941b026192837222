#!/bin/sh
# Makes Ordersaga's namespace with the search attributes that its workflows are found by. Repeatable.
set -eu
namespace=$1
temporal operator namespace describe --namespace "$namespace" >/dev/null 2>&1 \
  || temporal operator namespace create --namespace "$namespace" --retention 720h
# The namespace is known everywhere some seconds later.
tries=0
until temporal operator search-attribute list --namespace "$namespace" >/dev/null 2>&1; do
  tries=$((tries + 1))
  [ "$tries" -lt 30 ] || { echo "namespace $namespace did not come up" >&2; exit 1; }
  sleep 1
done
temporal operator search-attribute create --namespace "$namespace" \
  --name OrderStatus --type Keyword \
  --name CustomerId --type Keyword \
  --name OrderAttention --type Keyword \
  --name OrderTotal --type Int

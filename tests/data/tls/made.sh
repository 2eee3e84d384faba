#!/bin/sh
# How the keys and certificates here were made, for tests only: valid for 30 years, and trusted by nobody else.
set -e
cd "$(dirname "$0")"
for name in server client; do
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 10950 -keyout $name.key -out $name.crt \
        -subj "/CN=$name" -addext "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"
done
# gRPC can't use this curve, OpenSSL can.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:secp256k1 -noenc -days 10950 -keyout odd.key -out odd.crt -subj /CN=odd
openssl req -x509 -newkey rsa:2048 -noenc -days 10950 -keyout rsa.key -out rsa.crt -subj /CN=rsa
openssl pkcs8 -topk8 -in server.key -passout pass:secret -out encrypted.key

#!/bin/sh
# Makes the files that the programs share; needs seq, head and sha1sum.
set -eu
cd "$(dirname "$0")"
mkdir -p content
seq -f %015.0f 0 131071 | head -c 2097152 > content/file.bin
echo '7ed01f4c8e69478422f0a499298803903646e159  content/file.bin' | sha1sum -c -
# Exported by mainswarm-testnet; sha1 of the other lines: dab5d1ca1aee0597733e77ffd52cc78606ad6b98

#!/bin/sh
# Makes the files that the programs share; needs seq, head and sha1sum.
set -eu
cd "$(dirname "$0")"
mkdir -p content
seq -f %015.0f 1000000 1000063 | head -c 1024 > content/key-0.bin
echo 'b15b70f2cf1dadca8f469deb29cd7db111a9a4b9  content/key-0.bin' | sha1sum -c -
seq -f %015.0f 2000000 2000063 | head -c 1024 > content/key-1.bin
echo '822f985933829d54e5ae9a877ad0678b8fcba2c2  content/key-1.bin' | sha1sum -c -
seq -f %015.0f 3000000 3000063 | head -c 1024 > content/key-2.bin
echo '7ae25f11d7ac47dca92d06854d30cb82c1b23934  content/key-2.bin' | sha1sum -c -
# Exported by mainswarm-testnet; sha1 of the other lines: 07f7ba1aa39d352d5701a34f10684386db711ba6

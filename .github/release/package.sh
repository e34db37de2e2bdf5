#!/usr/bin/env bash
# Packs the commands into OUT/pitchquest-VERSION-TARGET.tar.gz with its SHA-256 beside it: package.sh VERSION TARGET BINARIES OUT.
# The same binaries give the same archive, whenever and by whomever it is made.
set -euo pipefail
[ $# = 4 ] || { echo "usage: package.sh VERSION TARGET BINARIES OUT" >&2; exit 2; }
version=$1 target=$2 binaries=$(cd "$3" && pwd)
mkdir -p "$4"
out=$(cd "$4" && pwd)
cd "$(dirname "$0")/../.."
commands=(pq-collect pq-label pq-train pq-validate pq-register pq-score pq-monitor pq-trigger pq-project)

name=pitchquest-$version-$target
staging=$(mktemp -d)
trap 'rm -rf "$staging"' EXIT
mkdir -p "$staging/$name/bin"
for command in "${commands[@]}"; do
  install -m 755 "$binaries/$command" "$staging/$name/bin/$command"
  "${STRIP:-strip}" --strip-all "$staging/$name/bin/$command"
done
cp -r config "$staging/$name/config"
cp LICENSE README.md CHANGELOG.md "$staging/$name/"
# No name, number or time of the machine that packs.
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@${SOURCE_DATE_EPOCH:-0}" --mode='u=rwX,go=rX' \
  -C "$staging" -cf - "$name" | gzip -n9 >"$out/$name.tar.gz"
(cd "$out" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
echo "$out/$name.tar.gz"

#!/usr/bin/env bash
# Writes what each command is made of, in CycloneDX's JSON, as OUT/pitchquest-VERSION-sbom.tar.gz: sbom.sh VERSION OUT. Needs
# cargo-cyclonedx.
set -euo pipefail
[ $# = 2 ] || { echo "usage: sbom.sh VERSION OUT" >&2; exit 2; }
version=$1
mkdir -p "$2"
out=$(cd "$2" && pwd)
cd "$(dirname "$0")/../.."
name=pitchquest-$version-sbom
staging=$(mktemp -d)
# The tool writes beside each manifest.
trap 'rm -rf "$staging"; rm -f crates/*/*.cdx.json bins/*/*.cdx.json' EXIT
${CARGO:-cargo} cyclonedx --format json --spec-version 1.5 --quiet
mkdir "$staging/$name"
for file in bins/*/*.cdx.json; do
  # Where the sources lay is nobody's business.
  sed "s|$PWD|.|g" "$file" >"$staging/$name/$(basename "$file")"
done
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@${SOURCE_DATE_EPOCH:-0}" \
  -C "$staging" -cf - "$name" | gzip -n9 >"$out/$name.tar.gz"
(cd "$out" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
echo "$out/$name.tar.gz"

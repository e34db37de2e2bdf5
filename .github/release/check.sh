#!/usr/bin/env bash
# Whether a folder of archives can be released as VERSION: check.sh VERSION FOLDER. Every archive has its checksum and holds every
# command, and the tag, the manifest and the commands that run here state one version.
set -euo pipefail
[ $# = 2 ] || { echo "usage: check.sh VERSION FOLDER" >&2; exit 2; }
version=$1
folder=$(cd "$2" && pwd)
cd "$(dirname "$0")/../.."
stated=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
[ "v$stated" = "$version" ] || { echo "the manifest says $stated, the tag $version" >&2; exit 1; }
cd "$folder"
archives=(pitchquest-"$version"-*-linux-*.tar.gz)
[ -e "${archives[0]}" ] || { echo "there is no archive of $version in $folder" >&2; exit 1; }
sha256sum --check --strict ./*.sha256
for archive in "${archives[@]}"; do
  [ -e "$archive.sha256" ] || { echo "$archive has no checksum" >&2; exit 1; }
  count=$(tar -tzf "$archive" | grep -c '/bin/pq-')
  [ "$count" = 9 ] || { echo "$archive holds $count commands" >&2; exit 1; }
  case $archive in
    *"$(uname -m)"*)
      unpacked=$(mktemp -d)
      tar -xzf "$archive" -C "$unpacked"
      for command in "$unpacked"/*/bin/pq-*; do
        said=$("$command" --version)
        [ "${said##* }" = "$stated" ] || { echo "$command says $said" >&2; exit 1; }
      done
      rm -rf "$unpacked"
      ;;
  esac
done
cat ./*.sha256 >SHA256SUMS
echo "${#archives[@]} archives of $version can be released"

#!/bin/sh
# Installs Piccolo on this machine, or removes it. POSIX sh: boards may have no bash.
set -eu
umask 022

usage() {
  cat <<'HELP'
usage: sh install.sh [--destdir DIR] [TARBALL]
       sh install.sh --uninstall [--purge] [--destdir DIR]

Run it in the unpacked tarball, or give it the tarball. It checks the checksums
(of the tarball itself where SHA256SUMS lies beside it) and the architecture,
and installs the program, the systemd unit, the shell completions and, unless
there is one, the configuration file. It starts nothing: `piccolo init` and
`piccolo join` do. Run it again to repair or to upgrade.

  --uninstall    stop the service and remove what was installed; the node's
                 data in /var/lib/piccolo and a configuration that was changed
                 stay
  --purge        with --uninstall: remove these, too
  --destdir DIR  work below DIR, as for an image of a card, and leave this
                 machine's systemd alone
HELP
}

die() {
  echo "install.sh: $1" >&2
  exit "${2:-1}"
}

say() { echo "install.sh: $*"; }

destdir='' tarball='' action=install purge=''
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --uninstall) action=uninstall ;;
    --purge) purge=1 ;;
    --destdir)
      [ $# -ge 2 ] || die "--destdir needs a directory" 2
      destdir=${2%/}
      shift
      ;;
    --destdir=*)
      destdir=${1#*=}
      destdir=${destdir%/}
      ;;
    -*) die "unknown option \"$1\" (see --help)" 2 ;;
    *)
      [ -z "$tarball" ] || die "one tarball is enough: \"$1\"" 2
      tarball=$1
      ;;
  esac
  shift
done
if [ $action = install ] && [ -n "$purge" ]; then die "--purge goes with --uninstall" 2; fi
if [ $action = uninstall ] && [ -n "$tarball" ]; then die "--uninstall takes no tarball" 2; fi
if [ -n "$destdir" ]; then
  [ -d "$destdir" ] || die "no directory $destdir" 2
elif [ "$(id -u)" != 0 ]; then
  die "needs root: run it with sudo"
fi

bin=$destdir/usr/local/bin/piccolo
unit=$destdir/etc/systemd/system/piccolo.service
config=$destdir/etc/piccolo/piccolo.yaml
data=$destdir/var/lib/piccolo
share=$destdir/usr/local/share
docs=$share/piccolo
bash=$share/bash-completion/completions/piccolo
zsh=$share/zsh/site-functions/_piccolo
fish=$share/fish/vendor_completions.d/piccolo.fish

# systemd runs this machine, and this machine is the one that is meant.
booted() { [ -z "$destdir" ] && [ -d /run/systemd/system ]; }

# verify DIRECTORY LIST: fails unless every file has the checksum of the list.
verify() {
  bad=$(cd "$1" && printf '%s\n' "$2" | sha256sum -c - 2>&1) ||
    die "the checksum is wrong, download it again: $(printf '%s\n' "$bad" | grep -v ': OK$' | head -n 3)"
}

# put FILE TO MODE: in one step, so that a power cut leaves the old or the new one.
put() {
  if cmp -s "$1" "$2"; then
    chmod "$3" "$2"
    return
  fi
  mkdir -p "${2%/*}"
  if ! { cp "$1" "$2.new" && chmod "$3" "$2.new" && mv -f "$2.new" "$2"; }; then
    rm -f "$2.new"
    die "could not write $2"
  fi
}

# board: the tarball that suits this machine.
board() {
  machine=$(uname -m)
  case $machine in
    x86_64) echo amd64 ;;
    aarch64 | arm64)
      # Many a Raspberry Pi runs a 64-bit kernel under a 32-bit system.
      if [ -e "$destdir/lib/ld-linux-armhf.so.3" ] && [ ! -e "$destdir/lib/ld-linux-aarch64.so.1" ]; then
        echo armv7
      else
        echo arm64
      fi
      ;;
    armv7l | armv8l) echo armv7 ;;
    armv6l) echo armv6 ;;
    *) die "there is no Piccolo for $machine: amd64, arm64, armv7 and armv6 only" ;;
  esac
}

install_tarball() {
  [ -f "$tarball" ] || die "no file $tarball" 2
  dir=$(cd "$(dirname "$tarball")" && pwd)
  file=$(basename "$tarball")
  if [ -f "$dir/SHA256SUMS" ]; then
    sum=$(awk -v file="$file" '$2 == file' "$dir/SHA256SUMS")
    [ -n "$sum" ] || die "$dir/SHA256SUMS does not name $file"
    verify "$dir" "$sum"
  fi
  unpacked=$(mktemp -d)
  trap 'rm -rf "$unpacked"' EXIT
  trap 'exit 1' HUP INT TERM
  tar -xzf "$dir/$file" -C "$unpacked" || die "$tarball is no tarball, or is cut off: download it again"
  set -- "$unpacked"/*/install.sh
  [ -f "$1" ] || die "$tarball is no tarball of Piccolo"
  if [ -n "$destdir" ]; then
    sh "$1" --destdir "$destdir"
  else
    sh "$1"
  fi
}

install_here() {
  here=$(cd "$(dirname "$0")" && pwd)
  if [ ! -f "$here/RELEASE" ] || [ ! -f "$here/SHA256SUMS" ]; then
    die "this is not an unpacked tarball: give the tarball as the argument" 2
  fi
  version=$(sed -n 's/^version=//p' "$here/RELEASE")
  arch=$(sed -n 's/^arch=//p' "$here/RELEASE")
  verify "$here" "$(cat "$here/SHA256SUMS")"
  suits=$(board)
  case $suits/$arch in
    "$arch/$suits") ;;
    armv7/armv6) say "the armv6 tarball works here, the armv7 one is faster" ;;
    *) die "this is the $arch tarball, and $(uname -m) needs the $suits one" ;;
  esac

  old=
  if [ -x "$bin" ] && [ -z "$destdir" ]; then old=$("$bin" version 2>/dev/null) || old='a broken one'; fi
  put "$here/piccolo" "$bin" 755
  if [ -n "$destdir" ] || command -v systemctl >/dev/null; then put "$here/piccolo.service" "$unit" 644; fi
  put "$here/completions/piccolo.bash" "$bash" 644
  put "$here/completions/_piccolo" "$zsh" 644
  put "$here/completions/piccolo.fish" "$fish" 644
  for file in LICENSE RELEASE install.md install.sh piccolo.yaml; do put "$here/$file" "$docs/$file" 644; done
  rm -rf "$docs/licenses"
  cp -R "$here/licenses" "$docs/licenses"
  if [ -e "$config" ]; then
    say "kept $config"
  else
    put "$here/piccolo.yaml" "$config" 644
  fi
  sync
  say "installed piccolo $version ($arch)${old:+; before it was: $old}"
  if booted; then
    systemctl daemon-reload
    if systemctl is-active --quiet piccolo.service; then
      say "the service still runs the program as it was: systemctl restart piccolo"
      return
    fi
  fi
  [ -n "$destdir" ] || say "next: piccolo check, then piccolo init or piccolo join"
}

# cluster: what the cluster has to be told, while node.json still says it.
cluster() {
  name=$(sed -n 's/^  "name": "\(.*\)",$/\1/p' "$1/node.json" 2>/dev/null) || name=
  if [ -n "$name" ] && ! grep -q '"role": "master"' "$1/node.json"; then
    say "the cluster still lists this node: piccolo node rm $name on its master, if the board does not come back"
  fi
}

uninstall() {
  elsewhere=$(sed -n 's/^data_dir:[[:space:]]*//p' "$config" 2>/dev/null) || elsewhere=
  if booted && [ -e "$unit" ]; then
    systemctl disable --now --quiet piccolo.service || die "could not stop piccolo.service: systemctl status piccolo"
  fi
  cluster "${elsewhere:-$data}"
  if [ -f "$config" ] && { [ -n "$purge" ] || cmp -s "$config" "$docs/piccolo.yaml"; }; then
    rm -f "$config"
  fi
  if [ -n "$purge" ] && [ -d "$data" ]; then
    # What is in it: the directory may be a file system of its own.
    find "$data" -xdev -mindepth 1 -delete
    rmdir "$data" 2>/dev/null || true
  fi
  rm -f "$bin" "$unit" "$unit.d/machine.conf" "$bash" "$zsh" "$fish"
  rm -rf "$docs"
  rmdir "$unit.d" "${config%/*}" 2>/dev/null || true
  if booted; then systemctl daemon-reload; fi
  sync
  say "removed Piccolo"
  if [ -f "$config" ]; then say "kept $config, because it was changed"; fi
  if [ -d "$data" ] && [ -z "$purge" ]; then
    say "kept the node's identity and data in $data (--uninstall --purge removes them)"
  fi
  if [ -n "$elsewhere" ]; then say "kept the data in $elsewhere, which the configuration named"; fi
  say "containers belong to Podman and were left alone"
}

if [ $action = uninstall ]; then
  uninstall
elif [ -n "$tarball" ]; then
  install_tarball
else
  install_here
fi

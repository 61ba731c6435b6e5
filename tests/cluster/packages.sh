#!/bin/sh
# Makes sure that what the cluster takes from the distribution is there:
# containerd, runc, the CNI plugins, nftables and a few small tools. As root on
# Debian or Ubuntu it installs what is missing, without starting a service.
set -eu

. "$(dirname "$0")/common.sh"

missing=""
need() { # package program
  command -v "$2" >/dev/null 2>&1 || missing="$missing $1"
}
need containerd containerd
need containerd ctr
need runc runc
need nftables nft
need iproute2 ip
need util-linux unshare
need util-linux nsenter
need openssl openssl
cni_plugins >/dev/null || missing="$missing containernetworking-plugins"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
  fail "missing:$missing. On Debian or Ubuntu: sudo apt-get install --no-install-recommends$missing"
fi

say "installing$missing"
# The package would start its daemon; the cluster runs one of its own, in
# namespaces, and nothing else of it may run on this machine.
if [ -d /run/systemd/system ]; then
  started=no
  systemctl is-active --quiet containerd 2>/dev/null && started=yes
  [ "$started" = yes ] || systemctl mask --runtime --quiet containerd.service 2>/dev/null || true
fi
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
# shellcheck disable=SC2086
{ apt-get install -qq --no-install-recommends $missing >/dev/null 2>&1 ||
  { apt-get update -qq && apt-get install -qq --no-install-recommends $missing; }; } >&2
if [ -d /run/systemd/system ] && [ "$started" = no ]; then
  systemctl unmask --runtime --quiet containerd.service 2>/dev/null || true
fi
exec "$0"

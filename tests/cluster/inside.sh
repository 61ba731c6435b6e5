#!/bin/bash
# The init of the cluster's namespaces: makes the node and starts everything
# that runs on it, then waits. When it ends, all of it ends.
set -euo pipefail

dir=$1 group=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
tools=$dir/tools etc=$dir/etc

# Documentation and benchmarking ranges: nothing of it exists elsewhere.
NODE=192.0.2.10
PODS=198.18.0.0/24
SERVICES=198.19.0.0/24
DNS=$NODE
NAME=node

trap 'echo "inside.sh, line $LINENO: $BASH_COMMAND" > "$dir/failed"' ERR

# What the programs write to their usual places stays in the directory.
mount --bind "$dir/var" /var
mount -t tmpfs -o mode=755 tmpfs /run
printf 'nameserver %s\nsearch svc.cluster.local cluster.local\n' "$DNS" > "$etc/resolv.conf"
printf '127.0.0.1 localhost\n%s %s\n' "$NODE" "$NAME" > "$etc/hosts"
# Nothing may ask the machine's resolver.
for file in resolv.conf hosts; do
  mount --bind "$etc/$file" "$(readlink -f "/etc/$file")"
done
hostname "$NAME"

ip link set lo up
ip link add node0 type veth peer name node1
ip address add "$NODE/24" dev node0
ip link set node0 up
ip link set node1 up
# Programs look for their own address by the way out.
ip route add default dev node0
echo 1 > /proc/sys/net/ipv4/ip_forward

. "$here/certificates.sh"
. "$here/configuration.sh"

run() { # name program arguments…
  local name=$1
  shift
  {
    "$@" >"$dir/log/$name.log" 2>&1
    echo "$name ended" > "$dir/failed"
  } &
}

run etcd "$tools/etcd" --data-dir="$dir/var/lib/etcd" --unsafe-no-fsync --log-level=warn \
  --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379 \
  --listen-peer-urls=http://127.0.0.1:2380 --initial-advertise-peer-urls=http://127.0.0.1:2380 \
  --initial-cluster=default=http://127.0.0.1:2380
run containerd containerd --config "$etc/containerd.toml"

run kube-apiserver "$tools/kube-apiserver" \
  --etcd-servers=http://127.0.0.1:2379 --advertise-address="$NODE" --secure-port=6443 \
  --tls-cert-file="$etc/apiserver.crt" --tls-private-key-file="$etc/apiserver.key" \
  --client-ca-file="$etc/ca.crt" \
  --kubelet-client-certificate="$etc/apiserver-kubelet.crt" \
  --kubelet-client-key="$etc/apiserver-kubelet.key" \
  `# Not the node's name, which nobody resolves.` \
  --kubelet-preferred-address-types=InternalIP \
  --service-account-issuer=https://kubernetes.default.svc \
  --service-account-signing-key-file="$etc/accounts.key" \
  --service-account-key-file="$etc/accounts.pub" \
  --service-cluster-ip-range="$SERVICES" --allow-privileged \
  --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
  --audit-policy-file="$here/audit-policy.yaml" --audit-log-path="$dir/log/audit.jsonl"

until "$tools/kubectl" --kubeconfig "$etc/admin.conf" get --raw /readyz >/dev/null 2>&1; do
  sleep 0.2
done

run kube-controller-manager "$tools/kube-controller-manager" \
  --kubeconfig="$etc/controller-manager.conf" --leader-elect=false \
  --service-account-private-key-file="$etc/accounts.key" --root-ca-file="$etc/ca.crt" \
  --use-service-account-credentials
run kube-scheduler "$tools/kube-scheduler" --kubeconfig="$etc/scheduler.conf" --leader-elect=false
until ctr version >/dev/null 2>&1; do sleep 0.1; done
run kubelet "$tools/kubelet" --config="$etc/kubelet.yaml" --kubeconfig="$etc/kubelet.conf" \
  --node-ip="$NODE" --hostname-override="$NAME"
# Sysctls for conntrack are not writable everywhere.
run kube-proxy "$tools/kube-proxy" --kubeconfig="$etc/proxy.conf" --proxy-mode=nftables \
  --hostname-override="$NAME" --conntrack-max-per-core=0 \
  --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0
run coredns "$tools/coredns" -conf "$etc/Corefile"

kubectl() { "$tools/kubectl" --kubeconfig "$etc/admin.conf" "$@"; }
kubectl apply --server-side -f "$here/system.yaml" >"$dir/log/system.log" 2>&1
for image in "$@"; do
  ctr -n k8s.io images import "$image" >>"$dir/log/images.log" 2>&1
done
until kubectl wait --for=condition=Ready "node/$NAME" --timeout=60s >/dev/null 2>&1; do
  sleep 0.2
done
until getent hosts kubernetes.default.svc.cluster.local >/dev/null; do sleep 0.1; done
touch "$dir/ready"

# Takes up whatever loses its parent, until it is killed.
trap - ERR
set +e
while true; do wait -n || sleep 1; done

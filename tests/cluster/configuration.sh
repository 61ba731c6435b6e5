# Configuration of the node's programs, in $etc.

# Not every file system can carry an overlay, another overlay for one.
snapshotter=native
mkdir -p "$dir/var/probe"/{lower,upper,work,merged}
if mount -t overlay overlay "$dir/var/probe/merged" \
  -o "lowerdir=$dir/var/probe/lower,upperdir=$dir/var/probe/upper,workdir=$dir/var/probe/work" 2>/dev/null
then
  umount "$dir/var/probe/merged"
  snapshotter=overlayfs
fi
rm -rf "$dir/var/probe"

cat > "$etc/containerd.toml" <<TOML
version = 2
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "sidegate.test/pause:1"
  # Without the capability CAP_SYS_RESOURCE no sandbox could start otherwise.
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$(cat "$etc/cni-plugins")"
    conf_dir = "$etc/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "$snapshotter"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
TOML

# Every packet between pods goes through the node's own routing, so Services
# work without the kernel's filter for bridges.
mkdir -p "$etc/cni"
cat > "$etc/cni/pods.conflist" <<JSON
{
  "cniVersion": "0.4.0",
  "name": "pods",
  "plugins": [
    {
      "type": "ptp",
      "ipMasq": false,
      "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "$PODS"}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    }
  ]
}
JSON

cat > "$etc/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: "$etc/ca.crt"}
authorization: {mode: Webhook}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$group
enforceNodeAllocatable: []
localStorageCapacityIsolation: false
failSwapOn: false
makeIPTablesUtilChains: false
clusterDNS: ["$DNS"]
clusterDomain: cluster.local
resolvConf: $etc/resolv.conf
# A container that ends again and again would be left alone for minutes.
featureGates: {KubeletCrashLoopBackOffMax: true}
crashLoopBackOff: {maxContainerRestartPeriod: 2s}
# Images are imported, and nobody could get them again.
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%}
# Tests wait for what a kubelet does once in a while.
syncFrequency: 5s
nodeStatusReportFrequency: 1m
serializeImagePulls: false
registryPullQPS: 0
eventRecordQPS: 0
kubeAPIQPS: 100
kubeAPIBurst: 200
shutdownGracePeriod: 0s
YAML

cat > "$etc/Corefile" <<CONF
.:53 {
  errors
  kubernetes cluster.local {
    kubeconfig $etc/coredns.conf c
    ttl 5
  }
}
CONF

# Certificates and kubeconfigs of the cluster's programs, in $etc.

openssl_() { openssl "$@" 2>>"$dir/log/openssl.log"; }

key() { openssl_ ecparam -name prime256v1 -genkey -noout -out "$1"; chmod 600 "$1"; }

key "$etc/ca.key"
openssl_ req -x509 -new -key "$etc/ca.key" -subj /CN=cluster -days 2 -out "$etc/ca.crt" \
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign

certificate() { # name subject extensions…
  local name=$1 subject=$2
  shift 2
  key "$etc/$name.key"
  openssl_ req -new -key "$etc/$name.key" -subj "$subject" -out "$etc/$name.csr"
  printf '%s\n' "keyUsage=critical,digitalSignature" "$@" > "$etc/$name.ext"
  openssl_ x509 -req -in "$etc/$name.csr" -CA "$etc/ca.crt" -CAkey "$etc/ca.key" \
    -CAcreateserial -days 2 -extfile "$etc/$name.ext" -out "$etc/$name.crt"
  rm "$etc/$name.csr" "$etc/$name.ext"
}

kubeconfig() { # name
  cat > "$etc/$1.conf" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://$NODE:6443", certificate-authority: "$etc/ca.crt"}}]
users: [{name: u, user: {client-certificate: "$etc/$1.crt", client-key: "$etc/$1.key"}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
YAML
}

certificate apiserver /CN=kube-apiserver extendedKeyUsage=serverAuth \
  "subjectAltName=IP:$NODE,IP:127.0.0.1,IP:198.19.0.1,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:localhost"
certificate apiserver-kubelet /O=system:masters/CN=apiserver extendedKeyUsage=clientAuth
while read -r name subject; do
  certificate "$name" "$subject" extendedKeyUsage=clientAuth
  kubeconfig "$name"
done <<SUBJECTS
admin /O=system:masters/CN=admin
controller-manager /CN=system:kube-controller-manager
scheduler /CN=system:kube-scheduler
kubelet /O=system:nodes/CN=system:node:$NAME
proxy /CN=system:kube-proxy
coredns /CN=coredns
SUBJECTS

openssl_ genrsa -out "$etc/accounts.key" 2048
chmod 600 "$etc/accounts.key"
openssl_ rsa -in "$etc/accounts.key" -pubout -out "$etc/accounts.pub"

# Forty pods of one class, what their shims take of memory, and sixty commands in one pod at the same time.
pods=40 commands=60
now() { date +%s%N; }
took() { echo "# $1: $((($(now) - $2) / 1000000)) ms"; }
kubectl create namespace "$class" >/dev/null && kubectl config set-context lab --namespace "$class" >/dev/null
printf '\n# Pods of the class %s\n' "$class"
from=$(now)
kubectl apply -f - >/dev/null <<END
apiVersion: apps/v1
kind: Deployment
metadata: { name: many }
spec:
  replicas: $pods
  selector: { matchLabels: { app: many } }
  template:
    metadata: { labels: { app: many } }
    spec:
      runtimeClassName: $class
      terminationGracePeriodSeconds: 1
      containers: [{ name: main, image: busybox, imagePullPolicy: Never, command: [sleep, "1000"] }]
END
kubectl rollout status deploy/many --timeout 300s >/dev/null && took "$pods pods are ready" "$from"
says "^$pods/$pods$" kubectl get deploy many -o 'jsonpath={.status.readyReplicas}/{.spec.replicas}'
memory() { # the share of memory of each shim, in KiB
    for shim in $(pgrep containerd-shim); do awk '/^Pss:/ { print $2 }' "/proc/$shim/smaps_rollup"; done | sort -n |
        awk '{ each[NR] = $1; all += $1 } END { print NR " shims take " each[int((NR + 1) / 2)] " KiB (median), " all " KiB together" }'
}
says "^$pods shims" memory
from=$(now)
for ((number = 0; number < commands; number++)); do kubectl exec deploy/many -- echo "said $number" >"$folder/said-$number" & done
wait # for them alone: the node's processes are disowned
took "$commands commands have run at once" "$from"
says "^$commands$" sh -c "cat '$folder'/said-* | grep -c '^said '"
from=$(now)
kubectl delete namespace "$class" --timeout 300s >/dev/null
gone() { ! pgrep containerd-shim; }
soon gone && took 'all are gone' "$from"

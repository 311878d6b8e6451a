# Deployments change, processes die, and all goes at the end. `lab.sh` goes on here.
says 'scaled' kubectl scale deploy/web --replicas 4
says 'rolled out' kubectl rollout status deploy/web --timeout 120s
says 'updated' kubectl set env deploy/web GREETING=changed
says 'rolled out' kubectl rollout status deploy/web --timeout 120s
newest() { kubectl exec "$(kubectl get pods -l app=web --sort-by .metadata.creationTimestamp -o name | tail -n 1)" -- sh -c 'echo $GREETING'; }
says '^changed$' newest
says 'rolled back' kubectl rollout undo deploy/web
says 'rolled out' kubectl rollout status deploy/web --timeout 120s
says '^hello from a ConfigMap$' newest

# A container that ends is started again, with its log and its end remembered. What ended it may go with it.
life() {
    soon sh -c "kubectl logs mortal | grep -qx 'life $1'"
    soon sh -c "kubectl get pod mortal -o 'jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}' | grep -qx '$(($1 - 1)) true'"
    echo "# $2: the pod mortal is at its life $1."
}
kubectl exec mortal -- kill 1 || true
life 2 'Its first process was ended'
says '^life 1$' kubectl logs mortal --previous
says '^1 3$' kubectl get pod mortal -o 'jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].lastState.terminated.exitCode}'

# One that wants too much is ended, and Kubernetes knows why.
says '^OOMKilled 137$' kubectl get pod greedy -o 'jsonpath={.status.containerStatuses[0].state.terminated.reason} {.status.containerStatuses[0].state.terminated.exitCode}'
# The process that holds a pod's namespaces dies, and the shim: each time the pod is made anew.
process() { ctr tasks ls | awk -v id="$1" '$1 == id { print $2 }'; }
kill -9 "$(process "$(ctr containers ls -q "labels.\"io.kubernetes.pod.namespace\"==$class,labels.\"io.kubernetes.pod.name\"==mortal,labels.\"io.cri-containerd.kind\"==sandbox")")"
life 3 'The process of its sandbox was killed'
id=$(value pod/mortal '.status.containerStatuses[0].containerID') && id=${id#*//}
kill -9 "$(awk '/^PPid/ { print $2 }' "/proc/$(process "$id")/status")"
life 4 'Its shim was killed'
# containerd dies: pods live on, and are looked after by the next.
kill -9 "$(pgrep -x containerd)" && start containerd --config "$here/containerd.toml"
soon $confined true
kubectl exec mortal -- kill 1 || true
life 5 'containerd was killed, and then its first process ended'
says '^0 0$' kubectl get pod shared -o 'jsonpath={.status.containerStatuses[*].restartCount}'

# All goes: containers, shims, mounts and cgroups. (Of cgroup version 2 beside 1 kubelet knows nothing: there a pod's own stays.)
says 'deleted' kubectl delete namespace "$class" --timeout 300s
left() {
    ctr containers ls -q && ctr snapshots ls | grep -v -e ^KEY -e Committed
    pgrep -a containerd-shim
    findmnt -rno TARGET | grep -E 'k8s.io|kubelet/pods|/run/netns/cni'
    find /sys/fs/cgroup -path "*/$group/kubepods/*/pod*/*" -type d
    find "/sys/fs/cgroup/memory/$group" -name 'pod*' -type d
}
nothing() { [ -z "$(left)" ]; }
soon nothing
echo '# Nothing is left.'

# What Kubernetes asks of a runtime, in a namespace that is named after the runtime class.
kubectl create namespace "$class" >/dev/null && kubectl config set-context lab --namespace "$class" >/dev/null
printf '\n# Pods of the class %s\n' "$class"
says 'service/web created' sh -c "cat web.yaml pods.yaml | sed 's/CLASS/$class/' | kubectl apply -f -"
says 'rolled out' kubectl rollout status deploy/web --timeout 120s
soon kubectl wait pod/shared pod/host pod/typist pod/mortal pod/plain --for condition=Ready --timeout 5s
value() { kubectl get "$1" -o "jsonpath={$2}"; }
web="kubectl exec deploy/web -c server --"

# Each pod has the runtime of its class, and without one containerd's default.
runtime() { # POD: the shim that containerd started for it, and the binary that this one was told to use
    local id; id=$(value "pod/$1" '.status.containerStatuses[0].containerID') && id=${id#*//}
    echo "$(ctr containers info "$id" | jq -r .Runtime.Name) $(cat "/run/containerd/io.containerd.runtime.v2.task/k8s.io/$id/runtime" 2>/dev/null)"
}
case $class in keel) names='keel.v2 ' ;; keel-binary) names='runc.v2 keel' ;; runc) names='runc.v2 ' ;; esac
says "^io.containerd.$names$" runtime shared
says '^io.containerd.runc.v2 $' runtime plain

# Settings, secrets, limits and hooks of a container; commands in it.
says '^hello from a ConfigMap, hello from a ConfigMap, sesame, node$' $web sh -c 'echo "$GREETING, $(cat /etc/greeting), $(cat /hidden/word), $NODE"; ls /started'
says '^67108864 20000/100000$' $web sh -c 'cd /sys/fs/cgroup; echo $(cat memory/memory.limit_in_bytes) $(cat cpu/cpu.cfs_quota_us)/$(cat cpu/cpu.cfs_period_us)'
says '^typed$' sh -c 'echo typed | kubectl exec -i deploy/web -c server -- cat'
says '^/dev/pts/0.$' sh -c 'script -qec "kubectl exec -it deploy/web -c server -- tty" /dev/null <>/run/lab/silence'
fails 7 'exit code 7' $web sh -c 'exit 7'
fails 1 '"nothing": executable file not found in \$PATH' $web nothing
kubectl cp web.yaml mortal:/copied
says "^$(wc -c <web.yaml) /copied$" kubectl exec mortal -- wc -c /copied
says 'response:200' kubectl logs deploy/web -c server --tail 1
says '^typed$' sh -c 'echo typed | kubectl attach -i typist; kubectl logs typist'
says 'condition met' kubectl wait job/job --for condition=Complete --timeout 60s
says '^worked$' kubectl logs job/job
says '^said last$' kubectl get pods -l job-name=job -o 'jsonpath={.items[0].status.containerStatuses[0].state.terminated.message}'

. ./pods.sh
. ./life.sh

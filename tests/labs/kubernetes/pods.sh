# Pods that share more, or may do less, than others. `lab.sh` goes on here.
confined="kubectl exec shared -c confined --"
says '^ +1 1000 +/catatonit -P$' $confined ps -o pid,user,args
says '^1000 +sleep 1002$' $confined ps -o user,args
says '^uid=1000 gid=0 groups=0,2000$' $confined id
says '^CapBnd: 0000000000000000 NoNewPrivs: 1 Seccomp: 2$' $confined sh -c 'echo $(grep -E "CapBnd|NoNewPrivs|Seccomp:" /proc/self/status)'
fails 1 'Read-only file system' $confined touch /file
fails 1 'Operation not permitted' $confined unshare -U true
says '^1000:2000$' $confined sh -c 'touch /kept/file; stat -c %u:%g /kept/file'
says '^1$' $confined cat /proc/sys/kernel/shm_rmid_forced

# The node's own network, processes and mounts, with all rights that the node has.
says '/node$' kubectl exec host -- ls -d /sys/class/net/node
says '^kubelet$' kubectl exec host -- sh -c 'ps -o args | grep -o ^kubelet'
says "$(sed -n 's/^CapBnd:.//p' /proc/self/status)$" kubectl exec host -- grep CapEff /proc/self/status
kubectl exec host -- mount -t tmpfs inside /both
says '^inside$' findmnt -no SOURCE -T /run/lab/both
kubectl exec host -- umount /both

# Services: by an address of the cluster, by a port of the node, and by a tunnel through the API server.
says '^served$' kubectl exec shared -c other -- wget -qO- "http://$(value svc/web .spec.clusterIP)/"
says '^served$' nsenter --net=/run/netns/outside curl -fsS "http://10.77.0.1:$(value svc/web '.spec.ports[0].nodePort')/"
kubectl port-forward svc/web 18080:80 >/dev/null & forward=$!
soon curl -fs http://127.0.0.1:18080/
says '^served$' curl -fsS http://127.0.0.1:18080/
kill $forward

# What kubelet measures.
measured() {
    kubectl get --raw /api/v1/nodes/node/proxy/stats/summary | jq -r '.pods[] | select(.podRef.name == "shared").containers[] |
        select(.memory.workingSetBytes > 0 and .cpu.usageCoreNanoSeconds > 0).name' | sort | xargs
}
in_time() { [ "$(measured)" = 'confined other' ]; }
soon in_time && says '^confined other$' measured

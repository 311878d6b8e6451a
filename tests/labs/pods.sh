# Podman: containers by conmon, pods that share a network, builds.
podman import busybox.tar busybox >/dev/null 2>&1
says 'keel' podman info --format '{{.Host.OCIRuntime.Name}}'
says '^hello$' podman run --rm busybox echo hello
fails 42 '' podman run --rm busybox sh -c 'exit 42'
fails 127 'no such file or directory' podman run --rm busybox /no/such
fails 126 'permission denied' podman run --rm busybox /etc/hosts

podman run -d --name ticker busybox sh -c 'trap "exit 3" TERM; while :; do echo tick; sleep 0.2; done' >/dev/null
soon sh -c 'podman logs ticker | grep tick'
says '^b 65534 /tmp$' podman exec -e A=b -u 65534 -w /tmp ticker sh -c 'echo $A $(id -u) $PWD'
says '^typed$' sh -c 'echo typed | podman exec -i ticker cat'
says '^(/dev/(console|pts/0)).$' script -qec 'podman exec -t ticker tty' /dev/null
fails 7 '' podman exec ticker sh -c 'exit 7'
says 'sleep' podman top ticker pid args
podman pause ticker >/dev/null
says '^paused$' podman inspect --format '{{.State.Status}}' ticker
podman unpause ticker >/dev/null
podman update --memory 64m ticker >/dev/null
says '^67108864$' podman exec ticker cat /sys/fs/cgroup/memory/memory.limit_in_bytes
says '^ticker [0-9.]+[kM]B' podman stats --no-stream --format '{{.Name}} {{.MemUsage}}' ticker
podman stop ticker >/dev/null
says '^exited 3$' podman inspect --format '{{.State.Status}} {{.State.ExitCode}}' ticker
podman start ticker >/dev/null && podman kill ticker >/dev/null
says '^137$' podman wait ticker
podman cp busybox.tar ticker:/copied
says 'A /copied' podman diff ticker
podman commit -q ticker kept >/dev/null && podman rm ticker >/dev/null
says '^/copied$' podman run --rm kept ls /copied
says '^33554432 50$' podman run --rm --memory 32m --pids-limit 50 busybox sh -c 'cd /sys/fs/cgroup; echo $(cat memory/memory.limit_in_bytes pids/pids.max)'
says 'CapEff:.0+$' podman run --rm --cap-drop all --security-opt no-new-privileges busybox grep CapEff /proc/self/status
says '^ok$' podman run --rm --read-only --tmpfs /t -v "$PWD:/here:ro" busybox sh -c 'touch /t/x && ! touch /x && ! touch /here/x && echo ok' 2>/dev/null

podman pod create --name pod -p 18080:80 >/dev/null
podman run -d --pod pod --name web busybox sh -c 'mkdir /www; echo served >/www/index.html; httpd -f -p 80 -h /www' >/dev/null
soon curl -sf http://127.0.0.1:18080/
says '^served$' podman run --rm --pod pod busybox wget -qO- http://127.0.0.1/
says '^pod Running 2$' podman pod ps --format '{{.Name}} {{.Status}} {{.NumberOfContainers}}'
podman pod stop -t 0 pod >/dev/null && podman pod rm pod >/dev/null

printf 'FROM localhost/busybox\nRUN echo built >/made && chown 33:33 /made\nCMD ["cat", "/made"]\n' >Dockerfile
podman build -q -t app . >/dev/null
says '^built$' podman run --rm app
says '^0$' sh -c 'podman ps -aq | wc -l'

# Podman of an ordinary user: containers, networks, pods and builds without any right on the host.
as_user podman import busybox.tar busybox >/dev/null 2>&1
says '^true keel$' as_user podman info --format '{{.Host.Security.Rootless}} {{.Host.OCIRuntime.Name}}'
own=$(id -u keel-tests)
says "^0 0 $own 1$" as_user podman run --rm --network=none busybox sh -c 'echo $(id -u) $(head -n 1 /proc/self/uid_map)'
says "^uid=$own" as_user podman run --rm --network=none --userns=keep-id busybox id
fails 42 '' as_user podman run --rm --network=host busybox sh -c 'exit 42'
fails 127 'no such file or directory' as_user podman run --rm --network=none busybox /no/such
says 'inet 10\.0\.2\.100' as_user podman run --rm busybox ip addr show tap0

as_user podman run -d --name one -p 18080:80 busybox sh -c 'mkdir /www; echo served >/www/index.html; httpd -f -p 80 -h /www' >/dev/null
soon curl -sf http://127.0.0.1:18080/
says '^uid=7 gid=8' as_user podman exec -u 7:8 one id
says '^typed$' as_user sh -c 'echo typed | podman exec -i one cat'
as_user podman stop -t 0 one >/dev/null
says '^exited 137$' as_user podman inspect --format '{{.State.Status}} {{.State.ExitCode}}' one
as_user podman rm one >/dev/null

as_user podman pod create --name pod >/dev/null
as_user podman run -d --pod pod busybox sh -c 'mkdir /www; echo shared >/www/index.html; httpd -f -p 80 -h /www' >/dev/null
soon as_user podman run --rm --pod pod busybox wget -qO- http://127.0.0.1/
as_user podman pod rm -f -t 0 pod >/dev/null

mkdir context && printf 'FROM localhost/busybox\nRUN echo built >/made && chown 33:34 /made\n' >context/Dockerfile
as_user podman build -q --network=none -t app context >/dev/null
says '33 +34' as_user podman run --rm --network=none app ls -ln /made
says '^0$' sh -c 'ls "$0" | wc -l' "$LAB_FOLDER/user/runtime/keel"

# The first lesson: containers are run, looked at, entered, stopped and removed.
says '^keel$' docker info --format '{{.DefaultRuntime}}'
says '^hello$' docker run --rm busybox echo hello
fails 42 '' docker run --rm busybox sh -c 'exit 42'
fails 127 'no such file or directory' docker run --rm busybox /no/such
fails 126 'permission denied' docker run --rm busybox /etc/hosts
says '^1$' sh -c 'docker run --rm busybox /no/such 2>&1 | grep -c "/no/such"'

docker run -d --name ticker busybox sh -c 'while :; do echo tick; sleep 1; done' >/dev/null
says ticker docker ps --format '{{.Names}}'
soon sh -c 'docker logs ticker | grep tick'
says 'running' docker inspect --format '{{.State.Status}}' ticker
says 'sleep|tick' docker top ticker
says '^b 65534 /tmp$' docker exec -e A=b -u 65534 -w /tmp ticker sh -c 'echo $A $(id -u) $PWD'
says '^typed$' sh -c 'echo typed | docker exec -i ticker cat'
fails 7 '' docker exec ticker sh -c 'exit 7'

docker stop -t 1 ticker
says '^exited 137$' docker inspect --format '{{.State.Status}} {{.State.ExitCode}}' ticker
docker start ticker
docker restart -t 0 ticker
docker kill ticker
says '^137$' docker wait ticker
docker rename ticker tocker
docker rm tocker
says '^0$' sh -c 'docker ps -aq | wc -l'

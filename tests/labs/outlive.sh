# An engine that is killed: its containers go on, and are those of the next one (`live-restore`).
sed -i 's/^{/{"live-restore": true, /' "$LAB_FOLDER/daemon.json" && kill -HUP "$(cat /run/docker.pid)"
soon sh -c 'docker info --format "{{.LiveRestoreEnabled}}" | grep true'
docker run -d --name ticker -p 8080:80 -v "$PWD:/data" busybox sh -c 'while :; do date +%s%N >/data/next; mv /data/next /data/now; echo tick; sleep 0.2; done' >/dev/null
docker run -d --name brief -v "$PWD:/data" busybox sh -c 'while ! test -e /data/end; do sleep 0.2; done; exit 7' >/dev/null
docker run -d --name policy --restart always busybox sleep 1000 >/dev/null
process=$(docker inspect --format '{{.State.Pid}}' ticker)
soon test -s now

kill -9 "$(cat /run/docker.pid)" && soon sh -c '! docker version && ! pgrep -x containerd'
before=$(cat now) && touch end
soon sh -c "! grep -x $before now"
engine /run/docker && soon docker version
says "^running $process$" docker inspect --format '{{.State.Status}} {{.State.Pid}}' ticker
before=$(docker logs ticker | wc -l)
soon sh -c "[ \$(docker logs ticker | wc -l) -gt $before ]"
says '^here$' docker exec ticker echo here
says 'sleep|tick' docker top ticker
docker pause ticker && docker unpause ticker
# One ended while nobody looked: containerd 2's own shim does not keep what it ended with.
status=7 && [ "${ENGINE:-}" != newest ] || status='(7|255)'
soon sh -c "docker inspect --format '{{.State.Status}} {{.State.ExitCode}}' brief | grep -E '^exited $status$'"
docker restart -t 0 ticker && docker stop -t 1 ticker
says '^exited 137$' docker inspect --format '{{.State.Status}} {{.State.ExitCode}}' ticker
# One whose process dies is started again by the policy.
kill -9 "$(docker inspect --format '{{.State.Pid}}' policy)"
soon sh -c '[ "$(docker inspect --format "{{.RestartCount}} {{.State.Status}}" policy)" = "1 running" ]'
docker rm -f ticker brief policy

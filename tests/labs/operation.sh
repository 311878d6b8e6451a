# Looking after containers: counts, limits, pause, want of memory, restarts, health.
docker run -d --name work -m 64m busybox sleep 1000 >/dev/null
says '64MiB' docker stats --no-stream --format '{{.MemUsage}}' work
says 'sleep 1000' docker top work
docker update --memory 32m --memory-swap 32m --cpus 0.5 work >/dev/null
says '32MiB' docker stats --no-stream --format '{{.MemUsage}}' work
docker pause work
says '^paused$' docker inspect --format '{{.State.Status}}' work
docker unpause work
says '^running$' docker inspect --format '{{.State.Status}}' work

fails 137 '' docker run --name hungry -m 16m --memory-swap 16m busybox sh -c 'a=x; while :; do a=$a$a; done'
says '^true$' docker inspect --format '{{.State.OOMKilled}}' hungry
# A process beside the first one, which goes on.
fails 137 '' docker exec work sh -c 'a=x; while :; do a=$a$a; done'
soon sh -c 'docker events --since 1h --until 0s --filter container=work --filter event=oom | grep oom'
says '^running$' docker inspect --format '{{.State.Status}}' work
says '^0000000000000000$' docker run --rm --cap-drop ALL busybox sh -c "grep CapEff /proc/self/status | cut -f2"
fails 1 'not permitted' docker run --rm busybox unshare -U true

docker run -d --name again --restart on-failure:2 busybox sh -c 'exit 1' >/dev/null
soon sh -c '[ "$(docker inspect --format "{{.RestartCount}} {{.State.Status}}" again)" = "2 exited" ]'
docker run -d --name sick --health-cmd 'test -e /tmp/well' --health-interval 1s --health-retries 2 busybox sleep 1000 >/dev/null
soon sh -c '[ "$(docker inspect --format "{{.State.Health.Status}}" sick)" = unhealthy ]'
docker exec sick touch /tmp/well
soon sh -c '[ "$(docker inspect --format "{{.State.Health.Status}}" sick)" = healthy ]'

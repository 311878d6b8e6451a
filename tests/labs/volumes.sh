# Where data stays: named volumes, folders of the host, volumes of others, memory.
docker volume create shelf >/dev/null
docker run --rm -v shelf:/data busybox sh -c 'echo kept >/data/file'
says '^kept$' docker run --rm -v shelf:/data busybox cat /data/file
fails 1 'Read-only' docker run --rm -v shelf:/data:ro busybox touch /data/other
mkdir host && echo of the host >host/file
says '^of the host$' docker run --rm -v "$PWD/host:/data" busybox cat /data/file
docker run --rm -v "$PWD/host:/data" busybox sh -c 'echo of the container >/data/new'
says '^of the container$' cat host/new
docker run --name keeper -v /data busybox sh -c 'echo shared >/data/file'
says '^shared$' docker run --rm --volumes-from keeper busybox cat /data/file
docker rm -v keeper
says ' /memory type tmpfs .*size=1024k' docker run --rm --mount type=tmpfs,dst=/memory,tmpfs-size=1m busybox mount
fails 1 'Read-only' docker run --rm --read-only busybox touch /file
says shelf docker volume ls -q
docker volume rm shelf

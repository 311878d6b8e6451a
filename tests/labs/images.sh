# Images: diff, cp, commit, build with its cache, tag, push to a registry and pull from it, save and load.
docker run --name made busybox sh -c 'echo changed >/home/file'
says '^A /home/file$' docker diff made
echo from the host >file && docker cp file made:/home/other
docker cp made:/home/file back && says '^changed$' cat back
docker commit -c 'CMD ["cat", "/home/file", "/home/other"]' made kept:1 >/dev/null
says 'from the host' docker run --rm kept:1
says '^bin/busybox$' sh -c 'docker export made | tar t'

cat >Dockerfile <<'D'
FROM busybox
ARG who=nobody
RUN echo built for $who >/home/who
COPY file /home/file
WORKDIR /home
CMD ["cat", "who", "file"]
D
export DOCKER_BUILDKIT=0
docker build --build-arg who=you -t built:1 . >first
says 'built for you' docker run --rm built:1
docker build --build-arg who=you -t built:2 . >second
says '^5$' grep -c 'Using cache' second
says 'Running in' cat first

docker-registry serve <(printf 'version: 0.1\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: 127.0.0.1:5000}\n' "$PWD/registry") >/dev/null 2>&1 &
soon curl -fsS http://127.0.0.1:5000/v2/
docker tag built:1 127.0.0.1:5000/lab/built:1
says 'digest: sha256' docker push 127.0.0.1:5000/lab/built:1
docker rmi -f 127.0.0.1:5000/lab/built:1 built:1 built:2 >/dev/null
says 'Downloaded newer image|Pull complete' docker pull 127.0.0.1:5000/lab/built:1
says 'built for you' docker run --rm 127.0.0.1:5000/lab/built:1
docker save kept:1 -o kept.tar && docker rm made >/dev/null && docker rmi kept:1 >/dev/null
says 'kept:1' docker load -i kept.tar
says 'WORKDIR /home' docker history --no-trunc 127.0.0.1:5000/lab/built:1

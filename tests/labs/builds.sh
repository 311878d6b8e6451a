# Builds by the engine's own BuildKit, which runs what the PATH has as `runc`: mounts, networks, cache, faults, one that is given up.
cat >Dockerfile <<'D'
FROM busybox AS made
ARG who=nobody
WORKDIR /made
RUN echo made for $who >word && ls /sys/class/net >networks
RUN --network=none ls /sys/class/net >alone
RUN --mount=type=cache,target=/kept --mount=type=tmpfs,target=/memory --mount=type=secret,id=key,mode=0444 <<END
set -e
echo once more >>/kept/times && cp /kept/times .
grep ' /memory tmpfs' /proc/mounts >memory
stat -c %a /run/secrets/key >mode && wc -c </run/secrets/key >length
END
FROM busybox
RUN --mount=type=bind,from=made,source=/made,target=/from cat /from/word >/word && mkdir -m 777 /open
USER 33:33
RUN id -u >/open/own
COPY --from=made /made /made
CMD ["cat", "/word", "/made/times", "/open/own"]
D
echo secret >key
build() { docker build --progress plain --secret id=key,src=key "$@" .; }
says 'naming to' build -t built --build-arg who=you
says '^made for you$' docker run --rm built
says '^33$' docker run --rm built
says '^eth0$' docker run --rm built cat /made/networks
fails 1 '' docker run --rm built grep -v '^lo$' /made/alone
says '^/memory|memory tmpfs' docker run --rm built cat /made/memory
says '^444$' docker run --rm built cat /made/mode
says '^7$' docker run --rm built cat /made/length
fails 1 'No such file' docker run --rm built cat /run/secrets/key
says 'CACHED' build --build-arg who=you
says 'naming to' build -t built --build-arg who=them
says '^2$' docker run --rm built grep -c 'once more' /made/times
says exporting build --target made --output type=local,dest=out
says '^made for nobody$' cat out/made/word

fails 1 'exit code: 3' docker build - <<<$'FROM busybox\nRUN exit 3'
fails 1 'no such file or directory' docker build - <<<$'FROM busybox\nRUN ["/no/such"]'
# It is keel that runs it, and that ends it when it is no longer wanted.
docker build - <<<$'FROM busybox\nRUN touch /begun; exec sleep 1000' >/dev/null 2>&1 &
runs() { cmp "/proc/$(pgrep -fo '^runc .* run ')/exe" "$keel" && pgrep -f '^sleep 1000'; }
soon runs
kill $! && soon sh -c '! pgrep -f "^runc .* run |^sleep 1000"'

# The ways to name a shim: by its type in the engine's configuration and on the command line, by its path, and with options.

# What a container's shim is: the process that its process is the child of.
shim_of() { readlink "/proc/$(ps -o ppid= "$(docker inspect --format '{{.State.Pid}}' "$1")" | tr -d ' ')/exe"; }
of_keel() {
    docker run -d --name server "$@" busybox sleep 1000 >/dev/null
    says "^$shim$" shim_of server
    says '^sleep 1000$' docker exec server sh -c 'tr "\0" " " </proc/1/cmdline | sed "s/ $//"'
    docker rm -f server >/dev/null
}
of_keel
of_keel --runtime io.containerd.keel.v2

# A runtime of its own, which the shim is told by a file: this one leaves a trace of what it was asked.
printf '#!/bin/sh\necho "$@" >>%s/asked\nexec keel "$@"\n' "$PWD" >traced && chmod +x traced
printf 'BinaryName = "%s/traced"\nRoot = "%s/root"\n' "$PWD" "$PWD" >options.toml
cat >"$LAB_FOLDER/daemon.json" <<J
{"default-runtime": "keel", "runtimes": {
  "keel": {"runtimeType": "io.containerd.keel.v2"},
  "placed": {"runtimeType": "$shim"},
  "told": {"runtimeType": "io.containerd.keel.v2", "options": {"TypeUrl": "keel", "ConfigPath": "$PWD/options.toml"}}
}}
J
kill -HUP "$(cat /run/docker.pid)"
soon sh -c 'docker info --format "{{json .Runtimes}}" | grep told'
of_keel --runtime placed
fails 1 '' test -e asked
of_keel --runtime told
says "^--root $PWD/root/moby .*create " cat asked

# Docker's own is there beside it, on keel as `runc`.
docker run -d --name server --runtime runc busybox sleep 1000 >/dev/null
says '/containerd-shim-runc-v2$' shim_of server

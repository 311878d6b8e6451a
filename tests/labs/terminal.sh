# Interactive shells: a terminal of one's own, left by its detach keys and entered again. script(1) plays the terminal.
at_terminal() { script -qec "$1" /dev/null; }
says '/dev/pts/0' at_terminal 'docker run -it --rm busybox tty'
says '^got typed' sh -c "(sleep 2; echo typed; sleep 1) | script -qec 'docker run -it --rm busybox sh -c \"read line; echo got \\\$line\"' /dev/null"

# ctrl-p ctrl-q leaves the shell behind, running.
(sleep 3; printf '\020\021'; sleep 1) | at_terminal 'docker run -it --name shell busybox' >/dev/null || true
says '^true$' docker inspect --format '{{.State.Running}}' shell
(sleep 1; echo 'echo $((6*7))'; sleep 1; printf '\020\021'; sleep 1) | at_terminal 'docker attach shell' >attached || true
says '^42' cat attached
says '^true$' docker inspect --format '{{.State.Running}}' shell

# `exit` ends it.
(sleep 1; echo 'exit 3'; sleep 1) | at_terminal 'docker attach shell' >/dev/null || true
says '^3$' docker wait shell
docker run -d --name server busybox sleep 1000 >/dev/null
says '/dev/pts/0' at_terminal 'docker exec -it server tty'

# Swarm: three engines, a service that is scaled, updated and rolled back, and a node that dies.
# The kernel may lack IPVS, so services have names by DNS (`--endpoint-mode dnsrr`) and ports of their hosts
# (`mode=host`) in place of virtual addresses and the routing mesh.
ip link add lan type bridge && ip addr add 10.77.0.1/24 dev lan && ip link set lan up
iptables -I FORWARD -i lan -o lan -j ACCEPT
for number in 2 3; do
    ip netns add node$number && ip link add lan$number type veth peer name eth0 netns node$number
    ip link set lan$number master lan up
    for words in "addr add 10.77.0.$number/24 dev eth0" "link set eth0 up" "link set lo up"; do ip -n node$number $words; done
    engine /run/node$number nsenter --net=/run/netns/node$number unshare --uts sh -c "hostname node$number; exec \"\$@\"" sh
    soon docker --host unix:///run/node$number.sock version
    docker save busybox | docker --host unix:///run/node$number.sock load -q >/dev/null
done
docker swarm init --advertise-addr 10.77.0.1 >/dev/null
token=$(docker swarm join-token -q worker)
for number in 2 3; do docker --host unix:///run/node$number.sock swarm join --token "$token" --advertise-addr 10.77.0.$number 10.77.0.1:2377; done
says '^3$' sh -c 'docker node ls -q | wc -l'

running() { test "$(docker service ps "$1" --filter desired-state=running --format '{{.CurrentState}}' | grep -c Running)" = "$2"; }
spec() { docker service inspect --format '{{json .Spec.TaskTemplate.ContainerSpec.Env}}' web; }
docker network create --driver overlay --attachable wide >/dev/null
docker service create -d --name web --replicas 2 --network wide --endpoint-mode dnsrr --no-resolve-image \
    --publish mode=host,published=8082,target=80 busybox httpd -f -h /etc >/dev/null
soon running web 2
docker service create -d --name work --replicas 2 --no-resolve-image busybox sleep 1000 >/dev/null
docker service scale -d work=6 && soon running work 6
says 'Address' docker run --rm --network wide busybox nslookup tasks.web
docker service update -d --no-resolve-image --env-add STEP=2 --update-parallelism 1 web >/dev/null
soon sh -c '[ "$(docker service inspect --format "{{.UpdateStatus.State}}" web)" = completed ]'
says 'STEP=2' spec && soon running web 2
docker service rollback -d web >/dev/null
says '^null$' spec && soon running web 2

tasks() { docker service ps work --filter desired-state=running --format '{{.Node}}'; }
says '^node3$' tasks
kill -9 "$(cat /run/node3.pid)" && ip link del lan3
soon sh -c 'docker node ls --format "{{.Hostname}} {{.Status}}" | grep "node3 Down"'
elsewhere() { running work 6 && ! tasks | grep -q node3; }
soon elsewhere
docker service rm web work >/dev/null

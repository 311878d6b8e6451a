# Servers and networks: published ports, links, names on networks of one's own, none, host, connect and disconnect.
page() { docker run -d --name "$1" "${@:2}" busybox sh -c "mkdir /www; echo page of $1 >/www/index.html; exec httpd -f -h /www" >/dev/null; }
get() { docker run --rm "${@:2}" busybox wget -qO- "http://$1/"; }

page web -p 8080:80
soon curl -fsS http://127.0.0.1:8080/
says '^page of web$' curl -fsS http://127.0.0.1:8080/
says ':8080$' docker port web 80
address=$(docker inspect --format '{{.NetworkSettings.IPAddress}}' web)
says '^page of web$' get "$address"
says '^page of web$' get site --link web:site
says 'SITE_PORT|SITE_NAME' docker run --rm --link web:site busybox env

docker network create lab >/dev/null
page inner --network lab --network-alias alias
says inner docker network inspect lab
own=$(docker inspect --format '{{.NetworkSettings.Networks.lab.IPAddress}}' inner)
soon get "$own" --network lab
says "$own" docker run --rm --network lab busybox nslookup inner
says "$own" docker run --rm --network lab busybox nslookup alias
fails 1 '' docker run --rm busybox timeout 3 nc -w 2 "$own" 80
docker network connect lab web
says '^page of inner$' docker exec web wget -qO- "http://$own/"
docker network disconnect lab web
says '1 packets received|1 received' docker run --rm --network lab busybox ping -c 1 -W 2 "$own"

says '^lo$' docker run --rm --network none busybox ls /sys/class/net
says 'docker0' docker run --rm --network host busybox ls /sys/class/net
says '^page of web$' docker run --rm --network container:web busybox wget -qO- http://127.0.0.1/

# Compose: two services that know each other by name, scaled, looked at, and taken down.
cat >docker-compose.yml <<'Y'
services:
  web:
    image: busybox
    command: sh -c "mkdir /www; echo page >/www/index.html; exec httpd -f -h /www"
    ports: ["8081:80"]
  worker:
    image: busybox
    command: sh -c "while :; do nslookup web | grep -A1 Name; sleep 1; done"
    depends_on: [web]
    volumes: ["shelf:/data"]
volumes: {shelf: {}}
Y
export COMPOSE_PROJECT_NAME=lab
says 'lab.web.1' docker-compose up -d
soon curl -fsS http://127.0.0.1:8081/
says 'Up' docker-compose ps web
soon sh -c 'docker-compose logs worker | grep "Address.*172\."'
says '^inside$' docker-compose exec -T web echo inside
says '^once$' docker-compose run --rm worker echo once
docker-compose up -d --scale worker=3 >scaled 2>&1
says '^3$' sh -c 'docker-compose ps -q worker | wc -l'
docker-compose restart -t 0 web
soon curl -fsS http://127.0.0.1:8081/
docker-compose down -v -t 0
says '^0$' sh -c 'docker ps -aq | wc -l'
fails 1 'No such volume|no such volume' docker volume inspect lab_shelf

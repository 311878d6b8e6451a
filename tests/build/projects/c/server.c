/* Answers every request with one page. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "page.h"

static void end(int number) { (void)number; _exit(0); }

int main(int count, char **words)
{
    if (count != 2) return 2;
    if (strcmp(words[1], "--page") == 0) return fputs(page(), stdout) < 0;
    signal(SIGTERM, end);
    signal(SIGPIPE, SIG_IGN);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(atoi(words[1])) };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16)) {
        perror("server");
        return 1;
    }
    for (;;) {
        char text[2048];
        int client = accept(listener, NULL, NULL);
        if (client < 0 || read(client, text, sizeof text) <= 0) { close(client); continue; }
        dprintf(client, "HTTP/1.0 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(page()), page());
        close(client);
    }
}

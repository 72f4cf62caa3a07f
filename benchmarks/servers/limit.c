/*
 * The limit of what a server can reach with one send() per recipient: it writes a ready frame to
 * all its connections, and understands just as much of HTTP and Socket.IO as the load generator
 * needs. Prints the address it listens on.
 *
 *   POST …/broadcast/…            the frame to every connection
 *   POST /bench/emit?rounds=<n>   the same, n times
 *   POST anything else            the frame to one connection, each time the next one
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

struct connection {
    int fd, messages, place; /* place: among the recipients, -1 for HTTP */
    size_t length;
    char input[4096];
};

static struct connection *recipients[1 << 16];
static int recipient_count, next_recipient, epoll_fd;
static char event[4096];
static size_t event_length;

static size_t frame_of(char *frame, const char *text)
{
    size_t length = strlen(text), at = 2;
    frame[0] = (char)0x81;
    frame[1] = length < 126 ? length : 126;
    if (length > 125) {
        frame[2] = length >> 8;
        frame[3] = length;
        at = 4;
    }
    memcpy(frame + at, text, length);
    return at + length;
}

static void put(int fd, const char *bytes, size_t length)
{
    while (send(fd, bytes, length, MSG_NOSIGNAL) < 0 && errno == EINTR)
        ;
}

static void say(int fd, const char *text)
{
    char frame[512];
    put(fd, frame, frame_of(frame, text));
}

static void upgrade(struct connection *one)
{
    static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\n"
                                 "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    put(one->fd, answer, sizeof answer - 1);
    say(one->fd, "0{\"sid\":\"0\",\"upgrades\":[],\"pingInterval\":25000,"
                 "\"pingTimeout\":20000,\"maxPayload\":1000000}");
    one->place = recipient_count;
    recipients[recipient_count++] = one;
    one->length = 0;
}

/* The first message of a client is its CONNECT; any other is a joinRoom. */
static void answer_message(struct connection *one)
{
    say(one->fd, one->messages++ ? "42[\"roomJoined\",{}]" : "40{\"sid\":\"0\"}");
    one->length = 0;
}

static void answer_request(struct connection *one)
{
    static const char created[] = "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n"
                                  "Content-Length: 16\r\n\r\n{\"success\":true}";
    char *body = strstr(one->input, "\r\n\r\n");
    char *length = strcasestr(one->input, "Content-Length:");
    if (!body || !length || strlen(body + 4) < strtoul(length + 15, NULL, 10))
        return;
    if (!event_length) {
        char text[2048];
        snprintf(text, sizeof text, "42[\"orderUpdated\",%.1900s]", body + 4);
        event_length = frame_of(event, text);
    }
    char *rounds_at = strstr(one->input, "/bench/emit?rounds=");
    int rounds = rounds_at ? atoi(rounds_at + 19) : strstr(one->input, "/broadcast/") ? 1 : 0;
    for (int round = 0; round < rounds; round++)
        for (int i = 0; i < recipient_count; i++)
            put(recipients[i]->fd, event, event_length);
    if (!rounds && recipient_count)
        put(recipients[next_recipient++ % recipient_count]->fd, event, event_length);
    one->length = 0;
    put(one->fd, created, sizeof created - 1);
}

static void read_from(struct connection *one)
{
    ssize_t got = recv(one->fd, one->input + one->length, sizeof one->input - 1 - one->length, 0);
    if (got <= 0) {
        if (one->place >= 0) {
            recipients[one->place] = recipients[--recipient_count];
            recipients[one->place]->place = one->place;
        }
        close(one->fd);
        free(one);
        return;
    }
    one->length += got;
    one->input[one->length] = 0;
    if (one->place >= 0)
        answer_message(one);
    else if (!strncmp(one->input, "GET ", 4))
        upgrade(one);
    else
        answer_request(one);
}

int main(void)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 1024))
        return 1;
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("http://127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    epoll_fd = epoll_create1(0);
    struct epoll_event interest = {.events = EPOLLIN}, ready[256];
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &interest);
    for (;;) {
        int count = epoll_wait(epoll_fd, ready, 256, -1);
        for (int i = 0; i < count; i++) {
            if (ready[i].data.ptr) {
                read_from(ready[i].data.ptr);
                continue;
            }
            struct connection *one = calloc(1, sizeof *one);
            one->fd = accept(listener, NULL, NULL);
            one->place = -1;
            setsockopt(one->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
            interest.data.ptr = one;
            epoll_ctl(epoll_fd, EPOLL_CTL_ADD, one->fd, &interest);
        }
    }
}

/*
 * The load generator: thousands of Socket.IO clients over WebSocket, and HTTP triggers, from one
 * thread. It is told what to do by lines on standard input, fields parted by tabs, and answers each
 * with one line of JSON on standard output.
 *
 *   connect <clients> <at once> <room size>   joins room-<n / room size>; a room size of 0 joins none
 *   announced <events>                        wait until so many clientJoined have come in all
 *   disconnect <clients>                      cut off those that connected last
 *   stall <clients>                           of those that connected last, stop reading
 *   trigger <seconds> <most> <in flight> <deliveries each> <path> <body>
 *   pace <seconds> <a second> <deliveries each> <path> <body>
 *   say <seconds> <talkers> <message>         some say `message`, and again after their echo
 *
 * `{client}` and `{room}` in a path or a body stand for the next client's id and the next room. A
 * trigger is sent when a connection is free and not more deliveries are outstanding than the
 * triggers in flight make, so that nothing piles up in the server. `most` 0 is without limit. `pace`
 * sends at even times instead, whatever is outstanding; a receipt's time counts from when its trigger
 * was due. Of several servers, client and trigger take the next one each time.
 *
 * It counts frames and looks into no more than their beginning. Where a body begins with
 * `{"number":{number}`, each event has a number, and what a client gets twice is told apart.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PEEK = 96, MAX_HEADER = 10, MAX_IN_FLIGHT = 256, ID_LENGTH = 32, MAX_SERVERS = 8 };
enum { PACED_AT_ONCE = 64 };
enum { CLIENTS_PER_ADDRESS = 25000 }; /* ports of one source address, with room to spare */
static const double GRACE_SECONDS = 20;
static const double SECOND_COPY_SECONDS = 0.5; /* so long after the last event a copy is waited for */

enum kind { COMMANDS, CLIENT, TRIGGER };
enum state { UPGRADING, OPENING, CONNECTING, JOINING, READY, GONE };

struct client {
    enum kind kind;
    enum state state;
    int fd;
    int room;                /* -1: none */
    int newlines;            /* of the blank line that ends the answer to the upgrade */
    uint64_t skip;           /* what is left of a frame whose beginning was seen */
    size_t known;
    uint8_t beginning[MAX_HEADER + PEEK];
    char id[ID_LENGTH];
    uint8_t *seen;           /* a bit for each number of an event */
    size_t seen_size;
};

struct trigger {
    enum kind kind;
    int fd;
    bool is_busy;
    double due_at;
    size_t length;
    char answer[1 << 16];
};

static struct {
    long joined_rooms, announced, delivered, twice, partial, echoed, closed;
} count;

static struct sockaddr_in servers[MAX_SERVERS];
static int server_count;
static int epoll_fd;
static struct client **clients;
static int client_count, clients_capacity, ready_count, rooms;
static struct trigger triggers[MAX_IN_FLIGHT];
static int trigger_count;
static int next_client, next_room;
static long next_number;

static long answered, sent;
static int last_status;
static double sent_at;
static bool keeps_latencies;
static struct times {
    float *seconds;
    size_t count, capacity;
} deliveries_took, receipts_took;

static bool is_talking;
static uint8_t *utterance;
static size_t utterance_length;

static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static double cpu(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void *resized(void *block, size_t size)
{
    block = realloc(block, size);
    if (!block)
        die("out of memory");
    return block;
}

/* Writing */

static bool send_all(int fd, const void *bytes, size_t length)
{
    const char *rest = bytes;
    while (length) {
        ssize_t written = send(fd, rest, length, MSG_NOSIGNAL);
        if (written < 0 && errno != EINTR)
            return false;
        if (written > 0) {
            rest += written;
            length -= written;
        }
    }
    return true;
}

/* A masked text frame, as a client sends it. A mask of zeros would spare some servers their work. */
static size_t frame_of(uint8_t *frame, const char *text)
{
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    size_t length = strlen(text), at = 2;
    frame[0] = 0x81;
    if (length < 126) {
        frame[1] = 0x80 | length;
    } else {
        frame[1] = 0x80 | 126;
        frame[2] = length >> 8;
        frame[3] = length;
        at = 4;
    }
    memcpy(frame + at, mask, 4);
    at += 4;
    for (size_t i = 0; i < length; i++)
        frame[at + i] = text[i] ^ mask[i & 3];
    return at + length;
}

static void say_text(struct client *client, const char *text)
{
    uint8_t frame[256];
    send_all(client->fd, frame, frame_of(frame, text));
}

/* Clients */

static void watch(int fd, void *item)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = item};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event))
        die("epoll_ctl: %s", strerror(errno));
}

static int connected_socket(int number)
{
    struct sockaddr_in *server = &servers[number % server_count];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
    if (fd < 0)
        die("socket: %s", strerror(errno));
    struct sockaddr_in source = {.sin_family = AF_INET};
    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + number / CLIENTS_PER_ADDRESS);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&source, sizeof source) ||
        connect(fd, (struct sockaddr *)server, sizeof *server))
        die("connect: %s", strerror(errno));
    return fd;
}

static void begin_client(int size)
{
    static const char upgrade[] =
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n"
        "Host: localhost\r\n"
        "User-Agent: gtower-bench\r\n"
        "Connection: Upgrade\r\n"
        "Upgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    struct client *client = resized(NULL, sizeof *client);
    memset(client, 0, sizeof *client);
    client->kind = CLIENT;
    client->room = size ? client_count / size : -1;
    client->fd = connected_socket(client_count);
    if (client_count == clients_capacity) {
        clients_capacity = clients_capacity ? 2 * clients_capacity : 1024;
        clients = resized(clients, clients_capacity * sizeof *clients);
    }
    clients[client_count++] = client;
    watch(client->fd, client);
    send_all(client->fd, upgrade, sizeof upgrade - 1);
}

static void lose(struct client *client)
{
    if (client->state == GONE)
        return;
    if (client->state != READY)
        die("a connection was closed before it was ready");
    client->state = GONE;
    close(client->fd);
    count.closed++;
}

static void become_ready(struct client *client)
{
    client->state = READY;
    ready_count++;
}

static void connected(struct client *client, const char *text)
{
    const char *id = strstr(text, "\"sid\":\"");
    if (!id || sscanf(id + 7, "%31[^\"]", client->id) != 1)
        die("not a CONNECT: %s", text);
    if (client->room < 0) {
        become_ready(client);
        return;
    }
    char join[64];
    snprintf(join, sizeof join, "42[\"joinRoom\",\"room-%d\"]", client->room);
    client->state = JOINING;
    say_text(client, join);
}

static void keep_time(struct times *times, double since)
{
    if (times->count == times->capacity) {
        times->capacity = times->capacity ? 2 * times->capacity : 1 << 16;
        times->seconds = resized(times->seconds, times->capacity * sizeof *times->seconds);
    }
    times->seconds[times->count++] = now() - since;
}

static bool begins(const char *text, const char *with)
{
    return !strncmp(text, with, strlen(with));
}

/* Whether an event has a number that this client has had before. */
static bool is_known(struct client *client, const char *event)
{
    long number;
    if (sscanf(event, "orderUpdated\",{\"number\":%ld", &number) != 1 || number < 0)
        return false;
    size_t at = number / 8, bit = 1 << number % 8;
    if (at >= client->seen_size) {
        size_t size = 2 * at + 64;
        client->seen = resized(client->seen, size);
        memset(client->seen + client->seen_size, 0, size - client->seen_size);
        client->seen_size = size;
    }
    bool was_seen = client->seen[at] & bit;
    client->seen[at] |= bit;
    return was_seen;
}

static void take_event(struct client *client, const char *event)
{
    if (begins(event, "orderUpdated\"") || begins(event, "messageBroadcast\"")) {
        if (is_known(client, event)) {
            count.twice++;
            return;
        }
        count.delivered++;
        if (keeps_latencies)
            keep_time(&deliveries_took, sent_at);
    } else if (begins(event, "messageReceived\"")) {
        count.echoed++;
        if (is_talking && send_all(client->fd, utterance, utterance_length))
            sent++;
    } else if (begins(event, "clientJoined\"")) {
        count.announced++;
    } else if (begins(event, "roomJoined\"")) {
        count.joined_rooms++;
        if (client->state == JOINING)
            become_ready(client);
    } else if (!begins(event, "connected\"") && !begins(event, "clientLeft\"")) {
        die("an event that was not asked for: %s", event);
    }
}

/* `text` is the beginning of a frame's content, with a NUL behind it. */
static void take_frame(struct client *client, int opcode, const char *text)
{
    if (opcode == 8) {
        lose(client);
    } else if (begins(text, "42[\"")) {
        take_event(client, text + 4);
    } else if (text[0] == '2') {
        say_text(client, "3");
    } else if (text[0] == '0' && client->state == OPENING) {
        client->state = CONNECTING;
        say_text(client, "40");
    } else if (begins(text, "40") && client->state == CONNECTING) {
        connected(client, text);
    } else if (text[0] != '6') {
        die("a packet that was not asked for: %s", text);
    }
}

/* How much of a frame has to be there to know it: its header and the first bytes of its content. */
static size_t wanted(const uint8_t *bytes, size_t have, uint64_t *rest)
{
    size_t header = 2;
    if (have < 2)
        return 2;
    uint64_t length = bytes[1] & 0x7f;
    if (length > 125) {
        header += length == 126 ? 2 : 8;
        if (have < header)
            return header;
        length = 0;
        for (size_t i = 2; i < header; i++)
            length = length << 8 | bytes[i];
    }
    size_t seen = length < PEEK ? length : PEEK;
    *rest = length - seen;
    return header + seen;
}

static void take_known(struct client *client, const uint8_t *frame, size_t length)
{
    char text[PEEK + 1];
    size_t header = (frame[1] & 0x7f) < 126 ? 2 : (frame[1] & 0x7f) == 126 ? 4 : 10;
    memcpy(text, frame + header, length - header);
    text[length - header] = 0;
    take_frame(client, frame[0] & 0x0f, text);
}

static const uint8_t *take_upgrade(struct client *client, const uint8_t *at, const uint8_t *end)
{
    for (; at < end && client->state == UPGRADING; at++) {
        if (client->known < 12)
            client->beginning[client->known++] = *at;
        client->newlines = *at == '\n' ? client->newlines + 1 : *at == '\r' ? client->newlines : 0;
        if (client->newlines == 2) {
            if (memcmp(client->beginning, "HTTP/1.1 101", 12))
                die("not upgraded: %.12s", client->beginning);
            client->known = 0;
            client->state = OPENING;
        }
    }
    return at;
}

static void take_bytes(struct client *client, const uint8_t *at, const uint8_t *end)
{
    if (client->state == UPGRADING)
        at = take_upgrade(client, at, end);
    while (at < end && client->state != GONE) {
        size_t have = end - at;
        if (client->skip) {
            size_t skipped = client->skip < have ? client->skip : have;
            client->skip -= skipped;
            at += skipped;
            continue;
        }
        uint64_t rest = 0;
        if (!client->known) {
            size_t want = wanted(at, have, &rest);
            if (have >= 2 && want <= have) {
                take_known(client, at, want);
                client->skip = rest;
                at += want;
                continue;
            }
        }
        client->beginning[client->known++] = *at++;
        size_t want = wanted(client->beginning, client->known, &rest);
        if (client->known >= 2 && want == client->known) {
            client->known = 0;
            client->skip = rest;
            take_known(client, client->beginning, want);
        }
    }
}

static void read_client(struct client *client)
{
    static uint8_t buffer[1 << 18];
    ssize_t got = recv(client->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (got > 0)
        take_bytes(client, buffer, buffer + got);
    else if (got == 0 || (errno != EAGAIN && errno != EINTR))
        lose(client);
}

/* Triggers */

static void read_trigger(struct trigger *trigger)
{
    size_t room = sizeof trigger->answer - 1 - trigger->length;
    ssize_t got = recv(trigger->fd, trigger->answer + trigger->length, room, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        if (trigger->is_busy)
            die("the server has closed an HTTP connection instead of answering");
        close(trigger->fd); /* it was idle for too long; the next command opens another */
        trigger->fd = -1;
        return;
    }
    trigger->length += got;
    trigger->answer[trigger->length] = 0;
    const char *body = strstr(trigger->answer, "\r\n\r\n");
    if (!body)
        return;
    const char *length = strcasestr(trigger->answer, "\r\nContent-Length:");
    if (!length || length > body)
        die("an answer without Content-Length");
    size_t whole = body + 4 - trigger->answer + strtoul(length + 17, NULL, 10);
    if (whole >= sizeof trigger->answer)
        die("an answer that is too long");
    if (trigger->length < whole)
        return;
    int status = atoi(trigger->answer + 9);
    if (last_status == 0 || last_status / 100 == 2)
        last_status = status;
    if (strstr(body, "\"partial\":true"))
        count.partial++;
    keep_time(&receipts_took, trigger->due_at);
    trigger->length = 0;
    trigger->is_busy = false;
    answered++;
}

static size_t filled(char *to, const char *template)
{
    char *at = to;
    while (*template) {
        if (begins(template, "{client}")) {
            at += sprintf(at, "%s", clients[next_client++ % client_count]->id);
            template += 8;
        } else if (begins(template, "{room}")) {
            at += sprintf(at, "room-%d", next_room++ % rooms);
            template += 6;
        } else if (begins(template, "{number}")) {
            at += sprintf(at, "%ld", next_number++);
            template += 8;
        } else {
            *at++ = *template++;
        }
    }
    *at = 0;
    return at - to;
}

static void send_trigger(struct trigger *trigger, double due_at, const char *path, const char *body)
{
    static char filled_path[4096], *filled_body, *request;
    static size_t capacity;
    size_t needed = 4 * strlen(body) + 8192;
    if (needed > capacity) {
        capacity = needed;
        filled_body = resized(filled_body, capacity);
        request = resized(request, capacity);
    }
    filled(filled_path, path);
    size_t length = filled(filled_body, body);
    int size = sprintf(request,
                       "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                       "Content-Length: %zu\r\n\r\n%s",
                       filled_path, length, filled_body);
    trigger->is_busy = true;
    sent++;
    sent_at = now();
    trigger->due_at = due_at;
    if (!send_all(trigger->fd, request, size))
        die("the server does not take a trigger");
}

static void open_triggers(int wanted_count)
{
    for (; trigger_count < wanted_count; trigger_count++)
        triggers[trigger_count] = (struct trigger){.kind = TRIGGER, .fd = -1};
    for (int i = 0; i < wanted_count; i++) {
        if (triggers[i].fd < 0) {
            triggers[i].fd = connected_socket(i % server_count);
            watch(triggers[i].fd, &triggers[i]);
        }
    }
}

/* The loop */

static bool commands_wait;

static void turn(int milliseconds)
{
    struct epoll_event events[512];
    int ready = epoll_wait(epoll_fd, events, 512, milliseconds);
    for (int i = 0; i < ready; i++) {
        enum kind *kind = events[i].data.ptr;
        if (*kind == CLIENT)
            read_client(events[i].data.ptr);
        else if (*kind == TRIGGER)
            read_trigger(events[i].data.ptr);
        else
            commands_wait = true;
    }
}

static struct {
    double began, cpu;
} measured;

static void begin_measuring(void)
{
    measured.began = now();
    measured.cpu = cpu();
    sent = answered = last_status = 0;
    count.delivered = count.twice = count.partial = count.echoed = 0;
    receipts_took.count = 0;
}

/* Of sorted times, in microseconds, the one that a part of so many parts exceeds; of 0: none. */
static double share(const struct times *times, size_t parts)
{
    size_t above = parts ? times->count / parts : 0;
    return times->count ? times->seconds[times->count - 1 - above] * 1e6 : 0;
}

static int by_size(const void *one, const void *other)
{
    float difference = *(const float *)one - *(const float *)other;
    return (difference > 0) - (difference < 0);
}

static void report(long deliveries, long expected)
{
    double seconds = now() - measured.began;
    double used = cpu() - measured.cpu;
    qsort(deliveries_took.seconds, deliveries_took.count, sizeof(float), by_size);
    qsort(receipts_took.seconds, receipts_took.count, sizeof(float), by_size);
    printf("{\"sent\":%ld,\"status\":%d,\"deliveries\":%ld,\"expected\":%ld,\"seconds\":%.6f,"
           "\"cpu_seconds\":%.6f,\"closed\":%ld,\"p50_us\":%.1f,\"p99_us\":%.1f,"
           "\"twice\":%ld,\"partial\":%ld,\"receipt_p50_us\":%.1f,\"receipt_p99_us\":%.1f,"
           "\"receipt_worst_us\":%.1f}\n",
           sent, last_status, deliveries, expected, seconds, used, count.closed,
           share(&deliveries_took, 2), share(&deliveries_took, 100), count.twice, count.partial,
           share(&receipts_took, 2), share(&receipts_took, 100), share(&receipts_took, 0));
    fflush(stdout);
}

/* Commands */

static void do_connect(int more, int at_once, int size)
{
    int first = ready_count, begun = 0;
    double deadline = now() + GRACE_SECONDS + more / 100.0;
    begin_measuring();
    while (ready_count - first < more) {
        while (begun < more && begun - (ready_count - first) < at_once) {
            begin_client(size);
            begun++;
        }
        turn(100);
        if (now() > deadline)
            die("only %d of %d clients are connected", ready_count - first, more);
    }
    rooms = size ? (client_count + size - 1) / size : 0;
    report(ready_count - first, more);
}

static void do_announced(long expected)
{
    double deadline = now() + 5 * GRACE_SECONDS;
    begin_measuring();
    while (count.announced < expected && now() < deadline)
        turn(100);
    report(count.announced, expected);
}

static void do_disconnect(int fewer)
{
    begin_measuring();
    for (int i = 0; i < fewer && client_count; i++) {
        struct client *client = clients[--client_count];
        if (client->state != GONE)
            close(client->fd);
        free(client->seen);
        free(client);
        ready_count--;
    }
    count.announced = 0;
    report(fewer, fewer);
}

static void do_stall(int some)
{
    begin_measuring();
    for (int i = client_count - some; i < client_count; i++)
        epoll_ctl(epoll_fd, EPOLL_CTL_DEL, clients[i]->fd, NULL);
    report(0, 0);
}

static void do_trigger(double seconds, long most, int in_flight, long each, char *path, char *body)
{
    /* One at a time goes to each server in its turn. */
    int connections = in_flight < server_count ? server_count : in_flight;
    open_triggers(connections);
    deliveries_took.count = 0;
    keeps_latencies = in_flight == 1;
    begin_measuring();
    double until = now() + seconds, deadline = until + GRACE_SECONDS;
    for (;;) {
        double moment = now();
        bool goes_on = moment < until && (!most || sent < most) &&
                       (last_status == 0 || last_status / 100 == 2);
        for (int i = 0, first = sent % connections; i < connections && goes_on; i++) {
            struct trigger *trigger = &triggers[(first + i) % connections];
            bool has_room = (sent + 1) * each - count.delivered <= in_flight * each &&
                            sent - answered < in_flight;
            if (!trigger->is_busy && has_room && (!most || sent < most))
                send_trigger(trigger, now(), path, body);
        }
        if (!goes_on && answered == sent &&
            (count.delivered >= sent * each || last_status / 100 != 2 || moment > deadline))
            break;
        if (moment > deadline + GRACE_SECONDS)
            die("%ld triggers are not answered", sent - answered);
        turn(100);
    }
    keeps_latencies = false;
    report(count.delivered, sent * each);
}

static struct trigger *free_trigger(int server)
{
    for (int i = server; i < PACED_AT_ONCE; i += server_count)
        if (!triggers[i].is_busy && triggers[i].fd >= 0)
            return &triggers[i];
    return NULL;
}

static void do_pace(double seconds, double rate, long each, char *path, char *body)
{
    open_triggers(PACED_AT_ONCE);
    begin_measuring();
    double began = measured.began, deadline = began + seconds + GRACE_SECONDS, complete_at = 0;
    long all = seconds * rate;
    for (;;) {
        double moment = now(), due_at;
        bool goes_on = sent < all && (last_status == 0 || last_status / 100 == 2);
        while (goes_on && sent < all && (due_at = began + sent / rate) <= moment) {
            struct trigger *trigger = free_trigger(sent % server_count);
            if (!trigger)
                break;
            send_trigger(trigger, due_at, path, body);
        }
        if (!goes_on && answered == sent && count.delivered >= sent * each && !complete_at)
            complete_at = moment;
        if (complete_at && moment > complete_at + SECOND_COPY_SECONDS)
            break;
        if (moment > deadline && answered == sent)
            break;
        if (moment > deadline + GRACE_SECONDS)
            die("%ld triggers are not answered", sent - answered);
        turn(1);
    }
    report(count.delivered, sent * each);
}

static void do_say(double seconds, int talkers, char *message)
{
    size_t size = strlen(message) + 32;
    char *packet = resized(NULL, size);
    snprintf(packet, size, "42[\"message\",%s]", message);
    utterance = resized(utterance, size + 16);
    utterance_length = frame_of(utterance, packet);
    free(packet);
    begin_measuring();
    double until = now() + seconds, deadline = until + GRACE_SECONDS;
    is_talking = true;
    for (int i = 0; i < talkers && i < client_count; i++)
        if (send_all(clients[i]->fd, utterance, utterance_length))
            sent++;
    for (;;) {
        turn(100);
        double moment = now();
        is_talking = moment < until;
        bool is_complete = count.echoed == sent && count.delivered >= sent * (client_count - 1);
        if (!is_talking && (is_complete || moment > deadline))
            break;
    }
    report(count.delivered + count.echoed, sent * client_count);
}

static void obey(char *line)
{
    char *field[8] = {0};
    for (int i = 0; i < 8; i++)
        field[i] = line ? strsep(&line, "\t") : "";
    if (!strcmp(field[0], "connect"))
        do_connect(atoi(field[1]), atoi(field[2]), atoi(field[3]));
    else if (!strcmp(field[0], "announced"))
        do_announced(atol(field[1]));
    else if (!strcmp(field[0], "disconnect"))
        do_disconnect(atoi(field[1]));
    else if (!strcmp(field[0], "stall"))
        do_stall(atoi(field[1]));
    else if (!strcmp(field[0], "trigger"))
        do_trigger(atof(field[1]), atol(field[2]), atoi(field[3]), atol(field[4]), field[5],
                   field[6]);
    else if (!strcmp(field[0], "pace"))
        do_pace(atof(field[1]), atof(field[2]), atol(field[3]), field[4], field[5]);
    else if (!strcmp(field[0], "say"))
        do_say(atof(field[1]), atoi(field[2]), field[3]);
    else
        die("not a command: %s", field[0]);
}

int main(int argument_count, char **arguments)
{
    if (argument_count < 2 || argument_count > 1 + MAX_SERVERS)
        die("usage: load <port>…, of %d servers at most", MAX_SERVERS);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    for (; server_count < argument_count - 1; server_count++) {
        struct sockaddr_in *server = &servers[server_count];
        server->sin_family = AF_INET;
        server->sin_port = htons(atoi(arguments[1 + server_count]));
        server->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    }
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    static enum kind commands = COMMANDS;
    watch(STDIN_FILENO, &commands);
    char *line = NULL;
    size_t capacity = 0;
    for (;;) {
        turn(-1);
        if (!commands_wait)
            continue;
        /* Whoever sends commands waits for each answer, so at most one line is there to be read. */
        commands_wait = false;
        ssize_t length = getline(&line, &capacity, stdin);
        if (length <= 0)
            return 0;
        line[strcspn(line, "\n")] = 0;
        obey(line);
    }
}

// A load generator and its origin, for the comparison of Thor with its peers: one thread each, epoll, large buffers.
//
//   load origin                                                  serve GET /BYTES and PUT /BYTES; prints "listening ADDRESS"
//   load down --target A [--socks A] --bytes N [--streams K]     K streams share N bytes, all started at once
//   load up   --target A [--socks A] --bytes N [--streams K]
//   load requests --target A [--socks A] --count N [--concurrency K]     each a new connection and a small GET
//   load hold --target A [--socks A] --streams K                 open K idle streams; prints "holding K"; until end of input
//
// Addresses are 127.0.0.1:PORT. Without --socks the connections go straight to the origin: that is the generator's own
// limit. Further options: --check compares every byte, --user NAME (SOCKS user name), --isolate (a user name per
// connection), --timeout SECONDS (default 120, then exit code 3), --response BYTES (of a small request, default 100).
// The result is one line of JSON.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
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

enum { IO_BYTES = 256 * 1024, HEADER_BYTES = 512, EVENTS = 256 };
// What the origin sends and expects: pseudo-random bytes with a period that is no multiple of anybody's buffer.
enum { PATTERN_PERIOD = 65521 };
static uint8_t pattern[PATTERN_PERIOD + IO_BYTES];
static uint8_t incoming[IO_BYTES];

static _Noreturn void fail(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, errno ? strerror(errno) : "no");
    exit(1);
}

static _Noreturn void fail_protocol(const char *what) {
    errno = EPROTO;
    fail(what);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static double cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
         + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void make_pattern(void) {
    uint64_t state = 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < PATTERN_PERIOD; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        pattern[i] = (uint8_t)(state >> 32);
    }
    for (size_t i = PATTERN_PERIOD; i < sizeof pattern; i++) pattern[i] = pattern[i - PATTERN_PERIOD];
}

static void check_pattern(const uint8_t *bytes, size_t count, uint64_t offset) {
    if (memcmp(bytes, pattern + offset % PATTERN_PERIOD, count) != 0) fail_protocol("the bytes differ");
}

static struct sockaddr_in parse_address(const char *text) {
    char host[64];
    const char *colon = strrchr(text, ':');
    struct sockaddr_in address = {.sin_family = AF_INET};
    if (!colon || (size_t)(colon - text) >= sizeof host) errno = EINVAL, fail(text);
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = 0;
    address.sin_port = htons((uint16_t)atoi(colon + 1));
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) errno = EINVAL, fail(text);
    return address;
}

static int poll_fd;

static void watch(int operation, int fd, uint32_t events, void *pointer) {
    struct epoll_event event = {.events = events, .data.ptr = pointer};
    if (epoll_ctl(poll_fd, operation, fd, &event) != 0) fail("epoll_ctl");
}

static int new_socket(void) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) fail("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

// ---- Origin

struct request {
    int fd;
    bool is_upload, has_header;
    size_t header_count;
    char header[HEADER_BYTES];
    uint64_t total, done;
    size_t reply_count, reply_sent;
    char reply[HEADER_BYTES];
};

static bool check_content;

static void request_end(struct request *request) {
    close(request->fd);
    free(request);
}

// Returns false when the connection has ended.
static bool request_write(struct request *request) {
    while (request->reply_sent < request->reply_count) {
        ssize_t count = send(request->fd, request->reply + request->reply_sent,
                             request->reply_count - request->reply_sent, MSG_NOSIGNAL);
        if (count < 0) return errno == EAGAIN;
        request->reply_sent += (size_t)count;
    }
    if (request->is_upload) return request->done < request->total || request->reply_count == 0;
    while (request->done < request->total) {
        uint64_t left = request->total - request->done;
        ssize_t count = send(request->fd, pattern + request->done % PATTERN_PERIOD,
                             left < IO_BYTES ? (size_t)left : IO_BYTES, MSG_NOSIGNAL);
        if (count < 0) return errno == EAGAIN;
        request->done += (uint64_t)count;
    }
    return false;
}

static void request_reply(struct request *request, uint64_t length) {
    request->reply_count = (size_t)snprintf(request->reply, sizeof request->reply,
        "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\nConnection: close\r\n\r\n", (unsigned long long)length);
}

static void request_body(struct request *request, const uint8_t *bytes, size_t count) {
    if (check_content) check_pattern(bytes, count, request->done);
    request->done += count;
    if (request->done >= request->total && request->reply_count == 0) request_reply(request, 0);
}

// A small answer goes out in one write, header and all.
static bool request_answer_small(struct request *request) {
    request_reply(request, request->total);
    if (request->reply_count + request->total > HEADER_BYTES) return false;
    memcpy(request->reply + request->reply_count, pattern, (size_t)request->total);
    request->reply_count += (size_t)request->total;
    request->done = request->total;
    return true;
}

static bool request_header(struct request *request, size_t count) {
    size_t room = HEADER_BYTES - 1 - request->header_count;
    size_t taken = count < room ? count : room;
    memcpy(request->header + request->header_count, incoming, taken);
    request->header_count += taken;
    request->header[request->header_count] = 0;
    char *end = strstr(request->header, "\r\n\r\n");
    if (!end) return request->header_count < HEADER_BYTES - 1;
    unsigned long long total = 0;
    if (sscanf(request->header, "GET /%llu ", &total) == 1) request->is_upload = false;
    else if (sscanf(request->header, "PUT /%llu ", &total) == 1) request->is_upload = true;
    else return false;
    request->has_header = true;
    request->total = total;
    if (!request->is_upload) {
        request_answer_small(request);
        return request_write(request);
    }
    size_t used = taken - (size_t)(request->header + request->header_count - (end + 4));
    if (count > used) request_body(request, incoming + used, count - used);
    return true;
}

static bool request_read(struct request *request) {
    for (;;) {
        ssize_t count = recv(request->fd, incoming, sizeof incoming, 0);
        if (count == 0) return false;
        if (count < 0) {
            if (errno != EAGAIN) return false;
            break;
        }
        if (request->has_header) request_body(request, incoming, (size_t)count);
        else if (!request_header(request, (size_t)count)) return false;
        if ((size_t)count < sizeof incoming) break;
    }
    return request->has_header && request->reply_count > 0 ? request_write(request) : true;
}

static _Noreturn void origin(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = new_socket();
    if (bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 4096) != 0) fail("listen");
    if (getsockname(listener, (struct sockaddr *)&address, &size) != 0) fail("getsockname");
    printf("listening 127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    watch(EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(poll_fd, events, EVENTS, -1);
        if (count < 0 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < count; i++) {
            struct request *request = events[i].data.ptr;
            if (request) {
                bool lives = true;
                if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) lives = request_read(request);
                if (lives && events[i].events & EPOLLOUT && request->reply_count > 0) lives = request_write(request);
                if (!lives) request_end(request);
                continue;
            }
            for (;;) {
                int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (fd < 0) break;
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                if (!(request = calloc(1, sizeof *request))) fail("calloc");
                request->fd = fd;
                watch(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLOUT | EPOLLET, request);
                // Edge-triggered: what came before it was watched is told at once.
            }
        }
    }
}

// ---- Client

enum phase { CONNECTING, METHOD, AUTHENTICATION, REPLY, OPEN, SENDING, RECEIVING, ENDED };

struct stream {
    int fd;
    enum phase phase;
    bool is_upload, has_header;
    size_t header_count;
    char header[HEADER_BYTES];
    uint64_t total, done;
    double started;
};

static struct sockaddr_in target_address, first_address;
static const char *user_name;
static bool is_socks, isolates, opens_only;
static unsigned isolation_counter;

static void stream_send(struct stream *stream, const void *bytes, size_t count) {
    // Small, and the socket's buffer is empty: it takes all.
    if (send(stream->fd, bytes, count, MSG_NOSIGNAL) != (ssize_t)count) fail("send");
}

static void stream_request(struct stream *stream) {
    char text[HEADER_BYTES];
    int count = snprintf(text, sizeof text, "%s /%llu HTTP/1.1\r\nHost: origin\r\nConnection: close\r\n\r\n",
        stream->is_upload ? "PUT" : "GET", (unsigned long long)stream->total);
    stream_send(stream, text, (size_t)count);
    stream->phase = stream->is_upload ? SENDING : RECEIVING;
}

static void stream_connect_request(struct stream *stream) {
    uint8_t text[10] = {5, 1, 0, 1};
    memcpy(text + 4, &target_address.sin_addr, 4);
    memcpy(text + 8, &target_address.sin_port, 2);
    stream_send(stream, text, sizeof text);
    stream->phase = REPLY;
}

static void stream_opened(struct stream *stream);

static void stream_connected(struct stream *stream) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) errno = error, fail("connect");
    if (!is_socks) return stream_opened(stream);
    bool has_name = isolates || user_name;
    uint8_t text[3] = {5, 1, has_name ? 2 : 0};
    stream_send(stream, text, sizeof text);
    stream->phase = METHOD;
}

static void stream_authenticate(struct stream *stream) {
    char name[128];
    if (isolates) snprintf(name, sizeof name, "u%d-%u", (int)getpid(), isolation_counter++);
    else snprintf(name, sizeof name, "%s", user_name);
    uint8_t text[140] = {1, (uint8_t)strlen(name)};
    memcpy(text + 2, name, strlen(name));
    text[2 + strlen(name)] = 1;
    text[3 + strlen(name)] = 'x';
    stream_send(stream, text, 4 + strlen(name));
    stream->phase = AUTHENTICATION;
}

static void stream_start(struct stream *stream) {
    stream->started = now();
    stream->fd = new_socket();
    stream->phase = CONNECTING;
    stream->header_count = 0;
    stream->has_header = false;
    stream->done = 0;
    if (connect(stream->fd, (struct sockaddr *)&first_address, sizeof first_address) != 0 && errno != EINPROGRESS)
        fail("connect");
    watch(EPOLL_CTL_ADD, stream->fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, stream);
}

static void stream_end(struct stream *stream) {
    close(stream->fd);
    stream->fd = -1;
    stream->phase = ENDED;
}

// Read exactly what the SOCKS reply holds, so that nothing of the answer is lost. Returns whether `count` bytes are here.
static bool stream_collect(struct stream *stream, size_t count) {
    while (stream->header_count < count) {
        ssize_t got = recv(stream->fd, stream->header + stream->header_count, count - stream->header_count, 0);
        if (got == 0) fail_protocol("the proxy hung up");
        if (got < 0) {
            if (errno == EAGAIN) return false;
            fail("the proxy");
        }
        stream->header_count += (size_t)got;
    }
    return true;
}

static void stream_handshake(struct stream *stream) {
    if (stream->phase == METHOD) {
        if (!stream_collect(stream, 2)) return;
        if (stream->header[0] != 5 || (stream->header[1] != 0 && stream->header[1] != 2)) fail_protocol("SOCKS method");
        stream->header_count = 0;
        if (stream->header[1] == 2) stream_authenticate(stream);
        else stream_connect_request(stream);
    }
    if (stream->phase == AUTHENTICATION) {
        if (!stream_collect(stream, 2)) return;
        if (stream->header[1] != 0) fail_protocol("SOCKS authentication");
        stream->header_count = 0;
        stream_connect_request(stream);
    }
    if (stream->phase == REPLY) {
        if (!stream_collect(stream, 4)) return;
        if (stream->header[1] != 0) {
            fprintf(stderr, "load: SOCKS reply %d\n", stream->header[1]);
            fail_protocol("SOCKS connect");
        }
        if (!stream_collect(stream, stream->header[3] == 4 ? 22 : 10)) return;
        stream->header_count = 0;
        stream_opened(stream);
    }
}

static uint64_t response_bytes = 100;
static unsigned open_count;
static bool waits_for_all;

static void stream_opened(struct stream *stream) {
    open_count++;
    if (waits_for_all || opens_only) stream->phase = OPEN;
    else stream_request(stream);
}

static void stream_write(struct stream *stream) {
    while (stream->phase == SENDING) {
        uint64_t left = stream->total - stream->done;
        if (left == 0) {
            stream->phase = RECEIVING;
            break;
        }
        ssize_t count = send(stream->fd, pattern + stream->done % PATTERN_PERIOD,
                             left < IO_BYTES ? (size_t)left : IO_BYTES, MSG_NOSIGNAL);
        if (count < 0) {
            if (errno == EAGAIN) return;
            fail("send");
        }
        stream->done += (uint64_t)count;
    }
}

static void stream_received(struct stream *stream, const uint8_t *bytes, size_t count) {
    if (!stream->has_header) {
        size_t before = stream->header_count, room = HEADER_BYTES - 1 - before, taken = count < room ? count : room;
        memcpy(stream->header + before, bytes, taken);
        stream->header_count += taken;
        stream->header[stream->header_count] = 0;
        char *end = strstr(stream->header, "\r\n\r\n");
        if (!end) {
            if (stream->header_count == HEADER_BYTES - 1) fail_protocol("the answer's header");
            return;
        }
        if (strncmp(stream->header, "HTTP/1.1 200 ", 13) != 0) fail_protocol("the answer's status");
        stream->has_header = true;
        size_t used = (size_t)(end + 4 - stream->header) - before;
        bytes += used, count -= used;
        if (stream->is_upload) return stream_end(stream);
    }
    if (check_content) check_pattern(bytes, count, stream->done);
    stream->done += count;
    if (stream->done > stream->total) fail_protocol("more bytes than asked for");
    if (stream->done == stream->total) stream_end(stream);
}

static void stream_read(struct stream *stream) {
    while (stream->phase == SENDING || stream->phase == RECEIVING) {
        ssize_t count = recv(stream->fd, incoming, sizeof incoming, 0);
        if (count < 0) {
            if (errno == EAGAIN) return;
            fail("recv");
        }
        if (count == 0) fail_protocol("the stream ended early");
        stream_received(stream, incoming, (size_t)count);
        if ((size_t)count < sizeof incoming) return;
    }
}

static void stream_event(struct stream *stream, uint32_t events) {
    if (stream->phase == CONNECTING && events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) stream_connected(stream);
    if (stream->phase >= METHOD && stream->phase <= REPLY && events & (EPOLLIN | EPOLLHUP | EPOLLRDHUP))
        stream_handshake(stream);
    if (stream->phase == SENDING) stream_write(stream);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLRDHUP)) stream_read(stream);
}

static int wait_events(struct epoll_event *events) {
    int count = epoll_wait(poll_fd, events, EVENTS, -1);
    if (count < 0 && errno != EINTR) fail("epoll_wait");
    return count < 0 ? 0 : count;
}

static int transfer(bool is_upload, uint64_t bytes, unsigned stream_count) {
    struct stream *streams = calloc(stream_count, sizeof *streams);
    struct epoll_event events[EVENTS];
    if (!streams) fail("calloc");
    double start = now();
    waits_for_all = true;
    for (unsigned i = 0; i < stream_count; i++) {
        streams[i].is_upload = is_upload;
        streams[i].total = bytes / stream_count + (i < bytes % stream_count);
        stream_start(&streams[i]);
    }
    while (open_count < stream_count) {
        int count = wait_events(events);
        for (int i = 0; i < count; i++) stream_event(events[i].data.ptr, events[i].events);
    }
    double opened = now(), cpu = cpu_seconds();
    for (unsigned i = 0; i < stream_count; i++) {
        stream_request(&streams[i]);
        stream_write(&streams[i]);
    }
    unsigned ended = 0;
    double first_end = 0;
    while (ended < stream_count) {
        int count = wait_events(events);
        for (int i = 0; i < count; i++) {
            struct stream *stream = events[i].data.ptr;
            if (stream->phase == ENDED) continue;
            stream_event(stream, events[i].events);
            if (stream->phase == ENDED && ++ended == 1) first_end = now();
        }
    }
    double seconds = now() - opened;
    printf("{\"kind\": \"%s\", \"bytes\": %llu, \"streams\": %u, \"seconds\": %.6f, \"mebibytesPerSecond\": %.2f, "
           "\"openSeconds\": %.6f, \"firstStreamSeconds\": %.6f, \"generatorCPUSeconds\": %.3f}\n",
           is_upload ? "up" : "down", (unsigned long long)bytes, stream_count, seconds,
           (double)bytes / 1048576 / seconds, opened - start, first_end - opened, cpu_seconds() - cpu);
    return 0;
}

static int compare_doubles(const void *one, const void *other) {
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

static double quantile(const double *sorted, unsigned count, double share) {
    unsigned index = (unsigned)(share * (double)(count - 1) + 0.5);
    return sorted[index] * 1000;
}

static int requests(unsigned total, unsigned concurrency) {
    if (concurrency > total) concurrency = total;
    struct stream *streams = calloc(concurrency, sizeof *streams);
    double *times = calloc(total, sizeof *times);
    struct epoll_event events[EVENTS];
    if (!streams || !times) fail("calloc");
    unsigned started = 0, ended = 0;
    double start = now(), cpu = cpu_seconds();
    for (; started < concurrency; started++) {
        streams[started].total = response_bytes;
        stream_start(&streams[started]);
    }
    while (ended < total) {
        int count = wait_events(events);
        for (int i = 0; i < count; i++) {
            struct stream *stream = events[i].data.ptr;
            if (stream->phase == ENDED) continue;
            stream_event(stream, events[i].events);
            if (stream->phase != ENDED) continue;
            times[ended++] = now() - stream->started;
            if (started < total) {
                started++;
                stream_start(stream);
            }
        }
    }
    double seconds = now() - start;
    qsort(times, total, sizeof *times, compare_doubles);
    printf("{\"kind\": \"requests\", \"count\": %u, \"concurrency\": %u, \"seconds\": %.6f, \"perSecond\": %.1f, "
           "\"medianMilliseconds\": %.4f, \"p95Milliseconds\": %.4f, \"p99Milliseconds\": %.4f, "
           "\"maximumMilliseconds\": %.4f, \"generatorCPUSeconds\": %.3f}\n",
           total, concurrency, seconds, total / seconds, quantile(times, total, 0.5), quantile(times, total, 0.95),
           quantile(times, total, 0.99), times[total - 1] * 1000, cpu_seconds() - cpu);
    return 0;
}

static int hold(unsigned stream_count) {
    struct stream *streams = calloc(stream_count, sizeof *streams);
    struct epoll_event events[EVENTS];
    if (!streams) fail("calloc");
    opens_only = true;
    // A few at a time: this is about memory, not about bursts.
    for (unsigned started = 0; started < stream_count;) {
        while (started < stream_count && started - open_count < 20) stream_start(&streams[started++]);
        int count = wait_events(events);
        for (int i = 0; i < count; i++) stream_event(events[i].data.ptr, events[i].events);
    }
    while (open_count < stream_count) {
        int count = wait_events(events);
        for (int i = 0; i < count; i++) stream_event(events[i].data.ptr, events[i].events);
    }
    alarm(0);
    printf("holding %u\n", stream_count);
    fflush(stdout);
    while (read(0, incoming, 1) > 0) {}
    return 0;
}

static void timed_out(int signal) {
    static const char text[] = "load: timed out\n";
    (void)signal;
    if (write(2, text, sizeof text - 1) < 0) _exit(4);
    _exit(3);
}

int main(int count, char **arguments) {
    const char *command = count > 1 ? arguments[1] : "", *target = NULL, *socks = NULL;
    unsigned long long bytes = 1ull << 30;
    unsigned stream_count = 1, total = 1000, concurrency = 1, timeout = 120;
    for (int i = 2; i < count; i++) {
        const char *name = arguments[i];
        if (!strcmp(name, "--check")) { check_content = true; continue; }
        if (!strcmp(name, "--isolate")) { isolates = true; continue; }
        const char *value = i + 1 < count ? arguments[++i] : "";
        if (!strcmp(name, "--target")) target = value;
        else if (!strcmp(name, "--socks")) socks = value;
        else if (!strcmp(name, "--bytes")) bytes = strtoull(value, NULL, 10);
        else if (!strcmp(name, "--streams")) stream_count = (unsigned)atoi(value);
        else if (!strcmp(name, "--count")) total = (unsigned)atoi(value);
        else if (!strcmp(name, "--concurrency")) concurrency = (unsigned)atoi(value);
        else if (!strcmp(name, "--response")) response_bytes = strtoull(value, NULL, 10);
        else if (!strcmp(name, "--timeout")) timeout = (unsigned)atoi(value);
        else if (!strcmp(name, "--user")) user_name = value;
        else errno = EINVAL, fail(name);
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGALRM, timed_out);
    make_pattern();
    if ((poll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0) fail("epoll_create1");
    if (!strcmp(command, "origin")) origin();
    if (!target || stream_count == 0 || total == 0 || concurrency == 0) errno = EINVAL, fail("usage: see load.c");
    target_address = parse_address(target);
    first_address = socks ? parse_address(socks) : target_address;
    is_socks = socks != NULL;
    alarm(timeout);
    if (!strcmp(command, "down")) return transfer(false, bytes, stream_count);
    if (!strcmp(command, "up")) return transfer(true, bytes, stream_count);
    if (!strcmp(command, "requests")) return requests(total, concurrency);
    if (!strcmp(command, "hold")) return hold(stream_count);
    errno = EINVAL;
    fail("usage: see load.c");
}

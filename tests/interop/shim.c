/* Stands in for the kernel's XFRM where it has none, or must not be touched: preloaded into charon or pluto.
 *
 * A daemon talks to XFRM over a netlink socket. Here socket() gives it one end of a socket pair instead, and a thread at
 * the other end answers: an SPI (process id and a counter) where one is asked for, an SA that has seen no traffic where
 * one is asked after, an acknowledgement to all else. Nothing reaches the kernel, so no privilege is needed and no
 * traffic is changed. Keys and SPIs are in the daemon's log.
 *
 * And since charon binds its ports on the wildcard address only, and pluto tries that when it starts, bind() narrows it
 * to PEER_ADDRESS: whoever talks to them may then have the same ports on another loopback address.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/xfrm.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_FD 1024

static char ours[MAX_FD]; /* by descriptor: is it the daemon's end of one of our pairs? */

static int is_ours(int fd)
{
    return fd >= 0 && fd < MAX_FD && ours[fd];
}

/* Begin a reply of *type* to *request* with *size* octets of zeros, and return where they are. */
static void *begin(const struct nlmsghdr *request, char *reply, uint16_t type, size_t size)
{
    struct nlmsghdr *header = (struct nlmsghdr *)reply;

    memset(reply, 0, NLMSG_SPACE(size));
    header->nlmsg_len = NLMSG_LENGTH(size);
    header->nlmsg_type = type;
    header->nlmsg_seq = request->nlmsg_seq;
    header->nlmsg_pid = request->nlmsg_pid;
    return NLMSG_DATA(header);
}

static void allocate_spi(const struct nlmsghdr *request, char *reply)
{
    static uint32_t count;
    const struct xfrm_userspi_info *wanted = NLMSG_DATA(request);
    struct xfrm_usersa_info *sa = begin(request, reply, XFRM_MSG_NEWSA, sizeof *sa);

    *sa = wanted->info;
    sa->id.spi = htonl(0xc0000000 | ((uint32_t)getpid() & 0x7fff) << 12 | __sync_add_and_fetch(&count, 1));
}

/* The SA that is asked after, as one that has carried nothing: so a daemon that checks liveness finds it idle. */
static void describe_sa(const struct nlmsghdr *request, char *reply)
{
    const struct xfrm_usersa_id *wanted = NLMSG_DATA(request);
    struct xfrm_usersa_info *sa = begin(request, reply, XFRM_MSG_NEWSA, sizeof *sa);

    sa->id.daddr = wanted->daddr;
    sa->id.spi = wanted->spi;
    sa->id.proto = wanted->proto;
    sa->family = wanted->family;
}

static void acknowledge(const struct nlmsghdr *request, char *reply)
{
    struct nlmsgerr *verdict = begin(request, reply, NLMSG_ERROR, sizeof *verdict); /* with error 0: done */

    verdict->msg = *request;
}

static void *answer(void *argument)
{
    int fd = (int)(intptr_t)argument;
    char request[65536], reply[4096];
    ssize_t got;

    while ((got = recv(fd, request, sizeof request, 0)) > 0) {
        const struct nlmsghdr *header = (const struct nlmsghdr *)request;

        if ((size_t)got < sizeof *header)
            continue;
        if (header->nlmsg_type == XFRM_MSG_ALLOCSPI && (size_t)got >= NLMSG_LENGTH(sizeof(struct xfrm_userspi_info)))
            allocate_spi(header, reply);
        else if (header->nlmsg_type == XFRM_MSG_GETSA && (size_t)got >= NLMSG_LENGTH(sizeof(struct xfrm_usersa_id)))
            describe_sa(header, reply);
        else
            acknowledge(header, reply);
        if (send(fd, reply, ((struct nlmsghdr *)reply)->nlmsg_len, MSG_NOSIGNAL) < 0)
            break;
    }
    close(fd);
    return NULL;
}

int socket(int domain, int type, int protocol)
{
    static int (*real)(int, int, int);
    pthread_t thread;
    int pair[2];

    if (!real)
        real = dlsym(RTLD_NEXT, "socket");
    if (domain != AF_NETLINK || protocol != NETLINK_XFRM)
        return real(domain, type, protocol);
    if (socketpair(AF_UNIX, SOCK_DGRAM | (type & (SOCK_CLOEXEC | SOCK_NONBLOCK)), 0, pair) < 0)
        return -1;
    if (pair[0] >= MAX_FD || pthread_create(&thread, NULL, answer, (void *)(intptr_t)pair[1]) != 0) {
        close(pair[0]);
        close(pair[1]);
        errno = EMFILE;
        return -1;
    }
    pthread_detach(thread);
    ours[pair[0]] = 1;
    return pair[0];
}

int bind(int fd, const struct sockaddr *address, socklen_t length)
{
    static int (*real)(int, const struct sockaddr *, socklen_t);
    const char *only = getenv("PEER_ADDRESS");
    struct sockaddr_in narrowed;

    if (!real)
        real = dlsym(RTLD_NEXT, "bind");
    if (is_ours(fd))
        return 0;
    if (only && address->sa_family == AF_INET && length >= sizeof narrowed) {
        memcpy(&narrowed, address, sizeof narrowed);
        if (narrowed.sin_addr.s_addr == htonl(INADDR_ANY))
            inet_pton(AF_INET, only, &narrowed.sin_addr);
        return real(fd, (struct sockaddr *)&narrowed, sizeof narrowed);
    }
    return real(fd, address, length);
}

ssize_t sendto(int fd, const void *data, size_t length, int flags, const struct sockaddr *address, socklen_t size)
{
    static ssize_t (*real)(int, const void *, size_t, int, const struct sockaddr *, socklen_t);

    if (!real)
        real = dlsym(RTLD_NEXT, "sendto");
    return is_ours(fd) ? real(fd, data, length, flags, NULL, 0) : real(fd, data, length, flags, address, size);
}

/* pluto believes only what comes from the kernel's address, process 0. */
ssize_t recvfrom(int fd, void *data, size_t length, int flags, struct sockaddr *address, socklen_t *size)
{
    static ssize_t (*real)(int, void *, size_t, int, struct sockaddr *, socklen_t *);
    const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};

    if (!real)
        real = dlsym(RTLD_NEXT, "recvfrom");
    if (!is_ours(fd) || !address || *size < sizeof kernel)
        return real(fd, data, length, flags, address, size);
    memcpy(address, &kernel, sizeof kernel);
    *size = sizeof kernel;
    return real(fd, data, length, flags, NULL, NULL);
}

/* pluto wants its helper where its package puts it, though whoever tests it feeds it connections themselves. */
int access(const char *path, int mode)
{
    static int (*real)(const char *, int);

    if (!real)
        real = dlsym(RTLD_NEXT, "access");
    return strcmp(path, "/usr/libexec/ipsec/addconn") == 0 ? 0 : real(path, mode);
}

int close(int fd)
{
    static int (*real)(int);

    if (!real)
        real = dlsym(RTLD_NEXT, "close");
    if (is_ours(fd))
        ours[fd] = 0;
    return real(fd);
}

/* Stands in for the kernel's XFRM where it has none, or must not be touched: preloaded into charon.
 *
 * charon talks to XFRM over a netlink socket. Here socket() gives it one end of a socket pair instead, and a thread at
 * the other end answers: an SPI (process id and a counter) where one is asked for, an acknowledgement to all else.
 * Nothing reaches the kernel, so no privilege is needed and no traffic is changed. Keys and SPIs are in charon's log.
 *
 * And since charon binds its ports on the wildcard address only, bind() narrows that to CHARON_ADDRESS: its peer may
 * then have the same ports on another loopback address.
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

static char ours[MAX_FD]; /* by descriptor: is it charon's end of one of our pairs? */

static int is_ours(int fd)
{
    return fd >= 0 && fd < MAX_FD && ours[fd];
}

static size_t allocate_spi(const struct nlmsghdr *request, char *reply)
{
    static uint32_t count;
    const struct xfrm_userspi_info *wanted = NLMSG_DATA(request);
    struct nlmsghdr *header = (struct nlmsghdr *)reply;
    struct xfrm_usersa_info *sa = NLMSG_DATA(header);

    memset(reply, 0, NLMSG_SPACE(sizeof *sa));
    *sa = wanted->info;
    sa->id.spi = htonl(0xc0000000 | ((uint32_t)getpid() & 0x7fff) << 12 | __sync_add_and_fetch(&count, 1));
    header->nlmsg_len = NLMSG_LENGTH(sizeof *sa);
    header->nlmsg_type = XFRM_MSG_NEWSA;
    header->nlmsg_seq = request->nlmsg_seq;
    header->nlmsg_pid = request->nlmsg_pid;
    return header->nlmsg_len;
}

static size_t acknowledge(const struct nlmsghdr *request, char *reply)
{
    struct nlmsghdr *header = (struct nlmsghdr *)reply;
    struct nlmsgerr *verdict = NLMSG_DATA(header);

    memset(reply, 0, NLMSG_SPACE(sizeof *verdict));
    verdict->msg = *request;
    header->nlmsg_len = NLMSG_LENGTH(sizeof *verdict);
    header->nlmsg_type = NLMSG_ERROR; /* with error 0: done */
    header->nlmsg_seq = request->nlmsg_seq;
    header->nlmsg_pid = request->nlmsg_pid;
    return header->nlmsg_len;
}

static void *answer(void *argument)
{
    int fd = (int)(intptr_t)argument;
    char request[65536], reply[4096];
    ssize_t got;

    while ((got = recv(fd, request, sizeof request, 0)) > 0) {
        const struct nlmsghdr *header = (const struct nlmsghdr *)request;
        size_t length;

        if ((size_t)got < sizeof *header)
            continue;
        if (header->nlmsg_type == XFRM_MSG_ALLOCSPI && (size_t)got >= NLMSG_LENGTH(sizeof(struct xfrm_userspi_info)))
            length = allocate_spi(header, reply);
        else
            length = acknowledge(header, reply);
        if (send(fd, reply, length, MSG_NOSIGNAL) < 0)
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
    const char *only = getenv("CHARON_ADDRESS");
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

int close(int fd)
{
    static int (*real)(int);

    if (!real)
        real = dlsym(RTLD_NEXT, "close");
    if (is_ours(fd))
        ours[fd] = 0;
    return real(fd);
}

#define _GNU_SOURCE

#include "namespace.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

int namespace_enter(int *has_user_namespace) {
    *has_user_namespace = 1;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS) == 0) return 0;
    if (geteuid() != 0) return -1;
    *has_user_namespace = 0;
    return unshare(CLONE_NEWNET | CLONE_NEWNS);
}

int namespace_needs_identity(pid_t process) {
    char path[64];
    struct stat ours, theirs;
    snprintf(path, sizeof path, "/proc/%d/ns/user", (int)process);
    return stat("/proc/self/ns/user", &ours) == 0 && stat(path, &theirs) == 0 && ours.st_ino != theirs.st_ino;
}

static int write_file(pid_t process, const char *name, const char *text) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)process, name);
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0) return -1;
    ssize_t count = write(file, text, strlen(text));
    int error = errno;
    close(file);
    errno = error;
    return count == (ssize_t)strlen(text) ? 0 : -1;
}

/// For root every identity that there is here is the same in there; for others only their own, which is all they may have.
static int write_map(pid_t process, const char *name, unsigned identity, int is_root) {
    char text[4096];
    if (!is_root) {
        snprintf(text, sizeof text, "%u %u 1\n", identity, identity);
        return write_file(process, name, text);
    }
    char path[64];
    snprintf(path, sizeof path, "/proc/self/%s", name);
    FILE *own = fopen(path, "re");
    if (own == NULL) return -1;
    size_t length = 0;
    unsigned inside, outside, count;
    while (fscanf(own, "%u %u %u", &inside, &outside, &count) == 3) {
        int added = snprintf(text + length, sizeof text - length, "%u %u %u\n", inside, inside, count);
        if (added < 0 || (size_t)added >= sizeof text - length) break;
        length += (size_t)added;
    }
    fclose(own);
    return write_file(process, name, text);
}

int namespace_set_identity(pid_t process) {
    int is_root = geteuid() == 0;
    // Who is not root may map groups only after giving up to change them.
    if (!is_root && write_file(process, "setgroups", "deny") != 0) return -1;
    if (write_map(process, "gid_map", getegid(), is_root) != 0) return -1;
    return write_map(process, "uid_map", geteuid(), is_root);
}

int namespace_hide_name_services(void) {
    // Who looks names up for whoever asks over a socket: nscd, systemd-resolved, Avahi, systemd-machined, and what may stand in
    // the line for hosts of nsswitch.conf, winbindd, nslcd and sssd.
    static const char *const directories[] = {
        "/run/nscd", "/var/run/nscd", "/run/systemd/resolve", "/run/avahi-daemon", "/var/run/avahi-daemon",
        "/run/systemd/machine", "/run/samba/winbindd", "/var/run/samba/winbindd", "/run/nslcd", "/var/run/nslcd",
        "/var/lib/sss/pipes"};
    if (mount("none", "/", NULL, MS_REC | MS_SLAVE, NULL) != 0) return -1;
    for (size_t index = 0; index < sizeof directories / sizeof directories[0]; index++) {
        struct stat information;
        if (stat(directories[index], &information) != 0 || !S_ISDIR(information.st_mode)) continue;
        if (mount("none", directories[index], "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k,mode=755") != 0)
            return -1;
    }
    return 0;
}

int namespace_bring_loopback_up(void) {
    int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (any < 0) return -1;
    struct ifreq request;
    memset(&request, 0, sizeof request);
    memcpy(request.ifr_name, "lo", sizeof "lo");
    int result = ioctl(any, SIOCGIFFLAGS, &request);
    if (result == 0) {
        request.ifr_flags = (short)(request.ifr_flags | IFF_UP | IFF_RUNNING);
        result = ioctl(any, SIOCSIFFLAGS, &request);
    }
    int error = errno;
    close(any);
    errno = error;
    return result;
}

int namespace_listen(uint16_t port) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0) return -1;
    struct sockaddr_in address;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 1024) == 0) return listener;
    int error = errno;
    close(listener);
    errno = error;
    return -1;
}

void namespace_give_up_power(void) {
    // To enter a namespace, and to reach into processes that are in others.
    prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0);
    prctl(PR_CAPBSET_DROP, CAP_SYS_PTRACE, 0, 0, 0);
}

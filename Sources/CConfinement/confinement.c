#define _GNU_SOURCE

#include "CConfinement.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "namespace.h"

/// Signals that somebody may send to us and mean the command.
static const int passed_signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
enum { passed_signal_count = sizeof passed_signals / sizeof passed_signals[0] };

/// The command; read by the signal handler, on any thread. 0: none yet.
static _Atomic pid_t running;
/// Signals that came before there was a command to pass them to.
static _Atomic bool pending[passed_signal_count];
static struct sigaction previous[passed_signal_count];

static void pass_on(int number, siginfo_t *info, void *context) {
    (void)context;
    int saved = errno;
    // What the terminal sends goes to its whole foreground group, and the command is in ours.
    if (info->si_code != SI_KERNEL) {
        int index = 0;
        while (index < passed_signal_count - 1 && passed_signals[index] != number) index++;
        // Noted before looking: whoever starts the command looks the other way round, so that one of the two sees it.
        atomic_store(&pending[index], true);
        pid_t process = atomic_load(&running);
        if (process > 0 && atomic_exchange(&pending[index], false)) kill(process, number);
    }
    errno = saved;
}

/// Keep what comes from now on, until there is a command.
static void prepare_passing(void) {
    atomic_store(&running, 0);
    for (int index = 0; index < passed_signal_count; index++) {
        struct sigaction action;
        atomic_store(&pending[index], false);
        // One that is ignored stays so, as under nohup.
        if (sigaction(passed_signals[index], NULL, &previous[index]) != 0 || previous[index].sa_handler == SIG_IGN)
            continue;
        memset(&action, 0, sizeof action);
        action.sa_sigaction = pass_on;
        action.sa_flags = SA_SIGINFO | SA_RESTART;
        sigemptyset(&action.sa_mask);
        sigaction(passed_signals[index], &action, NULL);
    }
}

static void begin_passing(pid_t process) {
    atomic_store(&running, process);
    for (int index = 0; index < passed_signal_count; index++)
        if (atomic_exchange(&pending[index], false)) kill(process, passed_signals[index]);
}

static void end_passing(void) {
    atomic_store(&running, 0);
    for (int index = 0; index < passed_signal_count; index++) sigaction(passed_signals[index], &previous[index], NULL);
}

/// What the child tells the parent.
typedef struct {
    confined_outcome outcome;
    int error;
} report;

static int send_report(int channel, confined_outcome outcome, int error, int descriptor) {
    report content = {outcome, error};
    struct iovec vector = {&content, sizeof content};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    if (descriptor >= 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
    }
    return sendmsg(channel, &message, MSG_NOSIGNAL) == (ssize_t)sizeof content ? 0 : -1;
}

/// Returns 1 for a report, 0 for the end, -1 for an error.
static int receive_report(int channel, report *content, int *descriptor) {
    struct iovec vector = {content, sizeof *content};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.bytes,
        .msg_controllen = sizeof control.bytes};
    ssize_t count;
    do count = recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
    while (count < 0 && errno == EINTR);
    if (count == 0) return 0;
    if (count != (ssize_t)sizeof *content) return -1;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS
        && header->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(descriptor, CMSG_DATA(header), sizeof *descriptor);
    return 1;
}

/// In the child: never returns.
static void become_command(const confined_command *command, int channel) {
    if (command->isolated) {
        int has_user_namespace = 0;
        if (namespace_enter(&has_user_namespace) != 0) {
            send_report(channel, CONFINED_NO_NAMESPACE, errno, -1);
            _exit(126);
        }
        // The parent says who we are in the user namespace, if there is one, and lets us know.
        report answer = {CONFINED_NO_IDENTITY, 0};
        int none = -1;
        if (send_report(channel, CONFINED_STARTED, 0, -1) != 0 || receive_report(channel, &answer, &none) != 1
            || answer.outcome != CONFINED_STARTED) {
            send_report(channel, CONFINED_NO_IDENTITY, answer.error, -1);
            _exit(126);
        }
        if (namespace_hide_name_services() != 0) {
            send_report(channel, CONFINED_NOT_HIDDEN, errno, -1);
            _exit(126);
        }
        if (namespace_bring_loopback_up() != 0) {
            send_report(channel, CONFINED_NO_LOOPBACK, errno, -1);
            _exit(126);
        }
        int listener = namespace_listen(command->port);
        if (listener < 0 || send_report(channel, CONFINED_STARTED, 0, listener) != 0) {
            send_report(channel, CONFINED_NO_LISTENER, errno, -1);
            _exit(126);
        }
        close(listener);
        if (!has_user_namespace) namespace_give_up_power();
    }
    signal(SIGPIPE, SIG_DFL);
    for (int index = 0; index < passed_signal_count; index++) {
        struct sigaction action;
        if (sigaction(passed_signals[index], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
            signal(passed_signals[index], SIG_DFL);
    }
    // Not what the calling thread had: threads of Swift's pool block most signals, and the command is not one of them.
    sigset_t none_blocked;
    sigemptyset(&none_blocked);
    sigprocmask(SIG_SETMASK, &none_blocked, NULL);
    execvpe(command->command, command->arguments, command->environment);
    send_report(channel, CONFINED_NOT_EXECUTED, errno, -1);
    _exit(127);
}

/// In the parent: see the child through until it has become the command, or failed.
static confined_start see_through(const confined_command *command, int channel, pid_t child) {
    confined_start start = {CONFINED_NO_RESOURCES, 0, child, -1};
    report content;
    if (command->isolated) {
        if (receive_report(channel, &content, &start.listener) != 1) return start;
        if (content.outcome == CONFINED_STARTED) {
            report answer = {CONFINED_STARTED, 0};
            if (namespace_needs_identity(child) && namespace_set_identity(child) != 0)
                answer = (report){CONFINED_NO_IDENTITY, errno};
            send_report(channel, answer.outcome, answer.error, -1);
            if (receive_report(channel, &content, &start.listener) != 1) return start;
        }
        start.outcome = content.outcome;
        start.error = content.error;
        if (content.outcome != CONFINED_STARTED || start.listener < 0) return start;
    }
    switch (receive_report(channel, &content, &start.listener)) {
    case 0:
        start.outcome = CONFINED_STARTED;
        break;
    case 1:
        start.outcome = content.outcome;
        start.error = content.error;
        break;
    default:
        start.outcome = CONFINED_NO_RESOURCES;
    }
    return start;
}

confined_start confined_start_command(const confined_command *command) {
    confined_start start = {CONFINED_NO_RESOURCES, 0, 0, -1};
    int channel[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) != 0) {
        start.error = errno;
        return start;
    }
    sigset_t all, mask;
    sigfillset(&all);
    // Before there is a command that somebody could hear of and mean: the process's other threads take signals too.
    prepare_passing();
    // No handler of ours in the child.
    pthread_sigmask(SIG_SETMASK, &all, &mask);
    pid_t child = fork();
    if (child == 0) {
        close(channel[0]);
        become_command(command, channel[1]);
    }
    if (child < 0) {
        start.error = errno;
        close(channel[1]);
    } else {
        close(channel[1]);
        start = see_through(command, channel[0], child);
        if (start.outcome == CONFINED_STARTED) {
            begin_passing(child);
        } else {
            kill(child, SIGKILL);
            while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {
            }
            if (start.listener >= 0) close(start.listener);
            start.listener = -1;
            start.process = 0;
        }
    }
    close(channel[0]);
    if (start.outcome != CONFINED_STARTED) end_passing();
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    return start;
}

int confined_wait(pid_t process) {
    siginfo_t info;
    // Looked at first and reaped later: until then no other process can have its number, and get a signal meant for it.
    while (waitid(P_PID, (id_t)process, &info, WEXITED | WNOWAIT) != 0)
        if (errno != EINTR) return -1;
    end_passing();
    int status = 0;
    while (waitpid(process, &status, 0) < 0)
        if (errno != EINTR) return -1;
    return status;
}

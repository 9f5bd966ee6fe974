// Starts one command, if wanted in a network namespace of its own, and passes signals on to it.
//
// Between fork and exec only async-signal-safe calls may be made, as the parent has threads: hence C.

#pragma once

#include <stdint.h>
#include <sys/types.h>

/// What to start.
typedef struct {
    /// A path, or a name that is looked for in the PATH of `environment`'s owner.
    const char *command;
    /// Both end with NULL.
    char *const *arguments;
    char *const *environment;
    /// Whether it gets user, network and mount namespaces of its own, with nothing but loopback.
    int isolated;
    /// Isolated: the port on 127.0.0.1, inside, at which `listener` listens.
    uint16_t port;
} confined_command;

/// What failed; CONFINED_STARTED if nothing did.
typedef enum {
    CONFINED_STARTED = 0,
    /// The system has no room for another process, pipe or socket.
    CONFINED_NO_RESOURCES,
    /// No user or network namespace may be made here.
    CONFINED_NO_NAMESPACE,
    /// Identities could not be carried over into the user namespace.
    CONFINED_NO_IDENTITY,
    /// Loopback could not be brought up.
    CONFINED_NO_LOOPBACK,
    /// The port could not be listened on.
    CONFINED_NO_LISTENER,
    /// The sockets of the system's name services could not be hidden.
    CONFINED_NOT_HIDDEN,
    /// The command could not be executed.
    CONFINED_NOT_EXECUTED,
} confined_outcome;

/// What came of it.
typedef struct {
    confined_outcome outcome;
    /// The error number of what failed.
    int error;
    /// The command's process.
    pid_t process;
    /// Isolated: a listening socket that belongs to the command's network namespace; else -1.
    int listener;
} confined_start;

/// Start a command. Where it fails no process is left. From success on, until confined_wait returns, signals that are sent
/// to this process go to the command as well; those that the terminal sends reach it by themselves.
///
/// One command at a time.
confined_start confined_start_command(const confined_command *command);

/// Wait for the command's end and forget it; return its wait status, or -1.
int confined_wait(pid_t process);

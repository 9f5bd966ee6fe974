// Makes a network namespace with nothing but loopback in it. All of it is async-signal-safe but namespace_needs_identity and
// namespace_set_identity, which the parent calls.

#pragma once

#include <stdint.h>
#include <sys/types.h>

/// Move this process, which has one thread, into namespaces of its own: user, network, mounts. Where root may make no user
/// namespace, it does without.
int namespace_enter(int *has_user_namespace);

/// Whether a process is in another user namespace than this one.
int namespace_needs_identity(pid_t process);

/// Let a process that has just entered its user namespace be in it who it was outside.
int namespace_set_identity(pid_t process);

/// Hide the sockets by which the C library has names looked up by services outside.
int namespace_hide_name_services(void);

int namespace_bring_loopback_up(void);

/// Listen on 127.0.0.1, and return the socket.
int namespace_listen(uint16_t port);

/// Without a user namespace root could go back: give up what that takes.
void namespace_give_up_power(void);

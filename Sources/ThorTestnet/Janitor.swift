import Foundation
import Glibc

/// The process that cleans up when thor-testnet itself is killed: it reads the daemons' process ids, one a line, from
/// its standard input; at its end it waits for them, kills those that do not end by themselves (a daemon that is stopped
/// cannot notice), and removes the description of the network and a temporary state directory. It then ends.
package enum Janitor {
    package static let graceSeconds = 5.0

    /// Do all of it. Returns when everything is gone.
    package static func run(removing temporaryDirectory: String?) {
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGQUIT] { Glibc.signal(signal, SIG_IGN) }
        var alive: [pid_t] = []
        var descriptionPath: String?
        while let line = readLine() {
            // "+ID" for a daemon that was started, "-ID" for one whose end is known: its id may be somebody else's soon;
            // "=PATH" for the file that --json named.
            if line.first == "=" { descriptionPath = String(line.dropFirst()) }
            guard let id = pid_t(line.dropFirst()), id > 1 else { continue }
            if line.first == "+" { alive.append(id) } else { alive.removeAll { $0 == id } }
        }
        if let descriptionPath { unlink(descriptionPath) }
        let deadline = Date(timeIntervalSinceNow: self.graceSeconds)
        while true {
            alive.removeAll { kill($0, 0) == -1 && errno == ESRCH }
            guard !alive.isEmpty, Date() < deadline else { break }
            usleep(50_000)
        }
        alive.forEach { kill($0, SIGKILL) }
        if let temporaryDirectory { NetworkDirectory.removeTemporary(temporaryDirectory) }
    }
}

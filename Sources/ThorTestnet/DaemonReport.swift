/// One line of a daemon's standard output: the facts that all daemons report in the same words.
///
///     listening 127.0.0.1:40123
///     ready
///     35% fetching the consensus
package enum DaemonReport: Equatable, Sendable {
    case listening(address: String)
    case ready
    case progress(percent: Int, text: String)

    /// Read one line, without its line feed; nil when it is none of the three.
    package init?(line: String) {
        let line = line.last == "\r" ? line.dropLast() : line[...]
        if line == "ready" {
            self = .ready
            return
        }
        guard let space = line.firstIndex(of: " ") else { return nil }
        let word = line[..<space]
        let rest = line[line.index(after: space)...]
        if word == "listening", !rest.isEmpty, !rest.contains(" ") {
            self = .listening(address: String(rest))
        } else if word.last == "%", let percent = Int(word.dropLast()), (0...100).contains(percent) {
            self = .progress(percent: percent, text: String(rest))
        } else {
            return nil
        }
    }
}

package import OnionClient

/// A client's status as people read it.
package enum StatusText {
    /// Lay a status out in lines, without a line end after the last.
    ///
    /// - Parameters:
    ///   - status: what the client said.
    ///   - now: Unix time in seconds, for what is left of the consensus.
    package static func lines(_ status: ClientStatus, now: UInt64) -> String {
        var lines = ["\(status.progress.isReady ? "ready" : "\(status.progress.percent)%"): \(status.progress.text)"]
        if let consensus = status.consensus {
            let left =
                consensus.validUntil > now ? "valid for \(Self.duration(consensus.validUntil - now))" : "expired"
            lines.append("consensus: \(Self.count(consensus.routerCount, "onion router")), \(left)")
        } else {
            lines.append("consensus: none yet")
        }
        lines.append("guard: \(status.guard.map(Self.hop) ?? "none yet")")
        lines.append(
            "circuits: \(status.circuits.count) now, \(status.builtCircuitCount) built, "
                + "\(status.failedCircuitCount) failed; \(Self.count(status.openStreamCount, "stream")) open")
        for circuit in status.circuits {
            let age = Self.duration(UInt64(max(0, min(circuit.ageSeconds, 1e9))))
            lines.append("  \(circuit.state.rawValue), \(age) old, \(Self.count(circuit.streamCount, "stream"))")
            for (index, hop) in circuit.hops.enumerated() { lines.append("    \(index + 1). \(Self.hop(hop))") }
        }
        return lines.joined(separator: "\n")
    }

    /// The exits, one a line, by country.
    package static func exits(_ status: ClientStatus) -> String {
        status.exits.sorted { ($0.country, $0.nickname) < ($1.country, $1.nickname) }
            .map { Self.printable("\($0.country.isEmpty ? "--" : $0.country) \($0.nickname) \($0.fingerprint)") }
            .joined(separator: "\n")
    }

    private static func hop(_ hop: ClientStatus.Hop) -> String {
        let country = hop.country.isEmpty ? "" : " (\(hop.country))"
        return Self.printable("\(hop.nickname)\(country) \(hop.address) \(hop.fingerprint)")
    }

    /// Nicknames are chosen by whoever runs the OR: what could move the cursor becomes `?`.
    private static func printable(_ text: String) -> String {
        String(String.UnicodeScalarView(text.unicodeScalars.map { $0.value < 0x20 || $0.value == 0x7F ? "?" : $0 }))
    }

    private static func count(_ number: Int, _ noun: String) -> String { "\(number) \(noun)\(number == 1 ? "" : "s")" }

    private static func duration(_ seconds: UInt64) -> String {
        switch seconds {
        case ..<120: "\(seconds) s"
        case ..<7200: "\(seconds / 60) min"
        default: "\(seconds / 3600) h \(seconds % 3600 / 60) min"
        }
    }
}

package import OnionClient

/// The proxy's status as people read it.
package enum StatusText {
    /// Lay a status out in lines, without a line end after the last.
    ///
    /// - Parameters:
    ///   - status: what the proxy said.
    ///   - now: Unix time in seconds, for what is left of the consensus.
    package static func lines(_ status: ProxyStatus, now: UInt64) -> String {
        let client = status.client
        var lines = ["\(client.progress.isReady ? "ready" : "\(client.progress.percent)%"): \(client.progress.text)"]
        if !status.listeners.isEmpty {
            let password = status.wantsPassword ? " (with a password)" : ""
            lines.append("listening: \(status.listeners.joined(separator: " "))\(password)")
        }
        if let consensus = client.consensus {
            let left =
                consensus.validUntil > now
                ? "valid for \(Self.duration(Double(consensus.validUntil - now)))" : "expired"
            lines.append("consensus: \(Self.count(consensus.routerCount, "onion router")), \(left)")
        } else {
            lines.append("consensus: none yet")
        }
        lines.append("guard: \(client.guard.map(Self.hop) ?? "none yet")")
        let traffic = status.traffic
        lines.append(
            "traffic: in \(Self.bytes(traffic.inBytesPerSecond))/s, out \(Self.bytes(traffic.outBytesPerSecond))/s; "
                + "in all \(Self.bytes(Double(traffic.inByteCount))) in, \(Self.bytes(Double(traffic.outByteCount))) out"
        )
        lines.append(
            "circuits: \(client.circuits.count) now, \(client.builtCircuitCount) built, "
                + "\(client.failedCircuitCount) failed; \(Self.count(client.openStreamCount, "stream")) open")
        if let usual = client.usualBuildSeconds, let limit = client.buildLimitSeconds {
            lines.append(
                "building a circuit: \(Self.milliseconds(usual)) as a rule, given up after \(Self.milliseconds(limit))")
        }
        for circuit in client.circuits { lines += Self.circuit(circuit) }
        return lines.map(Self.printable).joined(separator: "\n")
    }

    private static func circuit(_ circuit: ClientStatus.Circuit) -> [String] {
        let roundTrip = circuit.roundTripSeconds.map { ", round trip \(Self.milliseconds($0))" } ?? ""
        var lines = [
            "  \(circuit.state.rawValue), \(Self.duration(circuit.ageSeconds)) old\(roundTrip), "
                + "\(Self.count(circuit.streamCount, "stream")) of \(circuit.carriedStreamCount) so far"
        ]
        for (index, hop) in circuit.hops.enumerated() { lines.append("    \(index + 1). \(Self.hop(hop))") }
        for destination in circuit.destinations ?? [] { lines.append("    to \(destination)") }
        return lines
    }

    /// The exits, one a line, by country.
    package static func exits(_ status: ClientStatus) -> String {
        status.exits.sorted { ($0.country, $0.nickname) < ($1.country, $1.nickname) }
            .map { Self.printable("\($0.country.isEmpty ? "--" : $0.country) \($0.nickname) \($0.fingerprint)") }
            .joined(separator: "\n")
    }

    /// All routers, one a line, by country: where they are, whether they are exits, what they run.
    package static func routers(_ status: ClientStatus) -> String {
        let exits = Set(status.exits.map(\.fingerprint))
        return status.routers.sorted { ($0.country, $0.nickname) < ($1.country, $1.nickname) }
            .map {
                Self.printable(
                    "\($0.country.isEmpty ? "--" : $0.country) \($0.nickname) \($0.fingerprint) \($0.address) "
                        + "\(exits.contains($0.fingerprint) ? "exit" : "no-exit") \($0.software ?? "")")
            }
            .joined(separator: "\n")
    }

    private static func hop(_ hop: ClientStatus.Hop) -> String {
        let country = hop.country.isEmpty ? "" : " (\(hop.country))"
        return "\(hop.nickname)\(country) \(hop.address) \(hop.fingerprint)"
    }

    /// Nicknames and destinations are chosen by others: what could move the cursor becomes `?`.
    static func printable(_ text: String) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.map {
                    $0.properties.generalCategory == .control || $0.properties.generalCategory == .format ? "?" : $0
                }))
    }

    private static func count(_ number: Int, _ noun: String) -> String { "\(number) \(noun)\(number == 1 ? "" : "s")" }

    /// `0.4 ms`, `12 ms`, `1,234 ms` without the comma; `-` for what is not known.
    static func milliseconds(_ seconds: Double?) -> String {
        guard let seconds, seconds.isFinite else { return "-" }
        let tenths = Int((max(0, min(seconds, 1e6)) * 10_000).rounded())
        return tenths < 100 ? "\(tenths / 10).\(tenths % 10) ms" : "\((tenths + 5) / 10) ms"
    }

    /// `812 B`, `1.5 KiB`, `12 MiB`.
    static func bytes(_ count: Double) -> String {
        var number = count.isFinite ? max(0, min(count, 1e18)) : 0
        var units = ["B", "KiB", "MiB", "GiB", "TiB"][...]
        while number >= 1024, units.count > 1 {
            number /= 1024
            units = units.dropFirst()
        }
        let unit = units.first ?? "B"
        let tenths = Int((number * 10).rounded())
        return unit == "B" || tenths >= 100
            ? "\(Int(number.rounded())) \(unit)" : "\(tenths / 10).\(tenths % 10) \(unit)"
    }

    static func duration(_ seconds: Double) -> String {
        let seconds = UInt64(max(0, min(seconds.isFinite ? seconds : 0, 1e9)))
        return switch seconds {
        case ..<120: "\(seconds) s"
        case ..<7200: "\(seconds / 60) min"
        default: "\(seconds / 3600) h \(seconds % 3600 / 60) min"
        }
    }
}

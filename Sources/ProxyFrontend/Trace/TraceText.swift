internal import OnionClient

/// A trace as people read it.
package enum TraceText {
    /// Lay a trace out as a table, without a line end after the last line.
    package static func lines(_ trace: RequestTrace) -> String {
        var lines = [trace.url, ""]
        if let circuit = trace.stream.circuit {
            lines += Self.path(circuit)
            lines.append("")
        }
        lines += Self.steps(trace)
        return lines.map(StatusText.printable).joined(separator: "\n")
    }

    private static func path(_ circuit: ClientStatus.Circuit) -> [String] {
        var rows = [["hop", "router", "country", "build", "round trip", "fingerprint"]]
        for (index, hop) in circuit.hops.enumerated() {
            let name = ["guard", "middle", "exit"]
            rows.append([
                circuit.hops.count == name.count ? "\(index + 1) \(name[index])" : "\(index + 1)", hop.nickname,
                hop.country.isEmpty ? "--" : hop.country, StatusText.milliseconds(hop.buildSeconds),
                StatusText.milliseconds(hop.roundTripSeconds), hop.fingerprint,
            ])
        }
        let built = circuit.buildSeconds.map { "built in \(StatusText.milliseconds($0)), " } ?? ""
        return Self.table(rows) + ["circuit: \(built)\(StatusText.duration(circuit.ageSeconds)) old"]
    }

    private static func steps(_ trace: RequestTrace) -> [String] {
        let stream = trace.stream
        var rows: [[String]] = []
        func add(_ step: String, _ seconds: Double?, _ remark: String = "") {
            guard let seconds else { return }
            rows.append([step, StatusText.milliseconds(seconds), remark])
        }
        add("wait for the circuit", stream.circuitWaitSeconds)
        add("resolve, at the exit", stream.resolveSeconds, stream.addresses.prefix(4).joined(separator: " "))
        let tries = stream.tryCount > 1 ? ", after \(stream.tryCount) tries" : ""
        add("connect, by the exit", stream.connectSeconds, (stream.connectedAddress ?? "") + tries)
        add("TLS, with the server", trace.tlsSeconds)
        add("first byte", trace.firstByteSeconds, trace.httpStatus.map { "HTTP \($0)" } ?? "")
        add("in all", trace.totalSeconds)
        var lines = Self.table(rows)
        if let failure = trace.failure { lines += ["", "failed at \(failure.step): \(failure.text)"] }
        return lines
    }

    /// Columns as wide as they need, two spaces between.
    private static func table(_ rows: [[String]]) -> [String] {
        let columns = rows.map(\.count).max() ?? 0
        let widths = (0..<columns).map { column in rows.map { $0[column].count }.max() ?? 0 }
        return rows.map { row in
            var line = ""
            for (cell, width) in zip(row, widths) {
                line += cell + String(repeating: " ", count: width - cell.count + 2)
            }
            while line.last == " " { line.removeLast() }
            return line
        }
    }
}

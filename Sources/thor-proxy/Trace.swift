import ArgumentParser
import Foundation
import OnionClient
import ProxyFrontend
import ThorDaemon

/// `thor-proxy trace URL`: explain one request through the running proxy.
struct Trace: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Send one request through the running proxy, and show its path and how long each step took.",
        discussion: """
            Sends GET URL, reads the beginning of the answer, and shows:

              build        how long the circuit took from the router before until this one had answered; for the guard, the \
            link to it included. A circuit that was built ahead was built in the past
              round trip   from here to that router and back. To the exit it is measured now, by a look-up that the exit \
            answers by itself. To the others it is their one exchange when the circuit was built, handshake included: an \
            upper bound
              resolve      the exit's look-up of the name, round trip included; none for an address
              connect      the exit's connection to the address, round trip included
              TLS          the handshake with the server, here
              first byte   from sending the request to the first byte of the answer

            Every trace has a circuit that nobody else uses. The server sees one request, with the user agent thor-proxy.
            Other users of the machine can see the URL in the list of processes.
            """)

    @Argument(help: ArgumentHelp("What to ask for: http://… or https://…", valueName: "url"))
    var url: String

    @Flag(help: "Print one line of JSON; times in seconds.")
    var json = false

    @Option(help: ArgumentHelp("Leave in this country, or not-us: anywhere but there.", valueName: "country"))
    var country: String?

    // One fingerprint in 64 begins with a dash.
    @Option(parsing: .unconditional, help: ArgumentHelp("Leave by this router.", valueName: "fingerprint"))
    var exit: String?

    @Option(help: ArgumentHelp("PEM certificates to trust besides the system's.", valueName: "file"))
    var caFile: String?

    @Option(
        help: ArgumentHelp(
            "The state directory of the proxy to ask. (default: \(StateDirectory.defaultText(role: "proxy")))",
            valueName: "dir"))
    var state: String?

    func run() async throws {
        try await Daemon.run(ThorProxy.name) {
            let url = try self.parsedURL()
            let wish = try self.wish()
            if let caFile, !FileManager.default.isReadableFile(atPath: caFile) {
                throw OperatorError("cannot read \(caFile)", advice: "Check --ca-file", status: .noInput)
            }
            let trace: RequestTrace
            do {
                trace = try await TraceQuery.ask(
                    url, wish: wish, certificates: self.caFile, stateDirectory: ThorProxy.stateDirectory(self.state))
            } catch let error as ProxyError {
                throw error
            } catch {
                throw OperatorError("TLS cannot be prepared: \(error)", advice: "Check --ca-file", status: .badData)
            }
            if self.json {
                let encoder = JSONEncoder()
                encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
                StandardOutput.line(String(decoding: try encoder.encode(trace), as: UTF8.self))
            } else {
                StandardOutput.line(TraceText.lines(trace))
            }
            if let failure = trace.failure {
                throw OperatorError(
                    "no answer from \(url.text): at the step \(failure.step) \(failure.text.prefix(1).lowercased())"
                        + failure.text.dropFirst().trimmingSuffix("."),
                    advice: failure.step == StreamTrace.Step.circuit.rawValue
                        ? "'thor-proxy status' shows how the proxy is, 'thor-proxy status --exits' what exits there are"
                        : "",
                    status: failure.step == "tls" ? .wrongProtocol : .unavailable)
            }
        }
    }

    private func parsedURL() throws(OperatorError) -> TraceURL {
        do throws(TraceURL.Malformed) {
            return try TraceURL(self.url)
        } catch {
            let advice = "It looks like https://example.com/"
            switch error {
            case .notURL: throw OperatorError("\(self.url) is no URL with a host", advice: advice, status: .usage)
            case .scheme(let scheme):
                throw OperatorError("\(scheme) cannot be traced", advice: "Give http:// or https://", status: .usage)
            case .credentials:
                throw OperatorError(
                    "the URL holds a user name or password", advice: "Leave them out", status: .usage)
            case .port: throw OperatorError("the URL's port is none", advice: advice, status: .usage)
            }
        }
    }

    /// The wish as a user name says it.
    private func wish() throws(OperatorError) -> String? {
        switch (self.country, self.exit) {
        case (nil, nil): return nil
        case (let country?, nil):
            guard ExitWish(country: country) != nil else {
                throw OperatorError(
                    "--country wants two letters, and \(country) is something else",
                    advice: "Give one such as se, or not-us", status: .usage)
            }
            return "country-\(country)"
        case (nil, let exit?):
            guard ExitWish(fingerprint: exit) != nil else {
                throw OperatorError(
                    "\(exit) is no fingerprint", advice: "'thor-proxy status --exits' lists them", status: .usage)
            }
            return "exit-\(exit)"
        case (.some, .some):
            throw OperatorError("--country and --exit exclude each other", advice: "Leave one out", status: .usage)
        }
    }
}

extension StringProtocol {
    fileprivate func trimmingSuffix(_ suffix: String) -> String {
        String(self.hasSuffix(suffix) ? self.dropLast(suffix.count) : self[...])
    }
}

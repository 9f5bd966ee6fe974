package import ThorDaemon

/// Why there is no answer, or not the whole of it.
package enum ChatFailure: Error, Equatable, Sendable {
    /// The server answered with this HTTP status; its own words, if it had any.
    case refused(status: Int, message: String?)
    /// The server does not serve the countries that were tried; its own words, and the countries, the last one last.
    case unservedCountry(message: String?, tried: [String])
    /// The proxy is there, and did not connect: in this country, if one was asked for.
    case notConnected(host: String, country: String? = nil)
    case malformedAnswer(String)
    case cutShort
    /// Nothing listens where the proxy should be.
    case noProxy(address: String)
    /// The proxy is there, but could not reach the server.
    case unreachable(host: String, why: String)
    /// TLS failed: the server could not prove who it is.
    case untrusted(host: String, why: String)

    /// Whether asking again later may help, so that a conversation goes on.
    package var mayPass: Bool {
        switch self {
        case .refused(let status, _): status == 429 || status >= 500 || status == 403
        case .malformedAnswer, .untrusted: false
        case .cutShort, .noProxy, .unreachable, .notConnected, .unservedCountry: true
        }
    }
}

extension ChatFailure: OperatorFacing {
    package var operatorError: OperatorError {
        switch self {
        case .refused(let status, let message): Self.refusal(status, message)
        case .unservedCountry(let message, let tried):
            OperatorError(
                "the server does not serve the country that the request comes from (403)"
                    + (message.map { ": \(DisplayText.line($0))" } ?? "") + ". Tried: \(tried.joined(separator: ", "))",
                advice:
                    "Choose a country that it serves with --country; 'thor-proxy status --exits' lists what there is",
                status: .unavailable)
        case .notConnected(let host, let country):
            OperatorError(
                "the proxy could not connect to \(host)" + (country.map { " from \($0.uppercased())" } ?? ""),
                advice: "'thor-proxy trace https://\(host)/\(country.map { " --country \($0)" } ?? "")' says why",
                status: .unavailable)
        case .malformedAnswer(let what):
            OperatorError(
                "the server does not answer as an OpenAI-compatible server does: \(what)",
                advice: "Check --base-url", status: .wrongProtocol)
        case .cutShort:
            OperatorError(
                "the connection ended in the middle of the answer", advice: "Ask again", status: .unavailable)
        case .noProxy(let address):
            OperatorError(
                "nothing listens at \(address), where the proxy should be",
                advice: "Start thor-proxy or thor-testnet, name another place with --proxy, or use --direct "
                    + "to go without (the server then sees your address)",
                status: .unavailable)
        case .unreachable(let host, let why):
            OperatorError(
                "cannot reach \(host): \(why)",
                advice: "Check the network; with the proxy, 'thor-proxy status' says how it is", status: .unavailable)
        case .untrusted(let host, let why):
            OperatorError(
                "\(host) could not prove that it is who it should be (TLS): \(why). Nothing was sent to it",
                advice: "For a server of your own, name the certificate of its CA with --ca-file",
                status: .wrongProtocol)
        }
    }

    private static func refusal(_ status: Int, _ message: String?) -> OperatorError {
        let words = message.map { ": \(DisplayText.line($0))" } ?? ""
        switch status {
        case 401:
            return OperatorError(
                "the server does not accept the API key (401)\(words)",
                advice: "Put a valid key, alone, in the key file", status: .permission)
        case 403:
            return OperatorError(
                "the server refuses this request (403)\(words)",
                advice: "It may be about the key, or the country of the exit router: --country chooses another",
                status: .unavailable)
        case 404:
            return OperatorError(
                "the server knows no such model or address (404)\(words)", advice: "Check --model and --base-url",
                status: .unavailable)
        case 429:
            return OperatorError(
                "too many requests, or the account's quota is spent (429)\(words)",
                advice: "Wait a little, or look at the account's limits", status: .temporary)
        case 500...:
            return OperatorError(
                "the server is in trouble (\(status))\(words)", advice: "Try later", status: .unavailable)
        default:
            return OperatorError(
                "the server refuses the request (\(status))\(words)", advice: "Check --model and --base-url",
                status: .unavailable)
        }
    }
}

import AsyncHTTPClient
package import Foundation
import NIOConcurrencyHelpers
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
package import ThorDaemon

/// Talks with one OpenAI-compatible server, through a proxy (by HTTP CONNECT) or directly. Through a proxy, the server's name
/// is handed to it and looked up at the exit, never here; and when the server does not serve the exit's country, other
/// countries are tried, by user names such as `country-se`.
package final class ChatClient: Sendable {
    package struct Configuration: Sendable {
        package var baseURL: URL
        package var apiKey: String
        package var model: String
        /// nil: straight to the server.
        package var proxy: HostPort?
        /// The country to leave in, as two letters or `not-us`; nil leaves it to the proxy.
        package var country: String?
        /// A file of PEM certificates to trust besides the system's.
        package var caFile: String?

        /// - Throws: a base URL that is none, or would show the API key to the exit router.
        package init(
            baseURL: String, apiKey: String, model: String, proxy: HostPort?, country: String? = nil, caFile: String?
        ) throws(OperatorError) {
            guard let url = URL(string: baseURL), let host = url.host, !host.isEmpty, url.user == nil,
                url.scheme == "https" || url.scheme == "http"
            else {
                throw OperatorError(
                    "\(baseURL) is no base URL", advice: "It looks like https://api.openai.com/v1", status: .usage)
            }
            guard url.scheme == "https" || proxy == nil else {
                throw OperatorError(
                    "\(baseURL) is not encrypted: the exit router would read the API key and all you say",
                    advice: "Use an https:// address", status: .usage)
            }
            if let country, !Self.isCountry(country) {
                throw OperatorError(
                    "--country wants two letters, and \(country) is something else",
                    advice: "Give one such as se, or not-us", status: .usage)
            }
            guard country == nil || proxy != nil else {
                throw OperatorError(
                    "--direct leaves in no country but your own", advice: "Leave --country out", status: .usage)
            }
            if let caFile, !FileManager.default.isReadableFile(atPath: caFile) {
                throw OperatorError("cannot read \(caFile)", advice: "Check --ca-file", status: .noInput)
            }
            self.baseURL = url
            self.apiKey = apiKey
            self.model = model
            self.proxy = proxy
            self.country = country
            self.caFile = caFile
        }

        private static func isCountry(_ text: String) -> Bool {
            let text = text.lowercased()
            let code = text.hasPrefix("not-") ? text.dropFirst(4) : text[...]
            return code.utf8.count == 2
                && code.utf8.allSatisfy { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) }
        }
    }

    /// An error's body is read up to here.
    private static let maximumErrorByteCount = 64 << 10
    /// How long a server may think before it says anything, and between two pieces.
    private static let silence = TimeAmount.seconds(120)

    private struct State {
        var client: HTTPClient
        var search: CountrySearch
    }

    private let configuration: Configuration
    /// Changes from try to try, and stays at what worked.
    private let state: NIOLockedValueBox<State>

    package init(_ configuration: Configuration) {
        self.configuration = configuration
        let search = CountrySearch(country: configuration.country)
        self.state = NIOLockedValueBox(
            State(client: Self.client(configuration, country: search.country), search: search))
    }

    private static func client(_ configuration: Configuration, country: String?) -> HTTPClient {
        var http = HTTPClient.Configuration()
        if let proxy = configuration.proxy {
            http.proxy = .server(
                host: proxy.host, port: Int(proxy.port ?? 1080),
                // What follows the + only keeps us apart from others who want that country.
                authorization: country.map { .basic(username: "country-\($0)+chat", password: "") })
        }
        // A redirect would take the API key to somebody else.
        http.redirectConfiguration = .disallow
        http.timeout = .init(connect: .seconds(60), read: Self.silence)
        if let caFile = configuration.caFile {
            var tls = TLSConfiguration.makeClientConfiguration()
            tls.additionalTrustRoots = [.file(caFile)]
            http.tlsConfiguration = tls
        }
        // One connection that failed is a failure; the caller decides about trying again.
        http.connectionPool.retryConnectionEstablishment = false
        return HTTPClient(eventLoopGroupProvider: .singleton, configuration: http)
    }

    package func shutdown() async throws { try await self.state.withLockedValue { $0.client }.shutdown() }

    /// Send the conversation, and hand over the answer piece by piece.
    ///
    /// - Parameters:
    ///   - onText: called with each piece.
    ///   - onNews: called with a sentence when the server does not serve a country, and when one is found that it serves.
    /// - Returns: the whole answer.
    /// - Throws: ``ChatFailure``
    package func answer(
        to messages: [ChatMessage], onText: (String) -> Void, onNews: (String) -> Void = { _ in }
    ) async throws -> String {
        var refusal: ChatFailure?
        while true {
            do {
                return try await self.answerOnce(to: messages) { text in
                    if refusal != nil { onNews("it serves \(self.place)") }
                    refusal = nil
                    onText(text)
                }
            } catch ChatFailure.unservedCountry(let message, _) {
                let refused = self.place
                let next = self.configuration.proxy == nil ? nil : self.state.withLockedValue { $0.search.refused() }
                refusal = .unservedCountry(message: message, tried: self.state.withLockedValue { $0.search.tried })
                try await self.leave(in: next, or: refusal)
                onNews("the server does not serve \(refused); trying other countries")
            } catch let failure as ChatFailure {
                // While searching: no exit in that country, or none that connects.
                guard case .notConnected = failure, let refusal else { throw failure }
                let next = self.state.withLockedValue { $0.search.unavailable() }
                try await self.leave(in: next, or: refusal)
            }
        }
    }

    /// Where requests leave now, for people.
    private var place: String {
        self.state.withLockedValue { $0.search.country?.uppercased() } ?? "the country of the exit that the proxy chose"
    }

    /// Let the next request leave in a country; throw what there is to say if there is none.
    private func leave(in country: String?, or failure: ChatFailure?) async throws {
        let old = self.state.withLockedValue { state in
            // Where the list has ended the next question begins anew.
            if country == nil { state.search = CountrySearch(country: self.configuration.country) }
            defer { state.client = Self.client(self.configuration, country: state.search.country) }
            return state.client
        }
        try await old.shutdown()
        if country == nil { throw failure ?? .cutShort }
    }

    private func answerOnce(to messages: [ChatMessage], onText: (String) -> Void) async throws -> String {
        let response = try await self.send(messages)
        var events = ServerSentEvents()
        var answer = ""
        do {
            for try await part in response.body {
                for event in try events.append(part.readableBytesView) {
                    switch try ChatPiece(event: event) {
                    case .text(let text):
                        answer += text
                        onText(DisplayText.block(text))
                    case .end: return answer
                    case .nothing: break
                    }
                }
            }
        } catch let failure as ChatFailure {
            throw self.withoutKey(failure)
        } catch {
            // Whatever the layers below call it, the connection did not last until the end of the answer.
            throw ChatFailure.cutShort
        }
        throw ChatFailure.cutShort
    }

    private func send(_ messages: [ChatMessage]) async throws -> HTTPClientResponse {
        var request = HTTPClientRequest(
            url: self.configuration.baseURL.appendingPathComponent("chat/completions").absoluteString)
        request.method = .POST
        request.headers.add(name: "Authorization", value: "Bearer \(self.configuration.apiKey)")
        request.headers.add(name: "Content-Type", value: "application/json")
        request.headers.add(name: "Accept", value: "text/event-stream")
        let body = try JSONEncoder().encode(ChatRequest(model: self.configuration.model, messages: messages))
        request.body = .bytes(ByteBuffer(bytes: body))
        let response: HTTPClientResponse
        let client = self.state.withLockedValue { $0.client }
        do { response = try await client.execute(request, timeout: .hours(1)) } catch {
            throw self.failure(error)
        }
        guard response.status == .ok else {
            let body = try? await response.body.collect(upTo: Self.maximumErrorByteCount)
            let error = body.flatMap { ServerError(body: Array($0.readableBytesView)) }
            if response.status == .forbidden, error?.code == ServerError.unservedCountry {
                throw self.withoutKey(.unservedCountry(message: error?.message, tried: []))
            }
            throw self.withoutKey(.refused(status: Int(response.status.code), message: error?.message))
        }
        return response
    }

    /// Tell what a connection's error means to the person who asked.
    private func failure(_ error: any Error) -> any Error {
        let host = self.configuration.baseURL.host ?? ""
        switch error {
        // A circuit that ends before the answer resets a connection that the proxy had accepted.
        case let error as IOError where !Self.isOfConnecting(error):
            let why = "the connection broke before the answer (\(String(cString: strerror(error.errnoCode))))"
            return ChatFailure.unreachable(host: host, why: why)
        case is NIOConnectionError, is IOError, ChannelError.connectTimeout:
            guard let proxy = self.configuration.proxy else {
                return ChatFailure.unreachable(host: host, why: "\(error)")
            }
            return ChatFailure.noProxy(address: "\(proxy)")
        case NIOSSLError.handshakeFailed(.sslError([.eofDuringHandshake])):
            return ChatFailure.unreachable(host: host, why: "the connection was closed during the TLS handshake")
        case is NIOSSLError, is BoringSSLError, is NIOSSLExtraError:
            return ChatFailure.untrusted(host: host, why: "\(error)")
        // What it answered to CONNECT is not told.
        case let error as HTTPClientError where error == .invalidProxyResponse:
            return ChatFailure.notConnected(host: host, country: self.state.withLockedValue { $0.search.country })
        case let error as HTTPClientError where error == .proxyAuthenticationRequired:
            return ChatFailure.unreachable(host: host, why: "the proxy wants a password")
        case let error as HTTPClientError:
            return ChatFailure.unreachable(host: host, why: error.shortDescription)
        default:
            return ChatFailure.unreachable(host: host, why: "\(error)")
        }
    }

    /// Whether it is one of those that only connecting meets.
    private static func isOfConnecting(_ error: IOError) -> Bool {
        [ECONNREFUSED, ENETUNREACH, EHOSTUNREACH, EADDRNOTAVAIL, ENOENT].contains(error.errnoCode)
    }

    /// A server may repeat the key in what it says; we do not.
    private func withoutKey(_ failure: ChatFailure) -> ChatFailure {
        func clean(_ message: String?) -> String? {
            message?.replacingOccurrences(of: self.configuration.apiKey, with: "[the API key]")
        }
        return switch failure {
        case .refused(let status, let message): .refused(status: status, message: clean(message))
        case .unservedCountry(let message, let tried): .unservedCountry(message: clean(message), tried: tried)
        case .notConnected, .malformedAnswer, .cutShort, .noProxy, .unreachable, .untrusted: failure
        }
    }
}

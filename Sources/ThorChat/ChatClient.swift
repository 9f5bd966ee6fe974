import AsyncHTTPClient
package import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
package import ThorDaemon

/// Talks with one OpenAI-compatible server, through a SOCKS5 proxy or directly. Through a proxy, the server's name is
/// handed to it and looked up at the exit, never here.
package final class ChatClient: Sendable {
    package struct Configuration: Sendable {
        package var baseURL: URL
        package var apiKey: String
        package var model: String
        /// nil: straight to the server.
        package var proxy: HostPort?
        /// A file of PEM certificates to trust besides the system's.
        package var caFile: String?

        /// - Throws: a base URL that is none, or would show the API key to the exit router.
        package init(baseURL: String, apiKey: String, model: String, proxy: HostPort?, caFile: String?)
            throws(OperatorError)
        {
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
            if let caFile, !FileManager.default.isReadableFile(atPath: caFile) {
                throw OperatorError("cannot read \(caFile)", advice: "Check --ca-file", status: .noInput)
            }
            self.baseURL = url
            self.apiKey = apiKey
            self.model = model
            self.proxy = proxy
            self.caFile = caFile
        }
    }

    /// An error's body is read up to here.
    private static let maximumErrorByteCount = 64 << 10
    /// How long a server may think before it says anything, and between two pieces.
    private static let silence = TimeAmount.seconds(120)

    private let configuration: Configuration
    private let client: HTTPClient

    package init(_ configuration: Configuration) {
        self.configuration = configuration
        var http = HTTPClient.Configuration()
        if let proxy = configuration.proxy {
            http.proxy = .socksServer(host: proxy.host, port: Int(proxy.port ?? 1080))
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
        self.client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: http)
    }

    package func shutdown() async throws { try await self.client.shutdown() }

    /// Send the conversation, and hand over the answer piece by piece.
    ///
    /// - Returns: the whole answer.
    /// - Throws: ``ChatFailure``
    package func answer(to messages: [ChatMessage], onText: (String) -> Void) async throws -> String {
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
        do { response = try await self.client.execute(request, timeout: .hours(1)) } catch {
            throw self.failure(error)
        }
        guard response.status == .ok else {
            let body = try? await response.body.collect(upTo: Self.maximumErrorByteCount)
            let message = body.flatMap { ServerError.message(in: Array($0.readableBytesView)) }
            throw self.withoutKey(.refused(status: Int(response.status.code), message: message))
        }
        return response
    }

    /// Tell what a connection's error means to the person who asked.
    private func failure(_ error: any Error) -> any Error {
        let host = self.configuration.baseURL.host ?? ""
        switch error {
        case is NIOConnectionError, is IOError, ChannelError.connectTimeout:
            guard let proxy = self.configuration.proxy else {
                return ChatFailure.unreachable(host: host, why: "\(error)")
            }
            return ChatFailure.noProxy(address: "\(proxy)")
        case is NIOSSLError, is BoringSSLError, is NIOSSLExtraError:
            return ChatFailure.untrusted(host: host, why: "\(error)")
        case let error as HTTPClientError:
            return ChatFailure.unreachable(host: host, why: error.shortDescription)
        default:
            return ChatFailure.unreachable(host: host, why: "\(error)")
        }
    }

    /// A server may repeat the key in what it says; we do not.
    private func withoutKey(_ failure: ChatFailure) -> ChatFailure {
        guard case .refused(let status, let message) = failure else { return failure }
        return .refused(
            status: status,
            message: message?.replacingOccurrences(of: self.configuration.apiKey, with: "[the API key]"))
    }
}

import Foundation
import Glibc
import TestSupport
import Testing

@testable import ThorChat
@testable import ThorDaemon

@Suite("Connection of a chat", .timeLimit(.minutes(1)))
struct ChatClientTests {
    @Test("a proxy where nothing listens is called that") func absent() async throws {
        let port = try ReservedPort()
        let failure = await self.failure(at: port.port)
        #expect(failure == .noProxy(address: "127.0.0.1:\(port.port)"))
    }

    @Test("a proxy that resets or closes the connection is there", arguments: [true, false])
    func broken(isReset: Bool) async throws {
        let (listener, port) = try ReservedPort.listen()
        defer { close(listener) }
        // On a thread, as it waits.
        Thread.detachNewThread { Self.connectAndBreak(listener, isReset: isReset) }
        let failure = await self.failure(at: port)
        guard case .unreachable(host: "h.example", _) = failure else {
            Issue.record("\(String(describing: failure))")
            return
        }
    }

    @Test("a redirect is not followed: it would take the API key to somebody else")
    func redirect() async throws {
        let (listener, port) = try ReservedPort.listen()
        defer { close(listener) }
        let elsewhere = try ReservedPort()
        Thread.detachNewThread { Self.redirect(listener, to: elsewhere.port) }
        let failure = await self.failure("http://127.0.0.1:\(port)/v1", proxy: nil)
        #expect(failure == .refused(status: 302, message: nil))
    }

    private func failure(at port: UInt16) async -> ChatFailure? {
        await self.failure("https://h.example/v1", proxy: HostPort(host: "127.0.0.1", port: port))
    }

    private func failure(_ baseURL: String, proxy: HostPort?) async -> ChatFailure? {
        await #expect(throws: ChatFailure.self) {
            let client = ChatClient(
                try .init(baseURL: baseURL, apiKey: "k", model: "m", proxy: proxy, caFile: nil))
            do {
                _ = try await client.answer(to: [ChatMessage(role: .user, content: "?")], onText: { _ in })
            } catch {
                try await client.shutdown()
                throw error
            }
        }
    }

    /// Take one connection, answer its request so, and wait for its end.
    private static func redirect(_ listener: Int32, to port: UInt16) {
        let connection = accept(listener, nil, nil)
        var buffer = [UInt8](repeating: 0, count: 4096)
        _ = read(connection, &buffer, buffer.count)
        let answer =
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:\(port)/\r\nContent-Length: 0\r\n"
            + "Connection: close\r\n\r\n"
        _ = write(connection, answer, answer.utf8.count)
        while read(connection, &buffer, buffer.count) > 0 {}
        close(connection)
    }

    /// Take one connection, say to its CONNECT that it is connected, and reset or close it when TLS begins.
    private static func connectAndBreak(_ listener: Int32, isReset: Bool) {
        let connection = accept(listener, nil, nil)
        var buffer = [UInt8](repeating: 0, count: 4096)
        _ = read(connection, &buffer, buffer.count)
        let answer = "HTTP/1.1 200 OK\r\n\r\n"
        _ = write(connection, answer, answer.utf8.count)
        _ = read(connection, &buffer, buffer.count)
        var lingering = linger(l_onoff: isReset ? 1 : 0, l_linger: 0)
        setsockopt(connection, SOL_SOCKET, SO_LINGER, &lingering, socklen_t(MemoryLayout<linger>.size))
        close(connection)
    }
}

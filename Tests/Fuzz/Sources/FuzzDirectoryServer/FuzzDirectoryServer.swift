import NIOCore
import OnionCrypto
import OnionDirectory

@testable import DirectoryServer

/// The directory server: its end of a connection, with frames in pieces of any size and time passing; and its registry of
/// routers, as a sequence of events. The first byte says which.
enum FuzzDirectoryServer {
    /// Returns whether a message was read, or something happened to the registry.
    static func feed(_ bytes: [UInt8]) -> Bool {
        var script = bytes[...]
        guard let first = script.popFirst(), script.count >= 2 else { return false }
        if first & 1 == 0 { return WatchedConnection.play(&script) }
        var registry = WatchedRegistry(isOpen: first & 2 == 0)
        while let event = script.popFirst(), let value = script.popFirst() { registry.play(event, value) }
        registry.end()
        return true
    }

    static var seeds: [[UInt8]] {
        let messages: [DirectoryMessage] = [
            .register([1, 2, 3]),
            .heartbeat(counter: 1, load: RouterLoad(circuitCount: 2, streamCount: 3, bytesPerSecond: 4)),
            .getConsensus(haveRevision: 5), .getTicket(commitment: .zero),
        ]
        let frames = messages.compactMap { message -> [UInt8]? in
            var buffer = ByteBuffer()
            guard (try? message.write(to: &buffer)) != nil else { return nil }
            return Array(buffer: buffer)
        }
        /// Bytes as `WatchedConnection` takes them: a count, then as many.
        func pieces(_ bytes: [UInt8], of byteCount: Int) -> [UInt8] {
            stride(from: 0, to: bytes.count, by: byteCount).flatMap { start in
                let piece = bytes[start..<min(bytes.count, start + byteCount)]
                return [UInt8(piece.count)] + piece
            }
        }
        let all = Array(frames.joined())
        return [
            [0] + pieces(all, of: 200), [0] + pieces(all, of: 3), [0] + pieces(frames[2], of: 40) + [255, 80, 255, 20],
            // Three routers register and prove themselves, send beats, and go.
            [1, 0, 0, 0, 1, 0, 2, 1, 0, 1, 0, 1, 0, 6, 20, 2, 0, 2, 1, 2, 2, 6, 255, 6, 255, 6, 255, 7, 0],
            [1, 0, 0, 1, 0, 3, 0, 1, 1, 2, 0, 0, 0x10, 1, 0, 2, 0, 4, 0, 5, 1, 6, 50, 0, 0, 1, 0],
            [3, 0, 0, 1, 0, 5, 3, 0, 1, 6, 100, 5, 7, 0, 2, 1, 0],
        ]
    }
}

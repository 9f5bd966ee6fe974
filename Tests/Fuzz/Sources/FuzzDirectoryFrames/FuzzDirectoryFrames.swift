import NIOCore
import OnionCrypto
import OnionDirectory

/// The stream of frames on a directory connection, at both ends. The first two bytes say where it is cut in two.
enum FuzzDirectoryFrames {
    /// Returns whether the bytes are whole frames for one of the two ends.
    static func feed(_ bytes: [UInt8]) -> Bool {
        guard bytes.count >= 2 else { return false }
        let stream = bytes.dropFirst(2)
        let cut = stream.startIndex + (Int(bytes[0]) << 8 | Int(bytes[1])) % (stream.count + 1)
        var isAccepted = false
        for side in [DirectorySide.directory, .participant] {
            let whole = Outcome(of: [stream], side)
            precondition(
                Outcome(of: [stream[..<cut], stream[cut...]], side) == whole, "frames depend on how they arrive")
            Self.again(whole.messages, side)
            isAccepted = isAccepted || (!whole.messages.isEmpty && whole.error == nil && whole.leftByteCount == 0)
        }
        return isAccepted
    }

    /// What a decoder made of the stream, up to its first error.
    private struct Outcome: Equatable {
        var messages: [DirectoryMessage] = []
        var error: DirectoryError?
        var leftByteCount = 0

        init(of parts: [ArraySlice<UInt8>], _ side: DirectorySide) {
            var decoder = DirectoryFrameDecoder(receiver: side)
            do throws(DirectoryError) {
                for part in parts {
                    decoder.append(ByteBuffer(bytes: part))
                    while let message = try decoder.next() { self.messages.append(message) }
                }
            } catch { self.error = error }
            self.leftByteCount = decoder.bufferedByteCount
        }
    }

    private static func again(_ messages: [DirectoryMessage], _ side: DirectorySide) {
        guard let bytes = try? Self.encoded(messages) else {
            preconditionFailure("a message that was read cannot be written")
        }
        precondition(Outcome(of: [bytes[...]], side).messages == messages, "messages changed")
    }

    private static func encoded(_ messages: [DirectoryMessage]) throws -> [UInt8] {
        var buffer = ByteBuffer()
        for message in messages { try message.write(to: &buffer) }
        return Array(buffer: buffer)
    }

    static var seeds: [[UInt8]] {
        let toDirectory: [DirectoryMessage] = [
            .register([1, 2, 3]),
            .heartbeat(counter: 1, load: RouterLoad(circuitCount: 2, streamCount: 3, bytesPerSecond: 4)),
            .getConsensus(haveRevision: 5), .getTicket(commitment: .zero),
        ]
        let toParticipant: [DirectoryMessage] = [
            .hello([UInt8](repeating: 1, count: 105)), .registered(sequence: 1, revision: 2),
            .heartbeatAck(counter: 1, revision: 2), .consensus([UInt8](repeating: 2, count: 300)),
            .notModified(revision: 7), .ticket([UInt8](repeating: 3, count: 137)), .error(.busy, text: "later, please"),
            .error(.malformed, text: ""),
        ]
        let streams = [toDirectory, toParticipant] + (toDirectory + toParticipant).map { [$0] }
        return streams.compactMap { try? [0, 7] + Self.encoded($0) }
    }
}

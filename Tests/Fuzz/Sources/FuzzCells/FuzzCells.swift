import NIOCore
import OnionAddress
import OnionCells
import OnionCrypto

/// Cell headers, NetInfo and the handshake bodies: what any peer sends first. What is accepted must come back the same.
enum FuzzCells {
    /// Returns whether some decoder took the bytes.
    static func feed(_ bytes: [UInt8]) -> Bool {
        if bytes.count >= Cell.headerByteCount {
            let header = CellHeader(of: bytes.span.bytes)
            var again = Array(bytes.prefix(Cell.headerByteCount))
            var span = again.mutableSpan
            var raw = span.mutableBytes
            header.write(to: &raw)
            precondition(again == Array(bytes.prefix(Cell.headerByteCount)), "a header changed")
        }
        var isAccepted = false
        if let info = try? NetInfo(body: ByteBuffer(bytes: bytes)) {
            precondition((try? NetInfo(body: Self.encoded(info))) == info, "NetInfo changed")
            isAccepted = true
        }
        if let create = try? HandshakeBody.create(in: bytes.span.bytes) {
            precondition(bytes.starts(with: create), "a Create is not what came")
            precondition((try? HandshakeBody.create(in: create.span.bytes)) == create, "a Create changed")
            isAccepted = true
        }
        if let created = try? HandshakeBody.created(in: bytes.span.bytes) {
            precondition(bytes.starts(with: created), "a Created is not what came")
            precondition((try? HandshakeBody.created(in: created.span.bytes)) == created, "a Created changed")
            isAccepted = true
        }
        return isAccepted
    }

    static var seeds: [[UInt8]] {
        let infos = [
            NetInfo.anonymous, NetInfo(unixTime: 1_795_000_000, observedAddress: .v4(0x0506_0708)),
            NetInfo(unixTime: 1, observedAddress: .v6(hi: 0x2a00_0001_0000_0000, lo: 1)),
        ]
        func zeros(_ count: Int) -> [UInt8] { [UInt8](repeating: 0, count: count) }
        let create: [UInt8] = [0, 1] + zeros(CircuitHandshake.createByteCount - 2)
        // Two unknown extensions, one without a value.
        let extensions: [UInt8] = [0, 11, 0, 7, 0, 3, 1, 2, 3, 0, 8, 0, 0]
        let extendedCreate: [UInt8] = create.dropLast(2) + extensions
        let extendedCreated: [UInt8] = zeros(1120) + extensions + zeros(32)
        let handshakes: [[UInt8]] = [
            create, create + zeros(Cell.bodyByteCount - create.count), extendedCreate, extendedCreated,
            zeros(CircuitHandshake.createdByteCount), zeros(Cell.bodyByteCount),
        ]
        return infos.map { Array(buffer: Self.encoded($0)) + [0, 0, 0] } + handshakes
    }

    private static func encoded(_ info: NetInfo) -> ByteBuffer {
        var buffer = ByteBuffer()
        info.write(to: &buffer)
        return buffer
    }
}

import NIOCore
import OnionAddress
import Testing

@testable import OnionCells

@Suite("NetInfo")
struct NetInfoTests {
    static let all: [NetInfo] = [
        .anonymous, NetInfo(unixTime: .max, observedAddress: .v4(0x0102_0304)),
        NetInfo(unixTime: 1, observedAddress: .v6(hi: 0x2001_0db8_0000_0000, lo: 7)),
    ]

    @Test("reads back what it wrote, zeros behind it or not", arguments: all)
    func roundTrip(info: NetInfo) throws {
        var body = ByteBuffer()
        info.write(to: &body)
        #expect(try NetInfo(body: body) == info)
        body.writeRepeatingByte(0, count: 100)
        #expect(try NetInfo(body: body) == info)
    }

    @Test("is refused when it is cut at any byte", arguments: all.dropFirst())
    func truncated(info: NetInfo) {
        var body = ByteBuffer()
        info.write(to: &body)
        for count in 0..<body.readableBytes {
            #expect(throws: CellError.self) { try NetInfo(body: body.getSlice(at: 0, length: count) ?? ByteBuffer()) }
        }
    }

    @Test("is refused with an address of a type that nobody knows", arguments: [1, 3, 5, 255] as [UInt8])
    func unknownType(type: UInt8) {
        var body = ByteBuffer(repeating: 0, count: 40)
        body.setInteger(type, at: 8)
        #expect(throws: CellError.invalidField(.address)) { try NetInfo(body: body) }
    }
}

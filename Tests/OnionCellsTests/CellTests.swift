import NIOCore
import OnionCrypto
import Testing

@testable import OnionCells

@Suite("Cell layout")
struct CellTests {
    @Test("a header is five bytes, big-endian, and reads back", arguments: CellCommand.allCases)
    func header(command: CellCommand) {
        var cell = [UInt8](repeating: 0xff, count: 6)
        do {
            var bytes = cell.mutableSpan
            var span = bytes.mutableBytes
            CellHeader(circuitID: CircuitID(rawValue: 0x8102_0304), command: command).write(to: &span)
        }
        #expect(cell == [0x81, 2, 3, 4, command.rawValue, 0xff])
        let header = CellHeader(of: cell.span.bytes)
        #expect(header.circuitID.rawValue == 0x8102_0304 && header.command == command)
        #expect(header.circuitID.isAllocatedByDialler)
    }

    @Test("a command that nobody knows is kept as it is, and is none", arguments: [9, 100, 255] as [UInt8])
    func unknownCommand(raw: UInt8) {
        let header = CellHeader(of: [0, 0, 0, 1, raw].span.bytes)
        #expect(header.command == nil && header.rawCommand == raw)
    }

    @Test("the parts of a cell fill it")
    func sizes() {
        #expect(Cell.headerByteCount + Cell.bodyByteCount == Cell.byteCount)
        #expect(Cell.tagByteCount + Cell.payloadByteCount == Cell.bodyByteCount)
        #expect(RelayMessageHeader.maximumDataByteCount == 2022)
    }

    @Test("ids are given once each, with the side's high bit, until they are spent", arguments: [true, false])
    func allocator(isDialler: Bool) {
        var ids = CircuitIDAllocator(isDialler: isDialler)
        #expect(ids.allocate()?.rawValue == (isDialler ? 0x8000_0001 : 1))
        #expect(ids.allocate()?.rawValue == (isDialler ? 0x8000_0002 : 2))
        ids.next = 0x7fff_ffff
        #expect(ids.allocate()?.rawValue == (isDialler ? 0xffff_ffff : 0x7fff_ffff))
        for _ in 0..<3 { #expect(ids.allocate() == nil) }
    }

    @Test("reasons read from the wire are never unknown")
    func reasons() {
        for byte in UInt8.min...UInt8.max {
            #expect(EndReason(wire: byte) == EndReason(rawValue: byte) ?? .unspecified)
            #expect(DestroyReason(wire: byte) == DestroyReason(rawValue: byte) ?? .unspecified)
        }
    }

    @Test("no command is for both directions alone, and the circuit's are those with stream id 0")
    func commands() {
        for command in RelayCommand.allCases { #expect(!(command.isForwardOnly && command.isBackwardOnly)) }
        #expect(
            Set(RelayCommand.allCases.filter(\.isAboutCircuit)) == [.sendMe, .extend, .extended, .truncated, .drop])
        #expect(Set(RelayCommand.allCases.filter(\.isFlowControl)) == [.sendMe, .xOff, .xOn])
    }
}

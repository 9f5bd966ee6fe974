import NIOCore
import Testing

@testable import OnionDirectory

@Suite("Network parameters")
struct NetworkParametersTests {
    @Test("defaults are in their ranges and fit together") func defaults() throws {
        for parameter in NetworkParameter.allCases {
            #expect(parameter.definition.range.contains(parameter.definition.default), "\(parameter.rawValue)")
            #expect(parameter.definition.range.lowerBound >= 0)
            #expect(!parameter.definition.unit.isEmpty)
            #expect((1...DirectoryLimits.parameterNameByteCount).contains(parameter.rawValue.utf8.count))
        }
        #expect(NetworkParameter.allCases.count <= DirectoryLimits.parameterCount)
        try NetworkParameters().completed.validate()
        try NetworkParameters.testNetwork.completed.validate()
        #expect(!NetworkParameters().allows(.allowLoopback))
        #expect(NetworkParameters.testNetwork.allows(.allowLoopback))
    }

    @Test("NAME=VALUE sets one") func parsing() throws {
        var parameters = NetworkParameters()
        try parameters.set(parsing: "streams-per-circuit=17")
        #expect(parameters[.streamsPerCircuit] == 17)
        #expect(parameters.assignments == ["streams-per-circuit=17"])
    }

    @Test(
        "other text is refused with the name in the message",
        arguments: [
            "streams-per-circuit", "streams-per-circuit=", "streams-per-circuit=x", "streams-per-circuit=0",
            "streams-per-circuit=65536", "streams-per-circuit=-1", "streams-per-circuit=1.5", "no-such=1", "=1",
            "streams-per-circuit=99999999999999999999",
        ])
    func badText(text: String) {
        var parameters = NetworkParameters()
        #expect(throws: DirectoryError.self) { try parameters.set(parsing: text) }
        #expect(parameters == NetworkParameters())
    }

    @Test(
        "windows must be ordered and in range",
        arguments: [
            (32, 32, 32, true), (32, 256, 4_096, true), (32, 16_384, 16_384, true), (33, 32, 64, false),
            (32, 65, 64, false),
            (64, 32, 32, false),
        ])
    func windows(minimum: Int, initial: Int, maximum: Int, fits: Bool) throws {
        var parameters = NetworkParameters()
        try parameters.set(.ccWindowMinimum, to: minimum)
        try parameters.set(.ccWindowInitial, to: initial)
        try parameters.set(.ccWindowMaximum, to: maximum)
        if fits {
            try parameters.validate()
        } else {
            #expect(throws: DirectoryError.self) { try parameters.validate() }
        }
        #expect(throws: DirectoryError.self) { try parameters.set(.ccWindowMinimum, to: 31) }
        #expect(throws: DirectoryError.self) { try parameters.set(.ccWindowMaximum, to: 16_385) }
    }

    @Test(
        "what must be ordered is: equal fits, and more does not",
        arguments: [
            (.ccVegasAlpha, .ccVegasBeta), (.ccVegasBeta, .ccVegasDelta), (.streamBufferResume, .streamBufferLimit),
            (.handshakeQueuePerLink, .handshakeQueue), (.halfOpenPerAddress, .connectionsPerAddress),
            (.linkPingAfter, .linkSilence), (.consensusResign, .consensusFresh), (.consensusFresh, .consensusValid),
        ] as [(NetworkParameter, NetworkParameter)])
    func order(low: NetworkParameter, high: NetworkParameter) throws {
        var parameters = NetworkParameters()
        let value = parameters[high]
        try parameters.set(low, to: value)
        try parameters.validate()
        try parameters.set(low, to: value + 1)
        #expect(
            throws: DirectoryError.badParameter(
                name: low.rawValue, problem: "\(value + 1) is more than \(high.rawValue), \(value)")
        ) { try parameters.validate() }
    }

    @Test("goes over the wire, unknown names included, and is refused cut off at every byte") func wire() throws {
        var parameters = NetworkParameters()
        try parameters.set(.heartbeatInterval, to: 500)
        var buffer = ByteBuffer()
        parameters.completed.write(to: &buffer)
        var copy = buffer
        let read = try NetworkParameters(from: &copy)
        #expect(read == parameters.completed)
        #expect(read[.heartbeatInterval] == 500)
        for count in 0..<buffer.readableBytes {
            var part = try #require(buffer.getSlice(at: 0, length: count))
            #expect(throws: DirectoryError.self) { try NetworkParameters(from: &part) }
        }
        var unknown = Self.encode([("a-new-one", 5), ("streams-per-circuit", 9)])
        let future = try NetworkParameters(from: &unknown)
        #expect(future[.streamsPerCircuit] == 9)
        #expect(future.assignments == ["a-new-one=5", "streams-per-circuit=9"])
    }

    @Test("other encodings are refused") func refusals() {
        func error(_ entries: [(String, UInt64)]) -> DirectoryError? {
            var buffer = Self.encode(entries)
            do throws(DirectoryError) {
                _ = try NetworkParameters(from: &buffer)
                return nil
            } catch { return error }
        }
        #expect(error([("b", 1), ("a", 1)]) == .notCanonical(.networkParameters))
        #expect(error([("a", 1), ("a", 1)]) == .notCanonical(.networkParameters))
        #expect(error([("", 1)]) == .invalidField(.networkParameters))
        #expect(error([("A", 1)]) == .invalidField(.networkParameters))
        #expect(error([("a b", 1)]) == .invalidField(.networkParameters))
        #expect(
            error([("streams-per-circuit", .max)])
                == .badParameter(name: "streams-per-circuit", problem: "\(UInt64.max) is out of range"))
        #expect(error([("cc-window-initial", 31)]) != nil)
        #expect(
            error([("streams-per-circuit", 0)])
                == .badParameter(name: "streams-per-circuit", problem: "0 is out of range"))
        #expect(
            error([(String(repeating: "a", count: 49), 1)]) == .limitExceeded(.networkParameters, have: 49, limit: 48))
        let most = (0..<DirectoryLimits.parameterCount).map { ("x\($0 + 1000)", UInt64($0)) }
        #expect(error(most) == nil)
        var many = ByteBuffer()
        many.writeInteger(UInt16(DirectoryLimits.parameterCount + 1))
        #expect(throws: DirectoryError.limitExceeded(.networkParameters, have: 257, limit: 256)) {
            try NetworkParameters(from: &many)
        }
    }

    private static func encode(_ entries: [(String, UInt64)]) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeInteger(UInt16(entries.count))
        for (name, value) in entries {
            buffer.writeInteger(UInt8(name.utf8.count))
            buffer.writeString(name)
            buffer.writeInteger(value)
        }
        return buffer
    }
}

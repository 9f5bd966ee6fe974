import NIOCore

/// The values of the network parameters: those that are set, and the defaults of ``NetworkParameter`` for the rest.
///
///     offset  size  field
///     0       2     number of parameters, at most 256
///     2       …     parameters, ascending by name, each:
///                     1  length of the name, 1–48
///                     …  name: a–z, 0–9, "-"
///                     8  value
///
/// A name that is not known here is kept and ignored, so that a network can gain parameters. A known one out of its range, or
/// one that does not fit with another, makes the document invalid.
///
/// - Source: DESIGN §7, §9
public struct NetworkParameters: Equatable, Sendable {
    /// The bounds of each congestion window, in cells.
    public static let windowRange = 32...16_384
    /// After how many counted cells a receiver acknowledges. No parameter, so that both ends always agree.
    public static let sendMeIncrement = 32

    private var values: [String: UInt64] = [:]

    /// All defaults.
    public init() {}

    /// Return a parameter's value in the unit of its definition.
    public subscript(parameter: NetworkParameter) -> Int {
        self.values[parameter.rawValue].flatMap { Int(exactly: $0) } ?? parameter.definition.default
    }

    /// Whether a 0-or-1 parameter is 1.
    public func allows(_ parameter: NetworkParameter) -> Bool { self[parameter] != 0 }

    /// Set one parameter. Whether they fit together is checked by ``validate()``, once all are set.
    ///
    /// - Throws: ``DirectoryError/badParameter(name:problem:)`` when the value is out of range.
    public mutating func set(_ parameter: NetworkParameter, to value: Int) throws(DirectoryError) {
        let definition = parameter.definition
        guard definition.range.contains(value), let wire = UInt64(exactly: value) else {
            throw .badParameter(
                name: parameter.rawValue,
                problem:
                    "\(value) is not within \(definition.range.lowerBound)–\(definition.range.upperBound) (\(definition.unit))"
            )
        }
        self.values[parameter.rawValue] = wire
    }

    /// Set one parameter from `NAME=VALUE`, as on the directory's command line.
    ///
    /// - Throws: ``DirectoryError/badParameter(name:problem:)`` for an unknown name, no number, or one out of range.
    public mutating func set(parsing text: String) throws(DirectoryError) {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2 else { throw .badParameter(name: text, problem: "write NAME=VALUE") }
        let name = String(parts[0])
        guard let parameter = NetworkParameter(rawValue: name) else {
            let names = NetworkParameter.allCases.map(\.rawValue).sorted().joined(separator: ", ")
            throw .badParameter(name: name, problem: "there is none of that name; there are \(names)")
        }
        guard let value = Int(parts[1]) else {
            throw .badParameter(name: name, problem: "\"\(parts[1])\" is no number")
        }
        try self.set(parameter, to: value)
    }

    /// Return these parameters with others set, each from `NAME=VALUE`, once all of them fit together.
    ///
    /// - Throws: ``DirectoryError/badParameter(name:problem:)``, as ``set(parsing:)`` and ``validate()`` do.
    public func setting(_ assignments: [String]) throws(DirectoryError) -> NetworkParameters {
        var parameters = self
        for text in assignments { try parameters.set(parsing: text) }
        try parameters.validate()
        return parameters
    }

    /// Check that every value is in range and that they fit together.
    ///
    /// - Throws: ``DirectoryError/badParameter(name:problem:)``
    public func validate() throws(DirectoryError) {
        for parameter in NetworkParameter.allCases {
            guard let value = self.values[parameter.rawValue] else { continue }
            guard let value = Int(exactly: value), parameter.definition.range.contains(value) else {
                throw .badParameter(name: parameter.rawValue, problem: "\(value) is out of range")
            }
        }
        try self.check(.ccWindowMinimum, atMost: .ccWindowInitial)
        try self.check(.ccWindowInitial, atMost: .ccWindowMaximum)
        try self.check(.ccVegasAlpha, atMost: .ccVegasBeta)
        try self.check(.ccVegasBeta, atMost: .ccVegasDelta)
        try self.check(.streamBufferResume, atMost: .streamBufferLimit)
        try self.check(.handshakeQueuePerLink, atMost: .handshakeQueue)
        try self.check(.halfOpenPerAddress, atMost: .connectionsPerAddress)
        try self.check(.linkPingAfter, atMost: .linkSilence)
        try self.check(.consensusResign, atMost: .consensusFresh)
        try self.check(.consensusFresh, atMost: .consensusValid)
    }

    private func check(_ low: NetworkParameter, atMost high: NetworkParameter) throws(DirectoryError) {
        guard self[low] <= self[high] else {
            throw .badParameter(
                name: low.rawValue, problem: "\(self[low]) is more than \(high.rawValue), \(self[high])")
        }
    }

    /// The same parameters with every default written out, as the directory publishes them.
    public var completed: NetworkParameters {
        var copy = self
        for parameter in NetworkParameter.allCases where copy.values[parameter.rawValue] == nil {
            copy.values[parameter.rawValue] = UInt64(exactly: parameter.definition.default)
        }
        return copy
    }

    /// What a test network on one machine sets: loopback addresses, one subnet, and limits on rates that one user cannot reach.
    public static let testNetwork: NetworkParameters = {
        var parameters = NetworkParameters()
        let raised: [(NetworkParameter, UInt64)] = [
            (.allowLoopback, 1), (.allowSameSubnet, 1), (.allowOneHopBegin, 1), (.streamsPerCircuit, 8_192),
            (.streamsTotal, 131_072), (.beginsPerSecond, 100_000), (.beginBurst, 100_000), (.resolvesPerCircuit, 4_096),
            (.resolvesTotal, 131_072),
            (.circuitsPerClientLink, 16_384), (.createsPerSecond, 10_000), (.createBurst, 10_000),
            (.handshakeQueuePerLink, 1_024), (.connectionsPerAddress, 8_192), (.halfOpenPerAddress, 4_096),
            (.connectsPerSecond, 10_000), (.connectBurst, 10_000),
        ]
        for (parameter, value) in raised { parameters.values[parameter.rawValue] = value }
        return parameters
    }()

    /// The parameters that are set, as `NAME=VALUE`, ascending.
    public var assignments: [String] { self.values.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" } }
}

extension NetworkParameters {
    func write(to buffer: inout ByteBuffer) {
        buffer.writeInteger(UInt16(truncatingIfNeeded: self.values.count))
        // Names are ASCII, whose order as strings is that of their bytes.
        for (name, value) in self.values.sorted(by: { $0.key < $1.key }) {
            buffer.writeText(name)
            buffer.writeInteger(value)
        }
    }

    init(from buffer: inout ByteBuffer) throws(DirectoryError) {
        let count = Int(try buffer.readField(UInt16.self))
        guard count <= DirectoryLimits.parameterCount else {
            throw .limitExceeded(.networkParameters, have: count, limit: DirectoryLimits.parameterCount)
        }
        var previous = ""
        for _ in 0..<count {
            let name = try buffer.readText(.networkParameters, limit: DirectoryLimits.parameterNameByteCount)
            guard !name.isEmpty, name.utf8.allSatisfy(Self.isNameByte) else { throw .invalidField(.networkParameters) }
            guard previous < name else { throw .notCanonical(.networkParameters) }
            previous = name
            self.values[name] = try buffer.readField(UInt64.self)
        }
        try self.validate()
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"): true
        default: false
        }
    }
}

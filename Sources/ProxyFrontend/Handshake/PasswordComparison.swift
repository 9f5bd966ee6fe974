/// Compares passwords in time that depends on their lengths alone. `Benchmarks` checks that it does.
@_spi(Benchmark) public enum PasswordComparison {
    public static func areEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        guard left.count == right.count else { return false }
        return zip(left, right).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) } == 0
    }
}

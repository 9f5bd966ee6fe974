import Glibc

/// A TCP port of 127.0.0.1 that nobody else gets, and where nobody listens: connections to it are refused.
///
/// The fields of `sockaddr_in` are used here alone: beside SwiftNIO's C modules, the compiler takes them for Glibc's or for
/// theirs by the order in which it reads files.
public final class ReservedPort: Sendable {
    struct Failure: Error { let code: Int32 }

    public let port: UInt16
    private let descriptor: Int32

    public init() throws { (self.descriptor, self.port) = try Self.bind() }

    deinit { close(self.descriptor) }

    /// A socket that listens at a free port of 127.0.0.1; the caller closes it.
    public static func listen(backlog: Int32 = 64) throws -> (descriptor: Int32, port: UInt16) {
        let (descriptor, port) = try Self.bind()
        guard Glibc.listen(descriptor, backlog) == 0 else {
            close(descriptor)
            throw Failure(code: errno)
        }
        return (descriptor, port)
    }

    private static func bind() throws -> (descriptor: Int32, port: UInt16) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let bound = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0
            }
        }
        guard bound else {
            let code = errno
            close(descriptor)
            throw Failure(code: code)
        }
        return (descriptor, UInt16(bigEndian: address.sin_port))
    }
}

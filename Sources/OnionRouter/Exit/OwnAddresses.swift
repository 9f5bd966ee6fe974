import NIOConcurrencyHelpers
import NIOCore
import OnionAddress

/// The addresses of this machine's interfaces, read again now and then: providers change them, and IPv6 makes new ones
/// every day (RFC 8981).
final class OwnAddresses: Sendable {
    /// How old an answer may be.
    static let longestAge = TimeAmount.seconds(10)

    private let read: @Sendable () throws -> Set<IPAddress>
    private let latest: NIOLockedValueBox<(addresses: Set<IPAddress>, readAt: NIODeadline)>

    /// - Throws: what `read` throws, this first time. Later, the addresses that were known stay.
    init(now: NIODeadline = .now(), read: @escaping @Sendable () throws -> Set<IPAddress>) throws {
        self.read = read
        self.latest = NIOLockedValueBox((try read(), now))
    }

    /// Those of the system, now.
    static func ofSystem() throws -> Set<IPAddress> {
        Set(try System.enumerateDevices().compactMap { $0.address.flatMap(Endpoint.init)?.address })
    }

    func contains(_ address: IPAddress, now: NIODeadline = .now()) -> Bool {
        self.latest.withLockedValue { latest in
            if now - latest.readAt >= Self.longestAge {
                latest = ((try? self.read()) ?? latest.addresses, now)
            }
            return latest.addresses.contains(address)
        }
    }
}

internal import NIOCore

/// The connections that are open, so that they can be counted and closed. Owned by the client's event loop.
struct ConnectionRegistry {
    private var channels: [ObjectIdentifier: any Channel] = [:]

    /// Note a connection, unless there are `limit` already.
    mutating func add(_ channel: any Channel, limit: Int) -> Bool {
        guard self.channels.count < limit else { return false }
        self.channels[ObjectIdentifier(channel)] = channel
        return true
    }

    /// Forget a connection that has closed.
    mutating func remove(_ channel: any Channel) { self.channels[ObjectIdentifier(channel)] = nil }

    /// Close all of them.
    func closeAll() {
        for channel in self.channels.values { channel.close(promise: nil) }
    }
}

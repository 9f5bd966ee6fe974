import DirectoryClient
import NIOCore

extension ClientDirectory {
    /// The ways to the directory.
    struct Ways: Sendable {
        let direct: @Sendable () async throws -> DirectoryConnection
        /// Over a stream that is connected to it; the stream ends with the connection, and when this throws.
        let through: @Sendable (OpenedStream) async throws -> DirectoryConnection
    }
}

extension ClientDirectory.Ways {
    /// Those over sockets and TLS.
    ///
    /// - Throws: what the TLS library says.
    init(_ configuration: OnionClient.Configuration, on eventLoop: any EventLoop) throws {
        let dialler = try DirectoryDialler(directoryKey: configuration.directoryKey, credentials: nil)
        let timeLimit = configuration.limits.directoryConnectTimeLimit
        self.direct = {
            try await dialler.connect(
                host: configuration.directoryHost, port: configuration.directoryPort, on: eventLoop,
                timeLimit: timeLimit)
        }
        self.through = { stream in
            let channel = try await DirectoryStreamChannel.make(of: stream, on: eventLoop)
            return try await dialler.open(over: channel, timeLimit: timeLimit)
        }
    }
}

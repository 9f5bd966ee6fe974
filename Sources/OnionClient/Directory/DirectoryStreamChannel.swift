import NIOCore
import NIOPosix
import OnionStreams

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// Turns a stream through a circuit into a channel, so that a TLS connection can run over it.
///
/// The two are joined by a pair of connected sockets: the stream's edge is at one end, the returned channel at the other.
/// That costs two copies of a few kilobytes an hour, and the edge needs to know nothing but sockets.
enum DirectoryStreamChannel {
    struct SocketPairFailed: Error { let errno: Int32 }

    /// - Returns: a channel on `eventLoop`; closing it ends the stream.
    static func make(of stream: OpenedStream, on eventLoop: any EventLoop) async throws -> any Channel {
        let (near, far): (CInt, CInt)
        do {
            (near, far) = try Self.socketPair()
        } catch {
            stream.discard()
            throw error
        }
        let edge: any Channel
        do {
            edge = try await ClientBootstrap(group: eventLoop)
                .channelOption(.autoRead, value: false)
                .channelOption(.allowRemoteHalfClosure, value: true)
                .withConnectedSocket(far).get()
        } catch {
            stream.discard()
            close(near)
            throw error
        }
        do {
            let channel = try await ClientBootstrap(group: eventLoop).withConnectedSocket(near).get()
            do {
                try await eventLoop.flatSubmit { stream.attach(to: edge) }.get()
                return channel
            } catch {
                channel.close(promise: nil)
                throw error
            }
        } catch {
            edge.close(promise: nil)
            throw error
        }
    }

    private static func socketPair() throws -> (CInt, CInt) {
        var pair: [CInt] = [-1, -1]
        #if os(Linux)
            let type = CInt(SOCK_STREAM.rawValue)
        #else
            let type = SOCK_STREAM
        #endif
        guard socketpair(AF_UNIX, type, 0, &pair) == 0 else { throw SocketPairFailed(errno: errno) }
        return (pair[0], pair[1])
    }
}

import Foundation
import NIOCore
import OnionAddress
import Testing

@Suite("Links that are lost", .serialized)
struct LinkLossTests {
    /// Connections of many users, so many circuits, cross routers of four event loops each, while links are cut under
    /// them again and again. Nothing is delivered that was not sent, nothing hangs, and in the end everybody is served.
    @Test("while cells of many circuits cross several event loops", .timeLimit(.minutes(5)))
    func cutLinks() async throws {
        try await TestNetwork.run(routers: 4, eventLoops: 4, isRelayed: true) { network in
            try await LoopbackSocket.serving({ try $0.echo() }) { port in
                let socks = network.socks.port
                try await withThrowingTaskGroup(of: Int.self) { group in
                    for user in 0..<8 {
                        group.addTask {
                            try await Threads.run { try Self.exchange(as: user, over: socks, with: port) }
                        }
                    }
                    group.addTask {
                        for round in 0..<20 {
                            try await Task.sleep(for: .milliseconds(100))
                            network.relays[round % network.relays.count].cut()
                        }
                        return 0
                    }
                    for try await wrongCount in group { #expect(wrongCount == 0) }
                }
            }
        }
    }

    /// Echo 2 MiB over one connection after the other, until two have gone through whole.
    ///
    /// - Returns: how many pieces came back other than they were sent.
    private static func exchange(as user: Int, over socks: UInt16, with port: UInt16) throws -> Int {
        let piece = (0..<65536).map { UInt8(truncatingIfNeeded: ($0 &* 2_654_435_761 &+ user) >> 7) }
        var wrongCount = 0
        var wholeCount = 0
        while wholeCount < 2 {
            do {
                let socket = try LoopbackSocket(port: socks)
                guard try socket.socks(as: "user\(user)", connectTo: "127.0.0.1", port: port) == 0 else { continue }
                for _ in 0..<32 {
                    try socket.send(piece)
                    if try socket.receive(exactly: piece.count) != piece { wrongCount += 1 }
                }
                wholeCount += 1
            } catch let failure as LoopbackSocket.Failure where failure.code != EAGAIN {
                // The link was cut; a time-out of 20 s would be EAGAIN.
                continue
            }
        }
        return wrongCount
    }
}

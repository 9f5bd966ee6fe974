import Foundation
import OnionAddress
import Testing

@Suite("Three hops in one process", .serialized)
struct StreamTests {
    @Test("echoes what a program sends, and closes as it does")
    func echo() async throws {
        try await TestNetwork.run { network in
            try await LoopbackSocket.serving({ socket in
                try socket.send(try socket.receiveAll())
            }) { port in
                let socks = network.socks.port
                let (reply, answer) = try await Threads.run {
                    let socket = try LoopbackSocket(port: socks)
                    let reply = try socket.socks(connectTo: "127.0.0.1", port: port)
                    try socket.send(Array("through three hops".utf8))
                    // The server answers only once our direction has ended.
                    socket.finishSending()
                    return (reply, try socket.receiveAll())
                }
                #expect(reply == 0)
                #expect(answer == Array("through three hops".utf8))
            }
        }
    }

    @Test("delivers every byte of large transfers in both directions at once")
    func bulk() async throws {
        let size = 4 << 20
        try await TestNetwork.run { network in
            // Echo at once, so that both directions are full.
            try await LoopbackSocket.serving({ try $0.echo() }) { port in
                let socks = network.socks.port
                try await withThrowingTaskGroup(of: Bool.self) { group in
                    for seed in 0..<4 {
                        group.addTask {
                            try await Threads.run {
                                let socket = try LoopbackSocket(port: socks)
                                guard try socket.socks(connectTo: "localhost.test", port: port) != 0 else {
                                    return false
                                }
                                return true
                            }
                        }
                        group.addTask {
                            try await Threads.run {
                                let bytes = (0..<size).map {
                                    UInt8(truncatingIfNeeded: ($0 &* 2_654_435_761 &+ seed) >> 7)
                                }
                                let socket = try LoopbackSocket(port: socks)
                                guard try socket.socks(connectTo: "127.0.0.1", port: port) == 0 else { return false }
                                let chunk = 128 * 1024
                                for start in stride(from: 0, to: size, by: chunk) {
                                    let part = Array(bytes[start..<start + chunk])
                                    try socket.send(part)
                                    guard try socket.receive(exactly: chunk) == part else { return false }
                                }
                                return true
                            }
                        }
                    }
                    for try await isRight in group { #expect(isRight) }
                }
            }
        }
    }

    @Test("says that a closed port refuses")
    func refused() async throws {
        try await TestNetwork.run { network in
            let closed = try await LoopbackSocket.serving({ _ in }) { $0 }
            let socks = network.socks.port
            let reply = try await Threads.run {
                try LoopbackSocket(port: socks).socks(connectTo: "127.0.0.1", port: closed)
            }
            #expect(reply == 5)
        }
    }
}

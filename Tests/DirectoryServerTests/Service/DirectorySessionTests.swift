import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOEmbedded
import OnionDirectory
import TestSupport
import Testing

@testable import DirectoryServer
@testable import OnionLink

@Suite("Directory session", .timeLimit(.minutes(1)))
struct DirectorySessionTests {
    @Test("of a peer that does not read one answer waits, however many lists it asks for") func doesNotRead()
        async throws
    {
        let test = try TestCore()
        await test.core.tick()
        let connection = try #require(await test.connect())
        let channel = NIOAsyncTestingChannel()
        try await channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).get()
        channel.isWritable = false
        let ends = try await channel.testingEventLoop.submit {
            let ends = try DirectoryServer.Connection(wrappingChannelSynchronously: channel)
            channel.pipeline.fireChannelWritabilityChanged()
            return ends
        }.get()
        // The clock is looked at once to begin with, and once for each request; and who waits for a list sleeps meanwhile.
        let counts = NIOLockedValueBox((looks: 0, waits: 0))
        let outside = TimeAndChance(
            now: {
                counts.withLockedValue { $0.looks += 1 }
                return .uptimeNanoseconds(0)
            },
            unixMilliseconds: { 0 },
            sleep: { _ in
                counts.withLockedValue { $0.waits += 1 }
                try await Task.sleep(for: .seconds(3600))
            }, randomBytes: test.clock.outside.randomBytes)
        let session = DirectorySession(
            connection: connection, core: test.core, limits: ConnectionLimits(), longPoll: .seconds(30),
            metrics: ServerMetrics(), outside: outside, logger: Logger(label: "test"))
        let serving = Task {
            try? await ends.executeThenClose { inbound, outbound in try await session.run(inbound, outbound) }
        }
        func ask() async throws {
            try await channel.writeInbound(DirectoryEvent.message(.getConsensus(haveRevision: 0)))
        }
        try await ask()
        while counts.withLockedValue({ $0.waits }) < 1 { await Task.yield() }
        while await test.core.subscriberCount > 0 { await Task.yield() }
        // The first answer is on its way.
        try await ask()
        while counts.withLockedValue({ $0.looks }) < 3 { await Task.yield() }
        for _ in 0..<10_000 where counts.withLockedValue({ $0.waits }) == 1 { await Task.yield() }
        #expect(counts.withLockedValue { $0.waits } == 1)

        // As soon as the peer reads, both are answered.
        channel.isWritable = true
        try await channel.testingEventLoop.submit { channel.pipeline.fireChannelWritabilityChanged() }.get()
        for _ in 0..<2 {
            let answer = try await channel.waitForOutboundWrite(as: DirectoryMessage.self)
            #expect(answer.frameType == .consensus)
        }
        serving.cancel()
        await serving.value
    }
}

import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
package import OnionAddress

/// A name server in an attacker's hands: it answers every question about addresses as it likes, with a lifetime of zero.
package final class HostileNameServer: Sendable {
    /// The addresses that a name has, of either family; `count` is how often the name was asked for, this time included.
    package typealias Habit = @Sendable (_ name: String, _ count: Int) -> [IPAddress]

    package let endpoint: Endpoint
    private let channel: any Channel

    package init(_ habit: @escaping Habit) async throws {
        self.channel = try await DatagramBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Answerer(habit))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        self.endpoint = Endpoint(
            address: .v4(0x7f00_0001), port: UInt16(clamping: self.channel.localAddress?.port ?? 0))
    }

    package func stop() async { try? await self.channel.close().get() }

    private final class Answerer: ChannelInboundHandler {
        typealias InboundIn = AddressedEnvelope<ByteBuffer>
        typealias OutboundOut = AddressedEnvelope<ByteBuffer>
        private let habit: Habit
        private var counts: [String: Int] = [:]

        init(_ habit: @escaping Habit) { self.habit = habit }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let envelope = self.unwrapInboundIn(data)
            guard let answer = self.answer(to: envelope.data) else { return }
            context.writeAndFlush(
                self.wrapOutboundOut(AddressedEnvelope(remoteAddress: envelope.remoteAddress, data: answer)),
                promise: nil)
        }

        /// - Source: RFC 1035 §4.1
        private func answer(to whole: ByteBuffer) -> ByteBuffer? {
            var query = whole
            guard let id = query.readInteger(as: UInt16.self), query.readBytes(length: 10) != nil else { return nil }
            let question = query.readerIndex
            var labels: [String] = []
            while let count = query.readInteger(as: UInt8.self), count > 0, count < 64,
                let label = query.readString(length: Int(count))
            {
                labels.append(label)
            }
            guard let type = query.readInteger(as: UInt16.self), query.readInteger(as: UInt16.self) != nil,
                let asked = whole.getBytes(at: question, length: query.readerIndex - question)
            else { return nil }
            let name = labels.joined(separator: ".")
            // Both families are asked for at each look-up; they are told apart, so that each is counted by itself.
            self.counts["\(type) \(name)", default: 0] += 1
            let addresses = self.habit(name, self.counts["\(type) \(name)", default: 0]).filter {
                type == ($0.isIPv4 ? 1 : 28)
            }
            var answer = ByteBuffer()
            // An answer, recursion desired and available, no error; one question.
            answer.writeMultipleIntegers(
                id, UInt16(0x8180), UInt16(1), UInt16(addresses.count), UInt16(0), UInt16(0))
            answer.writeBytes(asked)
            for address in addresses {
                answer.writeMultipleIntegers(
                    UInt16(0xC00C), type, UInt16(1), UInt32(0), UInt16(address.bytes.count))
                answer.writeBytes(address.bytes)
            }
            return answer
        }
    }
}

import NIOCore
import OnionAddress
import OnionDirectory

/// The name servers as one circuit may ask them: so many look-ups at once, for Begin and Resolve together.
///
/// A look-up counts for as long as the OR's own resolver has it, which can be longer than its stream waits. What needs
/// no name server, such as an address, never comes here. Bound to the loop of the circuit's link.
struct CircuitLookups: NameService {
    private let loop: NIOLoopBound<RouterLoop>
    /// Look-ups under way.
    private let count: NIOLoopBoundBox<Int>

    init(on loop: RouterLoop) {
        self.loop = NIOLoopBound(loop, eventLoop: loop.eventLoop)
        self.count = NIOLoopBoundBox(0, eventLoop: loop.eventLoop)
    }

    func addresses(of name: String, on eventLoop: any EventLoop) -> EventLoopFuture<Resolver.Answer> {
        self.ask(on: eventLoop) { $0.addresses(of: name, on: eventLoop) }
    }

    func name(of address: IPAddress, on eventLoop: any EventLoop) -> EventLoopFuture<String> {
        self.ask(on: eventLoop) { $0.name(of: address, on: eventLoop) }
    }

    /// The limit of all look-ups is not a circuit's to move.
    func update(pendingLimit: Int) {}

    private func ask<Answer>(
        on eventLoop: any EventLoop, _ question: (any NameService) -> EventLoopFuture<Answer>
    ) -> EventLoopFuture<Answer> {
        let loop = self.loop.value
        let count = self.count
        let admission = loop.shared.admission
        guard count.value < loop.view.parameters[.resolvesPerCircuit], admission.takesLookup(count: count.value + 1)
        else {
            loop.shared.metrics.reached(.lookupsPerCircuit)
            return eventLoop.makeFailedFuture(Resolver.Failure.busy)
        }
        count.value += 1
        let answer = question(loop.shared.connector.resolver)
        answer.whenComplete { _ in
            count.value -= 1
            admission.lookupEnded()
        }
        return answer
    }
}

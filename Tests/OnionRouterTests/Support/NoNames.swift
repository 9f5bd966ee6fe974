import NIOCore
import OnionAddress

@testable import OnionRouter

/// Name servers that know no name.
struct NoNames: NameService {
    func addresses(of name: String, on eventLoop: any EventLoop) -> EventLoopFuture<NameResolver.Answer> {
        eventLoop.makeFailedFuture(NameResolver.Failure.noSuchName)
    }
    func name(of address: IPAddress, on eventLoop: any EventLoop) -> EventLoopFuture<String> {
        eventLoop.makeFailedFuture(NameResolver.Failure.noSuchName)
    }
    func update(pendingLimit: Int) {}
}

import CAres
import CoreMetrics
import DequeModule
import Glibc
import NIOConcurrencyHelpers
package import NIOCore
import NIOPosix
package import OnionAddress

/// What an exit asks of name servers.
package protocol NameService: Sendable {
    /// Return the addresses of `name`, never none.
    func addresses(of name: String, on eventLoop: any EventLoop) -> EventLoopFuture<Resolver.Answer>
    /// Return the name of `address`.
    func name(of address: IPAddress, on eventLoop: any EventLoop) -> EventLoopFuture<String>
    /// Allow so many look-ups at once from now on.
    func update(pendingLimit: Int)
}

/// Looks names up for exit streams with c-ares: many at once, with TTLs, on one thread of its own.
///
/// Names are absolute: no search domain, no hosts file, no mDNS. What a look-up costs is bounded: a limit on those under
/// way, two tries of two seconds a server. The one file of this module that touches c-ares and unsafe memory.
///
/// - Source: DESIGN §3, §12
package final class Resolver: NameService {
    package struct Answer: Equatable, Sendable {
        package var addresses: [IPAddress]
        package var ttlSeconds: UInt32
    }

    package enum Failure: Error, Equatable, Sendable {
        /// The name servers say that there is no such name, or no address for it.
        case noSuchName
        /// No name server gave an answer that can be used, or none answered in time.
        case failed
        /// As many look-ups as are allowed are under way.
        case busy
        case stopped
    }

    /// Look-ups under way, those of all circuits together, until the network says another number.
    package static let pendingLimit = 1024
    /// Addresses of each family that are taken from one answer: whoever owns a name can give it thousands, and each of
    /// them is judged on an event loop.
    static let addressLimit = 16
    static let tryMilliseconds: CInt = 2000
    static let tries: CInt = 2

    private let worker: ResolverThread

    /// - Parameter servers: name servers to ask, `ADDR:PORT`; none takes those of the system.
    /// - Throws: `IOError` when the operating system refuses a thread's resources or c-ares its set-up.
    package convenience init(servers: [Endpoint]) throws {
        try self.init(servers: servers, tryMilliseconds: Self.tryMilliseconds)
    }

    init(servers: [Endpoint], tryMilliseconds: CInt) throws {
        self.worker = try ResolverThread(servers: servers, tryMilliseconds: tryMilliseconds)
    }

    deinit { self.worker.stop() }

    /// Return the addresses of `name`, IPv4 first, at most ``addressLimit`` of each family, never none.
    package func addresses(of name: String, on eventLoop: any EventLoop) -> EventLoopFuture<Answer> {
        let promise = eventLoop.makePromise(of: Answer.self)
        self.worker.submit(.addresses(of: name, promise))
        return promise.futureResult
    }

    /// Return the name of `address` and its TTL, which c-ares does not tell: 60 s is said for it.
    package func name(of address: IPAddress, on eventLoop: any EventLoop) -> EventLoopFuture<String> {
        let promise = eventLoop.makePromise(of: String.self)
        self.worker.submit(.name(of: address, promise))
        return promise.futureResult
    }

    /// Allow so many look-ups at once from now on; those that are under way go on.
    package func update(pendingLimit: Int) { self.worker.update(pendingLimit: pendingLimit) }

    /// End every look-up and the thread, soon.
    package func stop() { self.worker.stop() }

    /// End every look-up and the thread, and wait until that is done: then no event loop hears of a look-up any more.
    package func end() async {
        await withCheckedContinuation { continuation in self.worker.stop { continuation.resume() } }
    }
}

/// One question on its way; c-ares holds it retained until its call-back.
private final class Query: Sendable {
    enum Kind: Sendable {
        case addresses(of: String, EventLoopPromise<Resolver.Answer>)
        case name(of: IPAddress, EventLoopPromise<String>)
    }
    let kind: Kind
    let pending: NIOLockedValueBox<Int>

    init(_ kind: Kind, pending: NIOLockedValueBox<Int>) {
        self.kind = kind
        self.pending = pending
    }

    func fail(_ failure: Resolver.Failure) {
        switch self.kind {
        case .addresses(_, let promise): promise.fail(failure)
        case .name(_, let promise): promise.fail(failure)
        }
    }

    /// The query behind a call-back's argument, whose reference ends here, counted off.
    static func take(_ argument: UnsafeMutableRawPointer?) -> Query? {
        guard let argument else { return nil }
        let query = Unmanaged<Query>.fromOpaque(argument).takeRetainedValue()
        query.pending.withLockedValue { $0 -= 1 }
        return query
    }
}

/// The thread that owns the c-ares channel.
private final class ResolverThread: Sendable {
    private struct Inbox {
        var queries = Deque<Query.Kind>()
        var isStopped = false
        var isOver = false
        /// Who is told when the thread has ended.
        var waiting: [@Sendable () -> Void] = []
        var pendingLimit = Resolver.pendingLimit
    }

    private let inbox = NIOLockedValueBox(Inbox())
    private let pending = NIOLockedValueBox(0)
    private let busyCounter = Counter(label: "router.limit.\(RouterLimit.lookups.rawValue)")
    private let wakeup: CInt

    init(servers: [Endpoint], tryMilliseconds: CInt) throws {
        let wakeup = eventfd(0, CInt(EFD_NONBLOCK) | CInt(EFD_CLOEXEC))
        guard wakeup >= 0 else { throw IOError(errnoCode: errno, reason: "eventfd") }
        self.wakeup = wakeup
        let channel: AresChannel
        do {
            channel = try AresChannel(servers: servers, tryMilliseconds: tryMilliseconds)
        } catch {
            close(wakeup)
            throw error
        }
        // The channel passes to the thread here and is touched by it alone.
        let thread = NIOThreadPool(numberOfThreads: 1)
        thread.start()
        thread.submit { _ in
            self.run(channel)
            thread.shutdownGracefully { _ in }
        }
    }

    /// Not before: somebody may be about to write to it after the thread has ended.
    deinit { close(self.wakeup) }

    func submit(_ kind: Query.Kind) {
        let refused: Resolver.Failure? = self.inbox.withLockedValue { inbox in
            if inbox.isStopped { return .stopped }
            let isFull = self.pending.withLockedValue { pending in
                guard pending < inbox.pendingLimit else { return true }
                pending += 1
                return false
            }
            if isFull { return .busy }
            inbox.queries.append(kind)
            return nil
        }
        if let refused {
            if refused == .busy { self.busyCounter.increment() }
            return Query(kind, pending: self.pending).fail(refused)
        }
        self.wake()
    }

    func update(pendingLimit: Int) { self.inbox.withLockedValue { $0.pendingLimit = pendingLimit } }

    func stop(then: @escaping @Sendable () -> Void = {}) {
        let isOver = self.inbox.withLockedValue { inbox in
            inbox.isStopped = true
            if !inbox.isOver { inbox.waiting.append(then) }
            return inbox.isOver
        }
        if isOver { return then() }
        self.wake()
    }

    private func wake() {
        var one: UInt64 = 1
        _ = write(self.wakeup, &one, MemoryLayout<UInt64>.size)
    }

    private func run(_ channel: AresChannel) {
        while true {
            let (queries, isStopped) = self.inbox.withLockedValue { inbox in
                defer { inbox.queries.removeAll() }
                return (inbox.queries, inbox.isStopped)
            }
            for kind in queries { channel.ask(Query(kind, pending: self.pending)) }
            if isStopped { break }
            channel.waitAndProcess(wakeup: self.wakeup)
        }
        // Ends every question that is under way with ARES_EDESTRUCTION.
        channel.destroy()
        let waiting = self.inbox.withLockedValue { inbox in
            inbox.isOver = true
            defer { inbox.waiting = [] }
            return inbox.waiting
        }
        for tell in waiting { tell() }
    }
}

/// A c-ares channel. Used by one thread after it has been made.
private final class AresChannel: @unchecked Sendable {
    // @unchecked: made on one thread and then used by the resolver's alone, to which `ResolverThread.init` hands it.
    private let channel: ares_channel

    init(servers: [Endpoint], tryMilliseconds: CInt) throws {
        guard ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS else {
            throw IOError(errnoCode: ENOMEM, reason: "c-ares")
        }
        var options = ares_options()
        options.flags = CInt(ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES)
        options.timeout = tryMilliseconds
        options.tries = Resolver.tries
        var channel: ares_channel?
        let mask =
            CInt(ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS | ARES_OPT_ROTATE)
            | thor_ares_forget_answers(&options)
        // "b": DNS alone, no hosts file.
        let status = "b".withCString { lookups in
            options.lookups = UnsafeMutablePointer(mutating: lookups)
            return ares_init_options(&channel, &options, mask)
        }
        guard status == ARES_SUCCESS, let channel else {
            throw IOError(errnoCode: EINVAL, reason: "c-ares: \(Self.text(status))")
        }
        self.channel = channel
        if !servers.isEmpty {
            let list = servers.map(\.description).joined(separator: ",")
            let status = ares_set_servers_ports_csv(channel, list)
            guard status == ARES_SUCCESS else {
                ares_destroy(channel)
                throw IOError(errnoCode: EINVAL, reason: "name servers: \(Self.text(status))")
            }
        }
    }

    private static func text(_ status: CInt) -> String { String(cString: ares_strerror(status)) }

    func destroy() { ares_destroy(self.channel) }

    func ask(_ query: Query) {
        let argument = Unmanaged.passRetained(query).toOpaque()
        switch query.kind {
        case .addresses(let name, _):
            var hints = ares_addrinfo_hints()
            hints.ai_flags = CInt(ARES_AI_NOSORT)
            hints.ai_family = AF_UNSPEC
            hints.ai_socktype = CInt(SOCK_STREAM.rawValue)
            // With the root's dot no search domain is tried; c-ares 1.18 does not heed ARES_FLAG_NOSEARCH here.
            ares_getaddrinfo(
                self.channel, name.hasSuffix(".") ? name : name + ".", nil, &hints,
                { argument, status, _, result in
                    defer { if let result { ares_freeaddrinfo(result) } }
                    guard let query = Query.take(argument), case .addresses(_, let promise) = query.kind else { return }
                    if let failure = AresChannel.failure(status) { return promise.fail(failure) }
                    promise.completeWith(AresChannel.answer(result))
                }, argument)
        case .name(let address, _):
            let bytes = address.bytes
            ares_gethostbyaddr(
                self.channel, bytes, CInt(bytes.count), bytes.count == 4 ? AF_INET : AF_INET6,
                { argument, status, _, host in
                    guard let query = Query.take(argument), case .name(_, let promise) = query.kind else { return }
                    if let failure = AresChannel.failure(status) { return promise.fail(failure) }
                    guard let name = host?.pointee.h_name.flatMap({ String(validatingCString: $0) }), !name.isEmpty
                    else { return promise.fail(Resolver.Failure.noSuchName) }
                    promise.succeed(name)
                }, argument)
        }
    }

    private static func failure(_ status: CInt) -> Resolver.Failure? {
        switch status {
        case ARES_SUCCESS: nil
        case ARES_ENOTFOUND, ARES_ENODATA, ARES_EBADNAME:
            .noSuchName
        case ARES_EDESTRUCTION, ARES_ECANCELLED: .stopped
        default: .failed
        }
    }

    private static func answer(
        _ result: UnsafeMutablePointer<ares_addrinfo>?
    ) -> Result<Resolver.Answer, any Error> {
        var v4: [IPAddress] = []
        var v6: [IPAddress] = []
        var ttl: UInt32?
        var node = result?.pointee.nodes
        while let current = node?.pointee {
            if let address = current.ai_addr.flatMap({ IPAddress($0, byteCount: Int(current.ai_addrlen)) }) {
                let isTaken = address.isIPv4 ? Self.append(address, to: &v4) : Self.append(address, to: &v6)
                let seconds = UInt32(clamping: current.ai_ttl)
                if isTaken { ttl = min(ttl ?? seconds, seconds) }
            }
            node = current.ai_next
        }
        let addresses = v4 + v6
        guard !addresses.isEmpty else { return .failure(Resolver.Failure.noSuchName) }
        return .success(Resolver.Answer(addresses: addresses, ttlSeconds: ttl ?? 0))
    }

    private static func append(_ address: IPAddress, to addresses: inout [IPAddress]) -> Bool {
        guard addresses.count < Resolver.addressLimit else { return false }
        addresses.append(address)
        return true
    }

    /// Wait until a name server answers, a time-out is due or `wakeup` is written, and let c-ares do its part.
    func waitAndProcess(wakeup: CInt) {
        var sockets = [ares_socket_t](repeating: ARES_SOCKET_BAD, count: Int(ARES_GETSOCK_MAXNUM))
        let bits = ares_getsock(self.channel, &sockets, CInt(sockets.count))
        var polled = [pollfd(fd: wakeup, events: Int16(POLLIN), revents: 0)]
        for (index, socket) in sockets.enumerated() {
            let isReadable = bits & (1 << index) != 0
            let isWritable = bits & (1 << (index + Int(ARES_GETSOCK_MAXNUM))) != 0
            // Past the last socket there is none, and nothing to wait for: poll passes over it.
            let events = (isReadable ? Int16(POLLIN) : 0) | (isWritable ? Int16(POLLOUT) : 0)
            polled.append(pollfd(fd: socket, events: events, revents: 0))
        }
        var due = timeval()
        let isTimed = ares_timeout(self.channel, nil, &due) != nil
        let milliseconds = isTimed ? CInt(clamping: due.tv_sec * 1000 + due.tv_usec / 1000 + 1) : -1
        _ = poll(&polled, nfds_t(polled.count), milliseconds)
        // Does not wait: with nothing to read it says so.
        var count: UInt64 = 0
        _ = read(wakeup, &count, MemoryLayout<UInt64>.size)
        for entry in polled.dropFirst() where entry.revents != 0 {
            let isReadable = entry.revents & Int16(POLLIN | POLLERR | POLLHUP) != 0
            let isWritable = entry.revents & Int16(POLLOUT) != 0
            ares_process_fd(
                self.channel, isReadable ? entry.fd : ARES_SOCKET_BAD, isWritable ? entry.fd : ARES_SOCKET_BAD)
        }
        // Time-outs are handled with the pair of bad sockets; after the answers, which may have come in time.
        ares_process_fd(self.channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD)
    }
}

extension IPAddress {
    /// Read a C socket address of either family: the family is its first field, the address lies at offset 4 or 8.
    init?(_ address: UnsafePointer<sockaddr>, byteCount: Int) {
        let bytes = UnsafeRawBufferPointer(start: address, count: byteCount)
        guard byteCount >= 8 else { return nil }
        switch CInt(bytes.loadUnaligned(as: sa_family_t.self)) {
        case AF_INET: self.init(bytes: bytes[4..<8])
        case AF_INET6 where byteCount >= 24: self.init(bytes: bytes[8..<24])
        default: return nil
        }
    }
}
